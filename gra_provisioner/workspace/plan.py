"""What is to be copied from one folder to another, decided from their listings.  Pure.

Each side knows which of its files are *settled*: as they were when both sides last had the same.
So a file of which one side is settled may be replaced by the other's; where neither is, both stay.
The same rules hold for either direction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from .parcel import Action
from .tree import FILE, FOLDER, Entry


@dataclass(frozen=True)
class Side:
    """One of two folders: what is in it by path, and the paths that are settled."""

    entries: Mapping[str, Entry]
    settled: AbstractSet[str] = frozenset()


@dataclass(frozen=True)
class Plan:
    """What is to be copied.

    ``conflicts`` are files of ``files`` that both sides have changed, ``waiting`` files of the
    source that stay away, since the target has newer ones that the source has not got yet.
    """

    files: tuple[Entry, ...] = ()
    folders: tuple[Entry, ...] = ()
    over: Mapping[str, tuple[int, int, int] | None] = field(default_factory=dict)
    conflicts: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(entry.size for entry in self.files)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All that is to be sent, folders first."""
        return (*self.folders, *self.files)

    def actions(self, *, displace: bool) -> dict[str, Action]:
        """What :func:`.parcel.unpack` is to do."""
        return {entry.path: Action(self.over.get(entry.path), displace) for entry in self.entries}


def plan(source: Side, target: Side, *, whole: bool, equal: AbstractSet[str] = frozenset()) -> Plan:
    """What to copy from ``source`` to ``target``.

    ``whole``: all of the source is to be in the target, and files of the same size and time are
    taken for the same, as rsync does.  Otherwise only what is not settled in the source is copied,
    and it alone counts.  ``equal`` are paths known to have the same content on both sides.
    """
    files: list[Entry] = []
    folders: list[Entry] = []
    over: dict[str, tuple[int, int, int] | None] = {}
    conflicts: list[str] = []
    waiting: list[str] = []
    for path, entry in source.entries.items():
        other = target.entries.get(path)
        if not whole and path in source.settled:
            continue
        if entry.kind == FOLDER:
            if other is None:
                folders.append(entry)
            continue
        if path in equal or (whole and _looks_same(entry, other)):
            continue
        if other is None:
            over[path] = None
        elif path in target.settled and other.kind == FILE:
            over[path] = other.state
        elif path in source.settled:
            waiting.append(path)
            continue
        else:
            over[path] = None
            conflicts.append(path)
        files.append(entry)
    return Plan(tuple(files), tuple(folders), over, tuple(conflicts), tuple(waiting))


def _looks_same(entry: Entry, other: Entry | None) -> bool:
    if other is None or other.kind != FILE:
        return False
    return (entry.size, entry.mtime) == (other.size, other.mtime)


def to_compare(source: Side, target: Side, planned: Plan) -> list[str]:
    """Conflicts that may be none, since both files have the same size."""
    return [
        path
        for path in planned.conflicts
        if target.entries[path].kind == FILE
        and target.entries[path].size == source.entries[path].size
    ]


def equal_content(mine: Mapping[str, str], theirs: Mapping[str, str]) -> frozenset[str]:
    """The paths whose digests are the same on both sides."""
    return frozenset(path for path, digest in mine.items() if theirs.get(path) == digest)


def within(planned: Plan, limit: int) -> tuple[Plan, tuple[Entry, ...]]:
    """As many files as have ``limit`` bytes together, the smallest first; and the others."""
    taken: list[Entry] = []
    left: list[Entry] = []
    size = 0
    for entry in sorted(planned.files, key=lambda entry: (entry.size, entry.path)):
        size += entry.size
        (taken if size <= limit else left).append(entry)
    if not left:
        return planned, ()
    gone = {entry.path for entry in left}
    files = tuple(entry for entry in planned.files if entry.path not in gone)
    conflicts = tuple(path for path in planned.conflicts if path not in gone)
    return Plan(files, planned.folders, planned.over, conflicts, planned.waiting), tuple(left)


def largest(entries: Iterable[Entry], most: int = 3) -> list[tuple[str, int, int]]:
    """What has most in it: folders (``data/``) and files at the top, with bytes and files."""
    sums: dict[str, tuple[int, int]] = {}
    for entry in entries:
        if entry.kind == FILE:
            top, slash, _ = entry.path.partition("/")
            size, number = sums.get(top + slash, (0, 0))
            sums[top + slash] = size + entry.size, number + 1
    ordered = sorted(sums.items(), key=lambda item: (-item[1][0], -item[1][1], item[0]))
    return [(name, size, number) for name, (size, number) in ordered[:most]]
