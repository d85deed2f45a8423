"""Joins a stream of the tunnel with a TCP connection in the runner.

A kernel's sockets are always read, into the stream's bounded buffer, so that neither a client
that is away nor one that is slow ever stalls the kernel.  Where the bound is passed, iopub loses
whole messages and says how many; the other channels, which carry little, are pushed back.
"""

from __future__ import annotations

import asyncio
from typing import Awaitable, Callable, List, Optional, Sequence, cast

from . import zmtp
from .stream import Stream

Connect = Callable[[asyncio.Protocol], Awaitable[None]]


class Relay(asyncio.Protocol):
    """One stream and its connection to a port in the runner.

    ``connect(protocol)`` makes the connection; it may wait (until the kernel listens) and raises
    ``OSError`` if there is none to be had.  Bytes that come from the client meanwhile are kept.
    """

    def __init__(self, stream: Stream, connect: Connect) -> None:
        self.stream = stream
        self._transport: Optional[asyncio.Transport] = None
        self._early: List[bytes] = []
        self._owed = 0
        self._paused = False
        self._client_finished = False
        self._port_finished = False
        self._ended = False
        self._task = asyncio.ensure_future(self._connect(connect))

    async def _connect(self, connect: Connect) -> None:
        try:
            await connect(self)
        except OSError as error:
            self.stream.reset("ConnectionRefused", str(error))
            self._ended = True

    # -- from the client: stream.StreamHandler ----------------------------------------------

    def on_data(self, data: memoryview) -> None:
        """See :class:`.stream.StreamHandler`."""
        if self._ended:
            self.stream.consumed(len(data))
        elif self._transport is None:
            self._early.append(bytes(data))
        else:
            self._transport.write(data)
            if self._paused:
                self._owed += len(data)
            else:
                self.stream.consumed(len(data))

    def on_finish(self) -> None:
        """See :class:`.stream.StreamHandler`."""
        self._client_finished = True
        if self._transport is not None:
            self._end_writing(self._transport)

    def on_reset(self, reason: str, message: str) -> None:
        """See :class:`.stream.StreamHandler`."""
        self._task.cancel()
        self._ended = True
        if self._transport is not None:
            self._transport.abort()

    def on_drain(self) -> None:
        """See :class:`.stream.StreamHandler`."""
        if self._transport is not None:
            self._transport.resume_reading()

    # -- from the port: asyncio.Protocol ----------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See :class:`asyncio.Protocol`."""
        self._transport = cast(asyncio.Transport, transport)
        early, self._early = self._early, []
        for data in early:
            self.on_data(memoryview(data))
        if self._client_finished:
            self._end_writing(self._transport)

    def data_received(self, data: bytes) -> None:
        """See :class:`asyncio.Protocol`."""
        self.stream.write(data)
        self._hold()

    def eof_received(self) -> bool:
        """See :class:`asyncio.Protocol`.  The other direction stays open."""
        self._port_finished = True
        self.stream.finish()
        return not self._client_finished

    def pause_writing(self) -> None:
        """See :class:`asyncio.Protocol`."""
        self._paused = True

    def resume_writing(self) -> None:
        """See :class:`asyncio.Protocol`."""
        self._paused = False
        owed, self._owed = self._owed, 0
        self.stream.consumed(owed)

    def connection_lost(self, exc: Optional[Exception]) -> None:
        """See :class:`asyncio.Protocol`."""
        self._transport = None
        if exc is not None:
            self._on_broken(exc)
        self._end()

    def _on_broken(self, error: Exception) -> None:
        self.stream.reset("ConnectionReset", str(error))

    def _end_writing(self, transport: asyncio.Transport) -> None:
        if self._port_finished:
            # Nothing reads from it any more, so nothing but this would ever close it.
            transport.close()
        else:
            transport.write_eof()

    def _end(self) -> None:
        self._ended = True
        self.stream.finish()
        owed, self._owed = self._owed, 0
        self.stream.consumed(owed + sum(map(len, self._early)))
        self._early.clear()

    def _hold(self) -> None:
        if self._transport is not None and self.stream.backlog > self.stream.high_water:
            self._transport.pause_reading()


class KernelRelay(Relay):
    """A relay to one of the kernel's channels.  When the kernel ends, the stream is finished."""

    def __init__(self, stream: Stream, connect: Connect) -> None:
        super().__init__(stream, connect)
        stream.high_water = min(stream.HIGH_WATER, stream.out.bound // 2)

    def on_finish(self) -> None:
        """See :class:`.stream.StreamHandler`."""
        if self._transport is None and not self._ended:
            # Nobody waits for the answer of a connection that was never made.
            self._task.cancel()
            self._end()
        super().on_finish()

    def _on_broken(self, error: Exception) -> None:
        # A kernel that is killed resets its connections.  What it had said is in order.
        self.stream.finish()

    def _hold(self) -> None:
        if self._transport is not None and not self.stream.out.room:
            self.stream.hold()
            self._transport.pause_reading()


class IopubRelay(KernelRelay):
    """A relay to the kernel's iopub that drops whole messages once the buffer is full.

    ``notice(count, size, why, before)`` makes the message that tells of it: the frames of a
    signed iopub message, to stand before that of the frames ``before``, if there are any.  Status
    messages are kept beyond the bound, within reason: a client that misses an idle waits for ever.
    """

    # How far beyond the bound the message under way and status messages may go.
    OVERDRAFT = 4 << 20

    def __init__(
        self,
        stream: Stream,
        connect: Connect,
        notice: Callable[[int, int, str, List[bytes]], List[bytes]],
    ) -> None:
        super().__init__(stream, connect)
        self._splitter = zmtp.Splitter()
        self._notice = notice
        self._resume_room = min(1 << 20, stream.out.bound // 2)
        self._dropping = False
        self._dropped = 0
        self._dropped_size = 0

    def data_received(self, data: bytes) -> None:
        """See :class:`asyncio.Protocol`."""
        stream = self.stream
        # Where in ``data`` a message is known to begin, if anywhere yet.
        boundary = 0 if self._splitter.at_boundary else None
        messages = self._splitter.feed(data)
        if not self._dropping:
            if len(data) <= stream.out.room:
                stream.write(data)
                return
            if boundary is None:
                # The client has half a message: it gets the rest, whatever the bound.
                boundary = messages[0].end if messages else None
                stream.write(data[:boundary])
                messages = messages[1:]
                if stream.out.waiting > stream.out.bound + self.OVERDRAFT:
                    stream.reset("OutputTooLarge", "one message is larger than the buffer")
                    if self._transport is not None:
                        self._transport.abort()
                    return
                if boundary is None:
                    return
            self._dropping = True
            stream.hold()
        for message in messages:
            if boundary is not None and stream.out.room >= self._resume_room:
                break
            self._drop(message)
            boundary = message.end
        if boundary is not None and stream.out.room >= self._resume_room:
            self._resume()
            stream.write(data[boundary:])

    def eof_received(self) -> bool:
        """See :class:`asyncio.Protocol`."""
        self._tell()
        return super().eof_received()

    def _on_broken(self, error: Exception) -> None:
        self._tell()
        super()._on_broken(error)

    def on_drain(self) -> None:
        """See :class:`.stream.StreamHandler`."""
        if self._dropping:
            if self._splitter.at_boundary:
                self._resume()
            else:
                self.stream.hold()

    def _drop(self, message: zmtp.Message) -> None:
        frames = message.frames
        out = self.stream.out
        spare = out.bound + self.OVERDRAFT - out.waiting
        if frames and spare > message.size:
            if message.command:
                self.stream.write(zmtp.frame(frames[0], command=True))
                return
            if frames[0].endswith(b".status"):
                # First, because a client reads a cell's output no further than its idle.
                self._tell(frames)
                self.stream.write(zmtp.encode(frames))
                return
        self._dropped += 1
        self._dropped_size += message.size

    def _resume(self) -> None:
        self._dropping = False
        self._tell()

    def _tell(self, before: Sequence[bytes] = ()) -> None:
        if self._dropped:
            why = self.stream.out.failure
            notice = self._notice(self._dropped, self._dropped_size, why, list(before))
            self.stream.write(zmtp.encode(notice))
            self._dropped = self._dropped_size = 0
