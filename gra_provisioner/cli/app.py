"""The program ``gra``: all commands, and the one place where exit codes are written down.

The codes themselves are those of :mod:`gra_provisioner.errors`; ``gra --help`` ends with the
table below, which scripts may rely on.
"""

from __future__ import annotations

import platform
from typing import Annotated

import typer

from .. import __version__
from . import attach, create, execute, kernelspec, launcher, port, runners
from .output import print_json

_EXIT_CODES = """\
Exit codes:
  0  done
  1  something else failed, or a question was answered with no
  2  wrong usage or configuration
  3  no such runner
  4  the backend refused or cannot be used
  5  a runner or its kernel did not start
  6  the kernel died or the runner ended
  7  the stream to the runner failed
130  interrupted by Ctrl-C
143  ended by SIGTERM (attach, port, kernel)
gra kernel ends with its kernel's own exit code once that has started, gra exec with its
command's.
With --json, errors are objects on stderr: reason, message, hint, details."""

app = typer.Typer(
    name="gra",
    help="Jupyter kernels as runners: make them, see them, end them, attach to them.",
    epilog=_EXIT_CODES,
    no_args_is_help=True,
    # They print local variables, secrets among them.
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("create")(create.create)
app.command("list")(runners.list_runners)
app.command("get")(runners.get_runner)
app.command("delete")(runners.delete_runners)
app.command("exec")(execute.execute)
app.command("port")(port.port)
app.command("attach")(attach.attach)
app.command("kernel")(launcher.kernel)
app.add_typer(kernelspec.app, name="kernelspec")


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


@app.command("version")
def version(as_json: runners.JsonOption = False) -> None:
    """Show the version of gra, and of the Python that it runs on."""
    if as_json:
        print_json({"version": __version__, "python": platform.python_version()})
    else:
        typer.echo(f"gra {__version__} (Python {platform.python_version()})")


def main() -> None:
    """The console script ``gra`` and ``python -m gra_provisioner``."""
    app(prog_name="gra")
