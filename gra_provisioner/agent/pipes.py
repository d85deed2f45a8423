"""The two directions between a channel of the tunnel and a process's pipes or terminal.

Both push back: a descriptor is not read while its channel has too much under way, and the
peer's bytes are acknowledged once the process has taken them.  Used by
:mod:`gra_provisioner.agent.exec`.
"""

from __future__ import annotations

import asyncio
import errno
import os
import termios
from collections import deque
from typing import Callable, Deque, Optional, Protocol

from .failure import AgentError
from .stream import StreamHandler

# One read of a pipe: the default capacity of a pipe on Linux (pipe(7)).
READ_SIZE = 65536

# After the grace, what the pipe still holds is passed on, and it cannot hold more than this
# (/proc/sys/fs/pipe-max-size); so a writer that never stops cannot keep the stream open.
TAIL_SIZE = 1 << 20


class Channel(Protocol):
    """What a process needs of a :class:`~gra_provisioner.agent.stream.Stream`."""

    handler: StreamHandler

    @property
    def HIGH_WATER(self) -> int:  # noqa: N802
        """The backlog above which nothing more is to be written until ``on_drain``."""
        ...

    @property
    def backlog(self) -> int:
        """How many written bytes the peer has not acknowledged."""
        ...

    def write(self, data: bytes) -> None:
        """Send bytes to the peer."""
        ...

    def finish(self) -> None:
        """No more bytes from this side (half-close)."""
        ...

    def reset(self, reason: str, message: str) -> None:
        """End both directions at once."""
        ...

    def consumed(self, count: int) -> None:
        """Let the peer send ``count`` more bytes."""
        ...


class _Nowhere:
    """A channel that takes everything and keeps nothing."""

    HIGH_WATER = 0
    backlog = 0
    handler: StreamHandler

    def write(self, data: bytes) -> None:
        """Drop it."""

    def finish(self) -> None:
        """There is nobody to be told."""

    def reset(self, reason: str, message: str) -> None:
        """There is nobody to be told."""

    def consumed(self, count: int) -> None:
        """There is nobody who could send more."""


class Output:
    """The read end of a pipe or terminal, passed on to a channel as fast as that takes it."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, fd: int, on_end: Callable[[], None]
    ) -> None:
        os.set_blocking(fd, False)
        self.ended = False
        self._loop = loop
        self._fd = fd
        self._on_end = on_end
        self._channel: Optional[Channel] = None
        self._reading = False
        # How many bytes may still come; None while the end of the pipe is awaited.
        self._tail: Optional[int] = None

    def check_free(self, name: str) -> None:
        """Raises :class:`AgentError` ``AlreadyAttached``."""
        if self._channel is not None:
            raise AgentError("AlreadyAttached", f"{name} is joined to another stream already.")

    def attach(self, channel: Channel) -> None:
        """Begin to read.  After :meth:`close` there is nothing to come but the end."""
        self._channel = channel
        if self.ended:
            channel.finish()
        else:
            self.resume()

    def resume(self) -> None:
        """Go on after the channel's backlog has drained.  Harmless at any other time."""
        if self.ended or self._reading or self._channel is None:
            return
        self._reading = True
        if self._tail is None:
            self._loop.add_reader(self._fd, self._read, self._channel)
        else:
            self._read_tail(self._channel)

    def end_soon(self) -> None:
        """Pass on what the pipe holds by now, as soon as the channel takes it, then end."""
        self._tail = TAIL_SIZE
        if self._reading and self._channel is not None:
            self._loop.remove_reader(self._fd)
            self._read_tail(self._channel)

    def discard(self) -> None:
        """Read on and drop it, so that who writes never waits.  The channel is not told."""
        self._channel = _Nowhere()
        self.resume()

    def close(self) -> None:
        """Read no more.  The channel is not told."""
        if not self.ended:
            self._pause()
            os.close(self._fd)
            self.ended = True
            self._on_end()

    def _pause(self) -> None:
        self._reading = False
        self._loop.remove_reader(self._fd)

    def _read_tail(self, channel: Channel) -> None:
        while self._reading:
            self._read(channel)

    def _read(self, channel: Channel) -> None:
        try:
            data = os.read(self._fd, READ_SIZE)
        except BlockingIOError:
            if self._tail is None:
                return
            data = b""
        except OSError as error:
            # Linux answers EIO on a terminal that nobody has open at its other side.
            if error.errno != errno.EIO:
                channel.reset("OutputUnreadable", f"The output was lost: {error.strerror}.")
                self.close()
                return
            data = b""
        if data:
            channel.write(data)
            if self.ended:
                return
            if self._tail is not None:
                self._tail -= len(data)
        if not data or (self._tail is not None and self._tail <= 0):
            channel.finish()
            self.close()
        elif channel.backlog > channel.HIGH_WATER:
            self._pause()


class Input:
    """The write end of a pipe or terminal, fed with the peer's bytes as fast as it takes them."""

    def __init__(self, loop: asyncio.AbstractEventLoop, fd: int, on_terminal: bool) -> None:
        os.set_blocking(fd, False)
        self._loop = loop
        self._fd: Optional[int] = fd
        self._on_terminal = on_terminal
        self._channel: Optional[Channel] = None
        self._queue: Deque[memoryview] = deque()
        # Bytes of the peer's that are in the queue.
        self._owed = 0
        self._finishing = False
        self._waiting = False
        self._last = b"\n"

    def attach(self, channel: Channel) -> None:
        """Name the channel whose bytes will come by :meth:`feed`."""
        self._channel = channel

    def feed(self, data: memoryview) -> None:
        """Take bytes of the peer's, which are valid during the call."""
        self._owed += len(data)
        if self._fd is None:
            self._discard()
            return
        written = 0 if self._queue else self._write(self._fd, data)
        if written < len(data) and self._fd is not None:
            self._queue.append(memoryview(bytes(data[written:])))
            self._wait_writable(self._fd)

    def finish(self) -> None:
        """The peer's last byte has come: the process is to read an end of file after it."""
        self._finishing = True
        if not self._queue:
            self._end()

    def close(self) -> None:
        """Write no more.  What is not written yet counts as consumed, and so does what comes."""
        if self._fd is not None:
            self._loop.remove_writer(self._fd)
            os.close(self._fd)
            self._fd = None
        self._discard()

    def abandon(self) -> None:
        """Write no more, and say nothing to the channel, which is gone."""
        self._channel = None
        self.close()

    def _discard(self) -> None:
        self._queue.clear()
        self._consume(self._owed)

    def _consume(self, count: int) -> None:
        count = min(count, self._owed)
        if count and self._channel is not None:
            self._owed -= count
            self._channel.consumed(count)

    def _wait_writable(self, fd: int) -> None:
        if not self._waiting:
            self._waiting = True
            self._loop.add_writer(fd, self._flush, fd)

    def _write(self, fd: int, data: memoryview) -> int:
        try:
            written = os.write(fd, data)
        except BlockingIOError:
            return 0
        except OSError:
            # EPIPE, or EIO on a terminal: nobody will ever read it.  That is the process's
            # right (head does it), and its exit status says the rest.
            self.close()
            return 0
        if written:
            self._last = bytes(data[written - 1 : written])
        self._consume(written)
        return written

    def _flush(self, fd: int) -> None:
        while self._queue:
            data = self._queue[0]
            written = self._write(fd, data)
            if self._fd is None:
                return
            if written < len(data):
                self._queue[0] = data[written:]
                return
            self._queue.popleft()
        self._waiting = False
        self._loop.remove_writer(fd)
        if self._finishing:
            self._end()

    def _end(self) -> None:
        if self._fd is None:
            return
        if not self._on_terminal:
            self.close()
            return
        # A terminal is not closed: its process would be hung up.  As a person would, type ^D.
        self._finishing = False
        self._queue.append(memoryview(_end_of_file(self._fd, self._last)))
        self._wait_writable(self._fd)


def _end_of_file(terminal: int, last: bytes) -> bytes:
    """What to type so that the process reads an end of file; ``last`` is what was typed last.

    In the middle of a line the first VEOF only hands over the line so far (termios(3)).
    """
    attributes = termios.tcgetattr(terminal)
    characters = attributes[6]
    is_canonical = bool(attributes[3] & termios.ICANON)
    veof: bytes = characters[termios.VEOF]
    starts_line = last in (b"\n", b"\r", veof, characters[termios.VINTR])
    return veof if starts_line or not is_canonical else veof * 2
