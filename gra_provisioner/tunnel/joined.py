"""A local connection joined with a stream of the tunnel: how each holds the other up."""

from __future__ import annotations

import asyncio

from ..agent.stream import Stream


class Joined(asyncio.Protocol):
    """The part that every such connection has; a subclass sets the stream and the transport.

    What the runner sends is consumed once the local end takes it; the local end is not read while
    too much waits to be sent.
    """

    def __init__(self) -> None:
        self._stream: Stream | None = None
        self._transport: asyncio.Transport | None = None
        self._paused = False
        self._owed = 0

    def _send(self, data: bytes) -> None:
        """Send what came from the local end."""
        stream = self._stream
        if stream is None:
            return
        stream.write(data)
        if stream.backlog > stream.high_water and self._transport is not None:
            self._transport.pause_reading()

    def pause_writing(self) -> None:
        """See :class:`asyncio.Protocol`."""
        self._paused = True

    def resume_writing(self) -> None:
        """See :class:`asyncio.Protocol`."""
        self._paused = False
        self._repay()

    def on_drain(self) -> None:
        """See :class:`~..agent.stream.StreamHandler`."""
        if self._transport is not None:
            self._transport.resume_reading()

    def _consume(self, count: int) -> None:
        if self._stream is not None:
            self._stream.consumed(count)

    def _repay(self) -> None:
        owed, self._owed = self._owed, 0
        self._consume(owed)
