"""What changed between two lists of runners: pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..runner import Change, ChangeKind, Runner


class Changes:
    """Remembers the runners that it was given last.

    A record that was never finished has no uid, so a runner is known by name and uid.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Runner] = {}

    def to(self, runners: Iterable[Runner]) -> Iterator[Change]:
        """What is to be told so that whoever was told everything before knows these runners.

        The end of a runner comes before the beginning of another of its name.
        """
        fresh = {(runner.name, runner.uid): runner for runner in runners}
        before, self._known = self._known, fresh
        for key, runner in before.items():
            if key not in fresh:
                yield Change(ChangeKind.DELETED, runner)
        for key, runner in fresh.items():
            if key not in before:
                yield Change(ChangeKind.ADDED, runner)
            elif before[key] != runner:
                yield Change(ChangeKind.MODIFIED, runner)
