"""How far the log of a container was read, so that another request goes on from there.  Pure.

Kubernetes takes whole seconds for where a log is to begin, and its lines have no numbers.  So what
was read last is asked for once more, and what is known of it left out.
"""

from __future__ import annotations

from collections import Counter, deque

_SECOND = 1_000_000_000
# A container's stdout and stderr are stamped apart and may stand in the log the other way round.
_DISORDER = _SECOND
# What is asked for once more.  A line whose beginning was cut off is older than what counts of it.
_AGAIN = 2 * _SECOND
_REMEMBERED = _AGAIN + 2 * _SECOND


class Position:
    """Times are in nanoseconds since the epoch, as Kubernetes stamps lines.

    ``is_cut``: what is read first does not begin with the log, and what is earlier is not wanted.
    """

    def __init__(self, *, is_cut: bool = False) -> None:
        self._is_cut = is_cut
        self._first: int | None = None
        self._last = 0
        # (time, key) of the lines of the last seconds, and how often each key is among them.
        self._recent: deque[tuple[int, int]] = deque()
        self._known: Counter[int] = Counter()
        # Of the request under way: what it has yet to bring again, and what is older than all that
        # can be new in it.
        self._expected: Counter[int] = Counter()
        self._settled = 0

    @property
    def since(self) -> int | None:
        """From when the next request is to give lines, in whole seconds; ``None`` if from all."""
        return None if self._first is None else max(0, self._last - _AGAIN) // _SECOND

    def begin(self) -> None:
        """A request is made."""
        self._expected = self._known.copy()
        if self._first is not None:
            self._settled = max(self._first if self._is_cut else 0, self._last - _DISORDER)

    def passes(self, time: int, text: bytes) -> bool:
        """Whether a line is new, which then is known.  To be asked for each line in its order."""
        key = hash((time, text))
        if self._expected and self._expected[key] > 0:
            self._expected[key] -= 1
            return False
        if time < self._settled:
            return False
        if self._first is None:
            self._first = time
        self._last = time
        self._recent.append((time, key))
        self._known[key] += 1
        while self._recent[0][0] < time - _REMEMBERED:
            _, old = self._recent.popleft()
            self._known[old] -= 1
            if not self._known[old]:
                del self._known[old]
        return True
