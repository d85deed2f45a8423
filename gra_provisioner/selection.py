"""Which runners are meant, in which order and how many: pure, for the CLI and REST alike."""

from __future__ import annotations

import enum
import fnmatch
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .runner import Change, ChangeKind, Runner, RunnerStatus


class SortKey(str, enum.Enum):
    """What runners can be sorted by.

    ``age``: the youngest first; ``cpu``, ``memory``: who uses most first.
    """

    NAME = "name"
    AGE = "age"
    STATUS = "status"
    PROFILE = "profile"
    OWNER = "owner"
    KERNEL = "kernel"
    NOTEBOOK = "notebook"
    CPU = "cpu"
    MEMORY = "memory"


SORT_KEYS = tuple(key.value for key in SortKey)
#: Those of them that only the runner's agent can tell.
INSPECTED_KEYS = frozenset({"kernel", "cpu", "memory"})


@dataclass(frozen=True)
class Selection:
    """All that is given must be so; what is empty or ``None`` leaves the choice free.

    ``kernel`` is a kernel's id or the name of its kernelspec, ``notebook`` a path or a pattern of
    :mod:`fnmatch`, ``labels`` are the users' own, ``names`` those of runners, any of which may be.
    ``sort`` is one of :data:`SORT_KEYS`, ``limit`` how many there may be.
    """

    owner: str | None = None
    statuses: frozenset[RunnerStatus] = frozenset()
    profile: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    kernel: str | None = None
    notebook: str | None = None
    names: frozenset[str] = frozenset()
    sort: str = "name"
    reverse: bool = False
    limit: int | None = None

    def matches(self, runner: Runner) -> bool:
        """Whether the runner is one of those that are meant."""
        labels = runner.labels
        return (
            (not self.names or runner.name in self.names)
            and (self.owner is None or labels.owner == self.owner)
            and (not self.statuses or runner.status in self.statuses)
            and (self.profile is None or runner.profile == self.profile)
            and all(labels.user_labels.get(name) == value for name, value in self.labels.items())
            and (self.kernel is None or self.kernel in (labels.kernel_id, labels.kernel_name))
            and (
                self.notebook is None
                or fnmatch.fnmatchcase(labels.notebook or "", self.notebook)
                or labels.notebook == self.notebook
            )
        )


def select(runners: Iterable[Runner], selection: Selection) -> list[Runner]:
    """Those that match, sorted, and not more than the limit.  By number where all else is equal."""
    chosen = [runner for runner in runners if selection.matches(runner)]
    chosen.sort(key=by_number)
    if selection.sort != "name":
        chosen.sort(key=_KEYS[selection.sort])
    if selection.reverse:
        chosen.reverse()
    return chosen if selection.limit is None else chosen[: selection.limit]


class SelectedChanges:
    """Makes of all changes those of the runners that are meant.

    One that comes to be meant is told as ``ADDED``, one that is meant no longer as ``DELETED``.
    """

    def __init__(self, selection: Selection) -> None:
        self._selection = selection
        self._shown: set[tuple[str, str]] = set()

    def of(self, change: Change) -> Change | None:
        """What is to be told of it, if anything."""
        runner = change.runner
        if runner is None:
            return change
        key = runner.name, runner.uid
        was_shown = key in self._shown
        if change.kind is not ChangeKind.DELETED and self._selection.matches(runner):
            self._shown.add(key)
            return Change(ChangeKind.MODIFIED if was_shown else ChangeKind.ADDED, runner)
        self._shown.discard(key)
        return Change(ChangeKind.DELETED, runner) if was_shown else None


def by_number(runner: Runner) -> tuple[int, str]:
    """The order of names in which runner-10 comes after runner-9."""
    digits = runner.name.rpartition("-")[2]
    return (int(digits) if digits.isdecimal() else 0, runner.name)


# Whoever uses most comes first, and whose use is not known comes last.
_KEYS: Mapping[str, Callable[[Runner], Any]] = {
    "age": lambda runner: -runner.created,
    "status": lambda runner: runner.status.value,
    "profile": lambda runner: runner.profile,
    "owner": lambda runner: runner.labels.owner,
    "kernel": lambda runner: runner.kernel.value,
    "notebook": lambda runner: runner.labels.notebook or "\U0010ffff",
    "cpu": lambda runner: -(runner.usage.cpu if runner.usage.cpu is not None else -1.0),
    "memory": lambda runner: -(runner.usage.memory if runner.usage.memory is not None else -1),
}
