"""Runners as tables, JSON, YAML or names: the formats of ``gra list``."""

from __future__ import annotations

import enum
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import typer

from ..runner import Change, ChangeKind, Runner, RunnerStatus
from ..selection import Selection
from ..units import format_age
from .columns import Cell, Columns
from .mounts import brief, why
from .output import COLOURS, backend_line, console, print_json, usage_text
from .terminal import printable

if TYPE_CHECKING:
    from ..service import RunnerService

_TITLES = ("NAME", "PROFILE", "STATUS", "KERNEL", "AGE", "CPU", "MEMORY", "NOTEBOOK")
_WIDE = ("OWNER", "NODE", "KERNELSPEC", "CLIENTS", "FROM", "LABELS", "MOUNTS", "WHY")


class Format(str, enum.Enum):
    """What ``-o`` can be."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"


def columns(form: Format) -> Columns:
    """The columns of a table on stdout; nothing is cut where that is no terminal."""
    titles = _TITLES + _WIDE if form is Format.WIDE else _TITLES
    screen = console()
    return Columns(
        titles, screen.width if screen.is_terminal else None, coloured=not screen.no_color
    )


def rows(runners: Sequence[Runner], form: Format, now: float) -> list[list[Cell]]:
    """The cells of these runners.  ``now`` is in seconds since the epoch."""
    return [[_cell(text) for text in _texts(runner, form, now)] for runner in runners]


def _texts(runner: Runner, form: Format, now: float) -> list[str | None]:
    cpu, memory = usage_text(runner)
    labels = runner.labels
    texts = [
        runner.name,
        runner.profile,
        runner.status.value,
        runner.kernel.value,
        format_age(now - runner.created),
        cpu,
        memory,
        labels.notebook,
    ]
    if form is not Format.WIDE:
        return texts
    return [
        *texts,
        labels.owner,
        runner.node,
        labels.kernel_name,
        None if runner.clients is None else str(runner.clients),
        labels.client_host,
        ",".join(f"{name}={value}" for name, value in sorted(labels.user_labels.items())),
        brief(runner.mounts),
        runner.message or runner.phase or why(runner.mounts),
    ]


def _cell(text: str | None) -> Cell:
    colour = COLOURS.get(text or "")
    shown = printable(text).replace("\n", " ") if text else "-"
    return Cell(shown, colour, dim=text == RunnerStatus.ENDED.value)


def none(chosen: Selection) -> str:
    """What is said where there are no runners."""
    if chosen.owner is None:
        return "no runners"
    return f"no runners of {printable(chosen.owner)}; gra list --all shows everybody's"


class View(Protocol):
    """One way to print runners."""

    def part(self, runners: Sequence[Runner]) -> None:
        """Some of a list, in their order."""
        ...

    def end(self) -> None:
        """The list is complete."""
        ...

    def change(self, change: Change) -> None:
        """What a watch tells."""
        ...


class _Table:
    """Rows of a table; a watch appends the row of each change."""

    form = Format.TABLE

    def __init__(self, service: RunnerService, chosen: Selection) -> None:
        self._service = service
        self._chosen = chosen
        self._columns = columns(self.form)
        self._is_empty = True

    def part(self, runners: Sequence[Runner]) -> None:
        """See :class:`View`."""
        if runners:
            self._is_empty = False
            typer.echo("\n".join(self._columns.format(rows(runners, self.form, time.time()))))

    def end(self) -> None:
        """See :class:`View`."""
        if self._is_empty:
            typer.echo(none(self._chosen))
        typer.echo(backend_line(self._service.backend_name, self._service.backend_reason))

    def change(self, change: Change) -> None:
        """See :class:`View`."""
        if change.runner is not None:
            gone = change.kind is ChangeKind.DELETED
            (row,) = rows([change.runner], self.form, time.time())
            if gone:
                status = _TITLES.index("STATUS")
                row = [*row[:status], Cell("deleted", dim=True), *row[status + 1 :]]
            typer.echo("\n".join(self._columns.format([row])))


class _WideTable(_Table):
    form = Format.WIDE


class _Json:
    """One list; a watch prints an object in a line for each change."""

    def __init__(self, service: RunnerService, chosen: Selection) -> None:
        self._service = service
        self._found: list[dict[str, Any]] = []

    def part(self, runners: Sequence[Runner]) -> None:
        """See :class:`View`."""
        self._found += [runner.public() for runner in runners]

    def end(self) -> None:
        """See :class:`View`."""
        print_json(self._found)
        if sys.stderr.isatty():
            line = backend_line(self._service.backend_name, self._service.backend_reason)
            typer.echo(line, err=True)

    def change(self, change: Change) -> None:
        """See :class:`View`."""
        print_json(change.public(), indent=None)


class _Yaml(_Json):
    """One list; a watch prints a document for each change."""

    def end(self) -> None:
        """See :class:`View`."""
        typer.echo(_yaml(self._found), nl=False)

    def change(self, change: Change) -> None:
        """See :class:`View`."""
        typer.echo("---\n" + _yaml(change.public()), nl=False)


class _Names:
    """A name in each line."""

    def __init__(self, service: RunnerService, chosen: Selection) -> None:
        """All views are made alike."""

    def part(self, runners: Sequence[Runner]) -> None:
        """See :class:`View`."""
        for runner in runners:
            typer.echo(printable(runner.name))

    def end(self) -> None:
        """See :class:`View`."""

    def change(self, change: Change) -> None:
        """See :class:`View`.  Those that are gone are not named."""
        if change.runner is not None and change.kind is ChangeKind.ADDED:
            self.part([change.runner])


VIEWS: Mapping[Format, Callable[[RunnerService, Selection], View]] = {
    Format.TABLE: _Table,
    Format.WIDE: _WideTable,
    Format.JSON: _Json,
    Format.YAML: _Yaml,
    Format.NAME: _Names,
}


def _yaml(value: Any) -> str:
    import yaml

    text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=True)
    return text
