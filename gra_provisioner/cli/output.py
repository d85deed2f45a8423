"""What the commands print: tables for people, JSON for programs, errors for both.

The functions that make tables and texts are pure; results go to stdout, errors and progress
to stderr.  rich is imported by those that print tables or errors.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import typer

from ..errors import GraError
from ..progress import READY, READY_STATE, LaunchEnd, LaunchObserver
from ..runner import KernelState, KnownResources, Runner, RunnerStatus
from ..units import format_age, format_count, format_size
from .terminal import LiveLine, can_rewrite, printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

# Wide enough for any row: what goes to a file or a pipe is never cut.
_UNLIMITED = 10_000

#: Of a runner's or a kernel's state.
COLOURS = {
    RunnerStatus.STARTING.value: "cyan",
    RunnerStatus.RUNNING.value: "green",
    RunnerStatus.LOST.value: "red",
    RunnerStatus.UNKNOWN.value: "yellow",
    KernelState.BUSY.value: "yellow",
    KernelState.IDLE.value: "green",
    KernelState.DEAD.value: "red",
}


def console() -> Console:
    """Where tables go: as wide as the terminal, or unlimited where stdout is none."""
    from rich.console import Console

    plain = Console(highlight=False)
    return plain if plain.is_terminal else Console(highlight=False, width=_UNLIMITED)


def print_json(value: Any, *, indent: int | None = 2) -> None:
    """One JSON document on stdout, at once even into a pipe."""
    typer.echo(json.dumps(value, indent=indent))


class PhaseLines:
    """A :class:`~gra_provisioner.progress.LaunchObserver`: phases as lines on stderr.

    Without ``phases`` only the summary of a launch that went well.
    """

    def __init__(self, *, phases: bool = True) -> None:
        self._phases = phases

    def on_phase(self, phase: str, message: str, runner: str = "") -> None:
        """Print it; the summary says that it is ready."""
        if self._phases and phase != READY:
            typer.echo(printable(message), err=True)

    def on_end(self, end: LaunchEnd) -> None:
        """Print the summary."""
        if end.state == READY_STATE:
            typer.echo(end.summary, err=True)


def launch_observers(as_json: bool = False) -> list[LaunchObserver]:
    """Who shows a command's launch: a line on a terminal, lines elsewhere, nobody for JSON."""
    if can_rewrite(sys.stderr):
        return [LiveLine(sys.stderr), PhaseLines(phases=False)]
    return [] if as_json else [PhaseLines()]


def print_error(error: GraError, *, as_json: bool) -> None:
    """The error on stderr: a JSON object, or ``Error:``, ``Reason:`` and ``Hint:`` lines.

    Of a failed launch also where its time went.
    """
    if as_json:
        typer.echo(json.dumps(error.to_dict()), err=True)
        return
    from rich.console import Console
    from rich.text import Text

    stderr = Console(stderr=True, highlight=False, soft_wrap=True)
    times = [f"{p['phase']} {p['seconds']:.1f} s" for p in error.details.get("phases", ())]
    for label, text, style in (
        ("Error", error.message, "red"),
        ("Reason", error.code, "red"),
        ("Phases", ", ".join(times), "dim"),
        ("Hint", error.hint, "cyan"),
    ):
        if text:
            stderr.print(Text.assemble((f"{label}:", style), " ", printable(text)))


@contextlib.contextmanager
def reported_errors(as_json: bool = False) -> Iterator[None]:
    """Turns what gra raises into a message on stderr and the error's exit code."""
    try:
        yield
    except GraError as error:
        print_error(error, as_json=as_json)
        raise typer.Exit(error.exit_code) from None


def usage_text(runner: Runner) -> tuple[str, str]:
    """CPU in cores and memory (of its limit) of a runner, ``-`` where unknown."""
    cpu, memory, limit = runner.usage.cpu, runner.usage.memory, runner.usage.memory_limit
    used = "-" if memory is None else format_size(memory)
    return (
        "-" if cpu is None else format_count(round(cpu, 2)),
        f"{used} / {format_size(limit)}" if limit is not None else used,
    )


def size_text(resources: KnownResources) -> str:
    """What a runner asked for, as far as it is known: ``2 CPU, 2 GiB memory, 40 GiB disk``."""
    texts = [
        "" if resources.cpu is None else f"{format_count(resources.cpu)} CPU",
        "" if resources.memory is None else f"{format_size(resources.memory)} memory",
        ""
        if resources.ephemeral_storage is None
        else f"{format_size(resources.ephemeral_storage)} disk",
        f"{resources.gpu} GPU" if resources.gpu else "",
    ]
    return ", ".join(filter(None, texts))


def plain_table(columns: Sequence[str]) -> Table:
    """A table without lines, as kubectl prints them; each row stays on one line."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, no_wrap=True, overflow="ellipsis")
    return table


def cell(text: str | None) -> Text:
    """One value for :func:`plain_table`, coloured if it is a status; ``-`` for none."""
    from rich.text import Text

    return Text(printable(text).replace("\n", " ") if text else "-", COLOURS.get(text or "", ""))


def runner_details(runner: Runner, now: float, backend_reason: str = "") -> Table:
    """``gra get`` for people: one line for each thing that is known.

    ``backend_reason`` is why the backend was chosen.
    """
    from rich.table import Table

    cpu, memory = usage_text(runner)
    facts = {
        "Name": runner.name,
        "UID": runner.uid,
        "Backend": _with_reason(runner.backend, backend_reason),
        "Profile": runner.profile,
        "Size": size_text(runner.resources),
        "Image": runner.image,
        "Node": runner.node,
        "Status": runner.status.value,
        "Phase": runner.phase,
        "Reason": runner.reason,
        "Message": runner.message,
        "Hint": runner.hint,
        "Kernel": runner.kernel.value,
        "Kernel spec": runner.labels.kernel_name,
        "Kernel id": runner.labels.kernel_id,
        "Notebook": runner.labels.notebook,
        "Owner": runner.labels.owner,
        "Started from": runner.labels.client_host,
        "Labels": ", ".join(f"{k}={v}" for k, v in sorted(runner.labels.user_labels.items())),
        "Clients": None if runner.clients is None else str(runner.clients),
        "Age": format_age(now - runner.created),
        "CPU": cpu,
        "Memory": memory,
        "PID": None if runner.pid is None else str(runner.pid),
    }
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        if value:
            table.add_row(name, cell(value))
    return table


def backend_line(name: str, reason: str) -> str:
    """Which backend the runners are on, why, and what the local one does not do."""
    line = f"Backend: {_with_reason(name, reason)}."
    if name == "local":
        line += " It isolates nothing: runners are processes of yours on this machine."
    return line


def _with_reason(backend: str, reason: str) -> str:
    return f"{backend} ({reason.rstrip('.')})" if reason else backend
