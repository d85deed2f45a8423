"""The log of a local runner: files in its folder.

``agent.log`` is the agent's; when it is full it becomes ``agent.log.1`` and a new one is begun.
``agent.err`` has what the agent's interpreter wrote, which as a rule is nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path

from ..errors import LogUnavailable, RunnerNotFound
from ..log_streams import Lines, by_time, last_lines
from ..logs import AGENT, AgentLines, LineSplitter, LogLine, LogQuery, decoded
from ..runner import RunnerStatus
from .base import NoticeCallback

_BLOCK = 1 << 16
# How often, in seconds, is looked for more: not every system tells of a change to a file.
_LOOK_EVERY = 0.1
_GOES_ON = frozenset({RunnerStatus.STARTING, RunnerStatus.RUNNING})


async def local_logs(
    folder: Path,
    runner: str,
    query: LogQuery,
    status: Callable[[], RunnerStatus | None],
    on_notice: NoticeCallback,
) -> Lines:
    """See :meth:`.base.Backend.logs`.

    ``status`` is asked what has become of the runner in ``folder``; ``None`` if it is gone.
    """
    query.check_sources(runner)
    with contextlib.ExitStack() as stack:
        place = _opened(folder)
        if place is not None:
            stack.callback(os.close, place)
        # Asked now: another runner may have had the folder's name by then.
        now = status()
        if place is None or now is None:
            raise RunnerNotFound(
                f"The runner {runner} does not exist any more.",
                hint="It was deleted, and its log with it.",
            )
        files = [
            stack.enter_context(contextlib.closing(GrowingFile(place, name)))
            for name in ("agent.log", "agent.err")
        ]
        logs = [_AgentsLog(runner, files[0]), _InterpretersLog(runner, files[1])]
        if not files[0].is_there():
            if not query.follow or now is not RunnerStatus.STARTING:
                raise _no_log(runner, now)
            on_notice(f"{runner} is starting")
        there = by_time([_each(log.lines(), query) for log in logs])
        async with contextlib.aclosing(last_lines(there, query.tail)) as lines:
            async for line in lines:
                yield line
        while query.follow and now in _GOES_ON:
            await asyncio.sleep(_LOOK_EVERY)
            # What was written until then is read after that.
            now = status()
            for line in filter(query.wants, chain.from_iterable(log.lines() for log in logs)):
                yield line
        if not files[0].is_there():
            raise _no_log(runner, RunnerStatus.LOST)


def _no_log(runner: str, status: RunnerStatus) -> LogUnavailable:
    if status is RunnerStatus.STARTING:
        return LogUnavailable(
            f"{runner} is starting and has no log yet.", hint="`gra logs --follow` waits for it."
        )
    return LogUnavailable(f"{runner} has no log: its agent has never run.")


def _opened(folder: Path) -> int | None:
    try:
        return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None


async def _each(lines: Iterable[LogLine], query: LogQuery) -> Lines:
    for line in filter(query.wants, lines):
        yield line


class _Log:
    """The lines of a file; each call of :meth:`lines` gives those that came since the last."""

    def __init__(self, runner: str, file: GrowingFile) -> None:
        self._runner = runner
        self._file = file
        self._splitter = LineSplitter()

    def lines(self) -> Iterator[LogLine]:
        """Those whose end has been written."""
        for block in self._file.blocks():
            for raw, begins in self._splitter.feed(block):
                yield self._line(raw, begins)

    def _line(self, raw: bytes, begins: bool) -> LogLine:
        raise NotImplementedError


class _AgentsLog(_Log):
    """What the agent wrote, for itself and its kernel."""

    def __init__(self, runner: str, file: GrowingFile) -> None:
        super().__init__(runner, file)
        self._parsed = AgentLines(runner)

    def _line(self, raw: bytes, begins: bool) -> LogLine:
        return self._parsed.line(raw, begins=begins)


class _InterpretersLog(_Log):
    """What the agent's interpreter wrote, at a time that only the file knows."""

    def _line(self, raw: bytes, begins: bool) -> LogLine:
        return LogLine(self._runner, self._file.changed(), AGENT, decoded(raw))


class GrowingFile:
    """A file that is appended to and at some point becomes ``NAME.1``, with a new one in its place.

    ``place`` is a descriptor of its folder, so that nothing is read of a later folder of that name.
    What was replaced twice between two looks is lost.
    """

    def __init__(self, place: int, name: str) -> None:
        self._place = place
        self._name = name
        # That which is being read, and those that come after it.
        self._open: list[int] = []

    def is_there(self) -> bool:
        """Whether it has been begun."""
        return bool(self._open) or self._begin()

    def changed(self) -> float:
        """When it was last written to, in seconds since the epoch."""
        return os.fstat(self._open[0]).st_mtime

    def blocks(self) -> Iterator[bytes]:
        """What was appended since the last call."""
        if not self.is_there():
            return
        while True:
            yield from _rest(self._open[0])
            if len(self._open) > 1:
                os.close(self._open.pop(0))
                continue
            newer = self._find(self._name, others=self._open)
            if newer is None:
                return
            # Nothing more comes, but some may have come before it was replaced.
            yield from _rest(self._open[0])
            between = self._find(f"{self._name}.1", others=[*self._open, newer])
            self._open += [newer] if between is None else [between, newer]

    def close(self) -> None:
        """Close it."""
        for fd in self._open:
            os.close(fd)
        self._open.clear()

    def _begin(self) -> bool:
        for name in (self._name, f"{self._name}.1"):
            found = self._find(name, others=self._open)
            if found is not None:
                self._open.insert(0, found)
        return bool(self._open)

    def _find(self, name: str, others: list[int]) -> int | None:
        """A descriptor of that file, if there is one and it is none of the others."""
        try:
            fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._place)
        except FileNotFoundError:
            return None
        if any(os.path.samestat(os.fstat(fd), os.fstat(other)) for other in others):
            os.close(fd)
            return None
        return fd


def _rest(fd: int) -> Iterator[bytes]:
    while block := os.read(fd, _BLOCK):
        yield block
