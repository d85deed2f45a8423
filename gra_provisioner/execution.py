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
class ProcessExit:
    """How a process ended: by itself with ``code``, or by ``signal``.  The other is None."""

    code: int | None
    signal: int | None

    @property
    def shell_code(self) -> int:
        """The exit code that shells give it: 128 and the number of a signal."""
        return 128 + self.signal if self.signal is not None else self.code or 0


@dataclass(frozen=True)
class Ended:
    """The end of a command that was run in a runner.  ``duration`` is in seconds.

    ``timed_out``: it was ended because its time was over.
    """

    runner: str
    exit: ProcessExit
    duration: float
    timed_out: bool = False

    @property
    def exit_code(self) -> int:
        """The exit code that a shell would give."""
        return TIMED_OUT if self.timed_out else self.exit.shell_code

    def public(self) -> dict[str, Any]:
        """The last line of ``gra exec --stream``, and the first fields of ``gra exec --json``."""
        return {
            "runner": self.runner,
            "exit_code": self.exit_code,
            "signal": self.exit.signal,
            "timed_out": self.timed_out,
            "duration": round(self.duration, 3),
        }


@dataclass(frozen=True)
class Execution:
    """A command that was run to its end, and what is kept of its output."""

    ended: Ended
    stdout: Captured
    stderr: Captured

    def public(self) -> dict[str, Any]:
        """The fields of ``gra exec --json``."""
        outputs = {"stdout": self.stdout.public(), "stderr": self.stderr.public()}
        return {**self.ended.public(), **outputs}


class PieceEncoder:
    """Pieces of one output as JSON objects, for ``gra exec --stream`` and REST.

    ``{"stream": "stdout", "text": "…"}``; a character whose end is still to come waits for it.
    What is no UTF-8 comes as ``base64`` in place of ``text``, and so does all that follows, so
    that who puts the pieces together need not change between the two.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._held = b""
        self._binary = False

    def encode(self, data: bytes) -> list[dict[str, str]]:
        """The objects for what came next: none, if it was the beginning of a character."""
        return self._objects(self._held + data, whole=False)

    def finish(self) -> list[dict[str, str]]:
        """The object for what was held back, if there is any."""
        return self._objects(self._held, whole=True) if self._held else []

    def _objects(self, data: bytes, *, whole: bool) -> list[dict[str, str]]:
        self._held = b""
        if not self._binary:
            head = data if whole else _whole_at_end(data)
            try:
                text = head.decode()
            except UnicodeDecodeError:
                self._binary = True
            else:
                self._held = data[len(head) :]
                return [{"stream": self._source, "text": text}] if text else []
        return [{"stream": self._source, "base64": _base64(data)}]


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
