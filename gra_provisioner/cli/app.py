"""The program ``gra``: all commands, and the one place where exit codes are written down.

The codes themselves are those of :mod:`gra_provisioner.errors`; ``gra --help`` ends with the
table below, which scripts may rely on.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from .. import __version__
from .lazy import LazyGroup
from .usage import run, wants_json

# \b: lines as they are (typer's help wraps all others).
_EXIT_CODES = """\
\b
Exit codes:
  0  done
  1  something else failed, or a question was answered with no
  2  wrong usage or configuration
  3  no such runner
  4  the backend refused or cannot be used
  5  a runner or its kernel did not start
  6  the kernel died or the runner ended
  7  the stream to the runner failed
124  its time was over (exec, run)
130  interrupted by Ctrl-C
143  ended by SIGTERM (attach, console, logs, port, run, kernel)

gra kernel ends with its kernel's own exit code once that has started, gra exec and gra run with
that of their command or code.

With --json, errors are objects on stderr: reason, message, hint, details."""

# Name: where it is (module below this package, and in it a function or an app), the first paragraph
# of its help.
COMMANDS = {
    "create": (
        "create:create",
        "Start a runner that stays when this command has ended, and print its name.",
    ),
    "run": (
        "run:run",
        "Run a notebook, or Python code, on a runner of its own, which is then deleted.",
    ),
    "list": ("listing:list_runners", "Show your runners, ended and lost ones included."),
    "get": ("runners:get_runner", "Show everything that is known of one runner."),
    "delete": (
        "deletion:delete_runners",
        "End runners, their kernels too, and remove what they left.",
    ),
    "prune": (
        "deletion:prune",
        "Remove what is left of your runners that have ended or are lost.",
    ),
    "exec": (
        "execute:execute",
        "Run a command in a runner; its exit code becomes this command's.",
    ),
    "logs": (
        "logs:logs",
        "Show what runners wrote: their agents, their kernels, the other containers of their pods.",
    ),
    "port": ("port:port", "Serve ports of a runner on this machine until Ctrl-C."),
    "attach": ("attach:attach", "Serve the kernel of a runner to local clients until Ctrl-C."),
    "console": (
        "console:console",
        "Open a Jupyter console on the kernel of a runner; the runner goes on when it is left.",
    ),
    "kernel": (
        "launcher:kernel",
        "Start a runner and be its kernel's process to a Jupyter client.",
    ),
    "doctor": (
        "doctor:doctor",
        "Find out what runners can do here, above all which ways to S3 they have.",
    ),
    "completion": (
        "completion:completion",
        "Print a shell's script that completes commands, options and names.",
    ),
    "tool": ("tool:tool", "Describe functions for AI tools, or call one."),
    "version": ("version:version", "Show the version of gra, and of the Python that it runs on."),
    "kernelspec": (
        "kernelspec:app",
        "Manage the kernels in Jupyter's picker that start runners.",
    ),
}


class _Commands(LazyGroup):
    table = COMMANDS


app = typer.Typer(
    name="gra",
    cls=_Commands,
    help="Jupyter kernels as runners: make them, see them, end them, attach to them.",
    epilog=_EXIT_CODES,
    no_args_is_help=True,
    # They print local variables, secrets among them.
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gra {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Jupyter kernels as runners: make them, see them, end them, attach to them."""


def main() -> None:
    """The console script ``gra`` and ``python -m gra_provisioner``."""
    run_command(sys.argv[1:])


def run_command(words: Sequence[str]) -> None:
    """Run a command line, without the program's name, and exit."""
    if wants_json(words):
        run(typer.main.get_command(app), words)
    app(words, prog_name="gra")
