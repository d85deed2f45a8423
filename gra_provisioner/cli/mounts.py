"""A runner's mounts of S3, for people.  Pure but for rich, which is imported where it is used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from ..runner import MountState, MountStatus
from ..units import format_age
from .terminal import printable

if TYPE_CHECKING:
    from rich.table import Table

#: By the value of a state.
COLOURS = {
    MountState.WAITING.value: "cyan",
    MountState.STARTING.value: "cyan",
    MountState.MOUNTED.value: "green",
    MountState.FAILING.value: "red",
    MountState.FAILED.value: "red",
}
_UNWELL = frozenset({MountState.FAILING, MountState.FAILED})


def source(mount: MountStatus) -> str:
    """What is mounted: ``s3://lake/team/a``."""
    return "/".join(part for part in (f"s3://{mount.bucket}", mount.prefix) if part)


def unwell(mounts: Iterable[MountStatus]) -> list[MountStatus]:
    """Those that do not work, or not any more."""
    return [mount for mount in mounts if mount.state in _UNWELL]


def brief(mounts: Iterable[MountStatus]) -> str:
    """All of them in a cell: ``/data/lake,/data/raw:failing``."""
    return ",".join(
        mount.path if mount.state is MountState.MOUNTED else f"{mount.path}:{mount.state.value}"
        for mount in mounts
    )


def why(mounts: Iterable[MountStatus]) -> str:
    """What is wrong with the first that does not work; empty where nothing is."""
    return next((_sentence(mount) for mount in unwell(mounts)), "")


def warnings(mounts: Iterable[MountStatus]) -> Iterator[str]:
    """Lines that say what is wrong with each that does not work, and what to do about it."""
    for mount in unwell(mounts):
        yield f"Warning: {_sentence(mount)}"
        if mount.hint:
            yield f"Hint: {mount.hint}"


def _sentence(mount: MountStatus) -> str:
    said = "is failing" if mount.state is MountState.FAILING else "could not be mounted"
    because = mount.message or mount.reason or "nothing says why"
    return f"{mount.path} ({source(mount)}) {said}: {because}"


def mounts_table(mounts: Iterable[MountStatus], now: float) -> Table:
    """One line for each mount.  ``now`` is in seconds since the epoch."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for title in ("MOUNT", "BUCKET", "STATE", "SINCE", "REASON"):
        table.add_column(title, overflow="fold")
    for mount in mounts:
        since = "-" if mount.since is None else format_age(now - mount.since)
        table.add_row(
            Text(printable(mount.path)),
            Text(printable(source(mount))),
            Text(mount.state.value, COLOURS[mount.state.value]),
            since,
            Text(printable(mount.reason) or "-"),
        )
    return table
