"""What runners wrote: lines, which of them are meant, and how the agent's log is read.  Pure.

The agent stamps each line that it or its kernel writes (:mod:`.agent.log`)::

    2026-11-21T15:00:00.123Z agent: kernel 1 started, pid 12
    2026-11-21T15:00:01.456Z stdout: what the kernel wrote, whatever that is

A line ends at a line feed and nowhere else, so that what a kernel writes always stands behind its
stamp: nothing in it is taken for a line of the agent's.
"""

from __future__ import annotations

import datetime
import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .errors import UnknownLogSource

#: The source of the agent's own lines.
AGENT = "agent"
#: What a query may say for both outputs of the kernel.
KERNEL = "kernel"
#: The sources of what the kernel wrote.
KERNEL_SOURCES = frozenset({"stdout", "stderr"})
#: Those that every runner has.
RUNNER_SOURCES = KERNEL_SOURCES | {AGENT}

# RFC 3339, as the agent and Kubernetes write it.
_STAMP = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d) ")
_SOURCE = re.compile(rb"([a-z][a-z0-9-]*):(?: |$)")
# Longer ones are given in pieces.
_LONGEST_LINE = 1 << 20


@dataclass(frozen=True)
class LogLine:
    """A line of a runner's log, without its end.

    ``time`` is in seconds since the epoch, ``None`` where nobody has noted it.  ``source`` is
    ``agent``, ``stdout`` or ``stderr`` (the kernel's), or the name of another container of the pod.
    Bytes of ``text`` that are no UTF-8 are lone surrogates (``surrogateescape``).
    """

    runner: str
    time: float | None
    source: str
    text: str

    def public(self) -> dict[str, Any]:
        """The line as JSON types, as ``gra logs --json`` prints it; the text is then Unicode."""
        text = self.text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        return {"runner": self.runner, "time": self.time, "source": self.source, "text": text}


@dataclass(frozen=True)
class LogQuery:
    """Which lines are meant.

    ``since`` is in seconds since the epoch; a line of an unknown time is always late enough.
    ``tail`` is how many of the last lines of each runner are meant.  Of ``sources`` there is
    ``agent``, ``kernel``, ``stdout``, ``stderr`` and the names of a pod's other containers; none
    means all.  With ``follow``, what is written from now on is meant as well.
    """

    follow: bool = False
    since: float | None = None
    tail: int | None = None
    sources: frozenset[str] = frozenset()

    @functools.cached_property
    def chosen(self) -> frozenset[str]:
        """The sources as lines have them; none means all."""
        kernel = KERNEL_SOURCES if KERNEL in self.sources else frozenset()
        return (self.sources - {KERNEL}) | kernel

    def wants(self, line: LogLine) -> bool:
        """Whether the line is meant, as far as that can be said of one line."""
        if self.chosen and line.source not in self.chosen:
            return False
        return self.since is None or line.time is None or line.time >= self.since

    def check_sources(self, runner: str, containers: Iterable[str] = ()) -> None:
        """Raise :class:`~.errors.UnknownLogSource` for what no source of the runner's is.

        ``containers`` are the names of those of its containers in which the agent is not.
        """
        names = list(containers)
        unknown = sorted(self.sources - RUNNER_SOURCES - {KERNEL} - set(names))
        if unknown:
            known = [AGENT, KERNEL, *sorted(KERNEL_SOURCES, reverse=True), *names]
            raise UnknownLogSource(
                f"{runner} has no log of {', '.join(map(repr, unknown))}.",
                hint=f"There are: {', '.join(known)}.",
                details={"sources": known},
            )


class LineSplitter:
    """Cuts what comes in blocks into lines.

    Each piece comes with whether a line begins with it: one of more than ``longest`` bytes comes in
    several pieces, so that a log without line feeds does not fill the memory.
    """

    def __init__(self, longest: int = _LONGEST_LINE) -> None:
        self._longest = longest
        self._held = b""
        self._begins = True

    def feed(self, block: bytes) -> list[tuple[bytes, bool]]:
        """The pieces that are complete with the next block."""
        pieces: list[tuple[bytes, bool]] = []
        *ends, rest = block.split(b"\n")
        for end in ends:
            self._held += end
            self._cut(pieces)
            if self._held or self._begins:
                pieces.append((self._held, self._begins))
            self._held, self._begins = b"", True
        self._held += rest
        self._cut(pieces)
        return pieces

    def finish(self) -> list[tuple[bytes, bool]]:
        """The last line, if it has no end."""
        held, self._held = self._held, b""
        return [(held, self._begins)] if held else []

    def _cut(self, pieces: list[tuple[bytes, bool]]) -> None:
        while len(self._held) > self._longest:
            pieces.append((self._held[: self._longest], self._begins))
            self._held, self._begins = self._held[self._longest :], False


class AgentLines:
    """The lines of one runner's agent log, given in their order.

    A line without a stamp belongs to the one before: it has its source and, unless somebody else
    has noted another, its time.
    """

    def __init__(self, runner: str) -> None:
        self._runner = runner
        self._source = AGENT
        self._time: float | None = None

    def line(self, raw: bytes, *, begins: bool = True, time: float | None = None) -> LogLine:
        """One line, or a piece of one.  ``time`` is used where it has no stamp of its own."""
        stamp = read_stamp(raw) if begins else None
        match = _SOURCE.match(raw, stamp[1]) if stamp is not None else None
        if stamp is None or match is None:
            at = self._time if time is None else time
            return LogLine(self._runner, at, self._source, decoded(raw))
        self._time = in_seconds(stamp[0])
        self._source = match[1].decode()
        return LogLine(self._runner, self._time, self._source, decoded(raw[match.end() :]))


def read_stamp(raw: bytes) -> tuple[int, int] | None:
    """The time at the beginning of a line, in nanoseconds since the epoch, and where it ends.

    ``None`` where it begins with anything else.
    """
    match = _STAMP.match(raw)
    if match is None:
        return None
    try:
        seconds = _epoch(match[1] + match[3])
    except ValueError:
        # The thirteenth month, for example.
        return None
    return seconds * 1_000_000_000 + int((match[2] or b"").ljust(9, b"0")), match.end()


def in_seconds(nanoseconds: int) -> float:
    """A time with all digits that a float has for it: as a whole it would be rounded twice."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return seconds + rest / 1e9


@functools.lru_cache(maxsize=64)
def _epoch(stamp: bytes) -> int:
    # Python's own parser knows Z from 3.11 on.
    text = stamp.decode().replace("Z", "+00:00")
    return int(datetime.datetime.fromisoformat(text).timestamp())


def decoded(raw: bytes) -> str:
    """Text that can be turned into the same bytes again, whatever they are."""
    return raw.decode("utf-8", "surrogateescape")


def format_time(time: float) -> str:
    """Seconds since the epoch as the agent's log has them: ``2026-11-21T15:00:00.123Z``."""
    seconds, thousandths = divmod(round(time * 1000), 1000)
    moment = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{thousandths:03d}Z"
