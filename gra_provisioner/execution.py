"""What running a command in a runner gave, within bounds: plain data, for programs and tools.

Of an output that is too long the beginning and the end are kept, because a build says at its
beginning what it does and at its end how that went.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

#: Bytes of each of stdout and stderr that are kept, unless told otherwise.
LIMIT = 1 << 20
#: Seconds from the SIGTERM that a command gets when its time is over to SIGKILL.
KILLED_AFTER = 5.0
#: The exit code of a command that was ended for its time, as of ``timeout(1)``.
TIMED_OUT = 124


class Bounded:
    """Collects output of which at most ``limit`` bytes are kept: half from either end."""

    def __init__(self, limit: int = LIMIT) -> None:
        self.size = 0
        self._head_size = limit - limit // 2
        self._tail_size = limit // 2
        self._head = bytearray()
        self._tail = bytearray()

    def add(self, data: bytes) -> None:
        """Take what came next."""
        self.size += len(data)
        room = self._head_size - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        # Seldom, so that each byte is moved but a few times.
        if len(self._tail) > 2 * self._tail_size + 4096:
            del self._tail[: len(self._tail) - self._tail_size]

    def captured(self) -> Captured:
        """What there is now."""
        dropped = self.size - len(self._head) - self._tail_size
        if dropped <= 0:
            return Captured(bytes(self._head + self._tail), b"", self.size)
        tail = self._tail[len(self._tail) - self._tail_size :]
        return Captured(bytes(self._head), bytes(tail), self.size)


@dataclass(frozen=True)
class Captured:
    """An output, or its two ends.  ``size`` is in bytes, of all of it."""

    head: bytes
    tail: bytes
    size: int

    @property
    def dropped(self) -> int:
        """How many bytes between the two ends were left out."""
        return self.size - len(self.head) - len(self.tail)

    def public(self) -> dict[str, Any]:
        """As JSON: ``text``, or ``base64`` where the bytes are no UTF-8; ``bytes``, ``dropped``.

        Where bytes were left out the text says so in a line of its own, and a character that
        was cut is left out whole; of ``base64`` only the head is given.
        """
        head, tail = self.head, self.tail
        if not self.dropped:
            try:
                return {"text": head.decode(), "bytes": self.size, "dropped": 0}
            except UnicodeDecodeError:
                return {"base64": _base64(head), "bytes": self.size, "dropped": 0}
        head, tail = _whole_at_end(head), _whole_at_start(tail)
        dropped = self.size - len(head) - len(tail)
        try:
            text = f"{head.decode()}\n[… {dropped:,} bytes left out …]\n{tail.decode()}"
        except UnicodeDecodeError:
            dropped = self.size - len(self.head)
            return {"base64": _base64(self.head), "bytes": self.size, "dropped": dropped}
        return {"text": text, "bytes": self.size, "dropped": dropped}


@dataclass(frozen=True)
class Execution:
    """A command that was run to its end.  ``duration`` is in seconds; of ``code`` and ``signal``
    one is None.  ``timed_out``: it was ended because its time was over.
    """

    runner: str
    code: int | None
    signal: int | None
    stdout: Captured
    stderr: Captured
    duration: float
    timed_out: bool = False

    @property
    def exit_code(self) -> int:
        """The exit code that a shell would give."""
        if self.timed_out:
            return TIMED_OUT
        return 128 + self.signal if self.signal is not None else self.code or 0

    def public(self) -> dict[str, Any]:
        """The fields of ``gra exec --json``."""
        return {
            "runner": self.runner,
            "exit_code": self.exit_code,
            "signal": self.signal,
            "timed_out": self.timed_out,
            "duration": round(self.duration, 3),
            "stdout": self.stdout.public(),
            "stderr": self.stderr.public(),
        }


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _whole_at_end(data: bytes) -> bytes:
    """Without the beginning of a character whose end was cut off (RFC 3629)."""
    for back in range(1, min(4, len(data)) + 1):
        first = data[-back]
        if first & 0xC0 != 0x80:
            # As many bytes as the first has leading ones; none for ASCII.
            length = f"{first:08b}".index("0") if first != 0xFF else 0
            return data[:-back] if length > back else data
    return data


def _whole_at_start(data: bytes) -> bytes:
    """Without the end of a character whose beginning was cut off."""
    for index in range(min(4, len(data))):
        if data[index] & 0xC0 != 0x80:
            return data[index:]
    # No character has four such bytes: then it is no text at all.
    return data if len(data) >= 4 else b""
