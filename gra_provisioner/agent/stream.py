"""One stream of a session, and what its user is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Mapping, Protocol

from . import wire
from .buffer import Piece, SendBuffer
from .compression import Choice
from .pace import Pace

if TYPE_CHECKING:
    from .session import Session


# What is owed for a long stream is acknowledged at once when it is this part of all that came.
ACK_PART = 8


class StreamHandler(Protocol):
    """The user of one stream.  Called by its session, never after ``on_reset``."""

    def on_data(self, data: memoryview) -> None:
        """Bytes came, valid during the call.  ``stream.consumed(n)`` once done with them."""

    def on_finish(self) -> None:
        """The peer will send no more.  The other direction stays open."""

    def on_reset(self, reason: str, message: str) -> None:
        """The stream has ended at once, in both directions."""

    def on_drain(self) -> None:
        """The backlog has fallen below the low water mark after it was above the high one."""


class Stream:
    """One bidirectional stream of bytes.  Made by a session, used by a :class:`StreamHandler`."""

    # The default of ``high_water``; the low water mark is a quarter of it.
    HIGH_WATER = 1 << 20
    LOW_WATER = HIGH_WATER // 4

    __slots__ = (
        "_above",
        "_acked",
        "_choice",
        "_consumed",
        "_fin_acked",
        "_fin_sent",
        "_fin_told",
        "_finished",
        "_limit",
        "_pace",
        "_peer_finished",
        "_queued",
        "_received",
        "_session",
        "_waited",
        "closed",
        "handler",
        "high_water",
        "id",
        "out",
        "target",
    )

    def __init__(
        self, session: Session, id: int, target: Mapping[str, Any], handler: StreamHandler
    ) -> None:
        self.id = id
        self.target = dict(target)
        self.handler = handler
        # The agent replaces this by a buffer with a spill file before anything is written.
        self.out = SendBuffer()
        self.high_water = self.HIGH_WATER
        self.closed = False
        self._session = session
        self._received = 0
        self._consumed = 0
        self._acked = 0
        self._peer_finished = False
        self._finished = False
        self._fin_sent = False
        # As above, on any link so far.
        self._fin_told = False
        self._fin_acked = False
        self._queued = False
        self._above = False
        # Whether anything had to wait to be sent since the last acknowledgement.
        self._waited = False
        self._pace = Pace()
        self._choice = Choice()
        self._limit = min(session._peer_window, self._pace.allowance)

    @property
    def backlog(self) -> int:
        """Bytes written that wait to be sent.  What is on its way has bounds of its own."""
        return self.out.end - self.out.sent

    @property
    def unacknowledged(self) -> int:
        """Bytes written that the peer has not acknowledged."""
        return self.out.end - self.out.start

    def write(self, data: Piece) -> None:
        """Send bytes, which must not change afterwards.  Ignored once the stream has ended."""
        if self.closed or self._finished:
            return
        out = self.out
        offset, size = out.end, len(data)
        if (
            out.sent == offset
            and offset + size <= self._limit
            and 0 < size <= wire.MAX_DATA
            and not self._choice.is_on
            and self._session.quiet
            and self._session.send_now(
                wire.HEADER.pack(wire.DATA, 0, 0, self.id, size, offset), data
            )
        ):
            # The common case: nothing waits, so the bytes need no queue.
            out.append_sent(data)
            if not self._pace.probing:
                self._pace.sent(out.sent, self._session.clock())
            return
        out.append(data)
        # Which may send all of it.
        self._session._want(self)
        if out.sent < out.end:
            self._waited = True
            if self.backlog > self.high_water:
                self._above = True

    def hold(self) -> None:
        """Ask for ``on_drain`` however small the backlog is, unless all is acknowledged."""
        self._above = True

    def finish(self) -> None:
        """No more bytes from this side (half-close)."""
        if not self.closed and not self._finished:
            self._finished = True
            self._session._want(self)

    def reset(self, reason: str, message: str = "") -> None:
        """End both directions at once and drop what is under way."""
        if not self.closed:
            self._session._reset(self, reason, message)

    def consumed(self, count: int) -> None:
        """Say that ``count`` more of the received bytes are done with."""
        if self.closed:
            return
        session = self._session
        self._consumed += count
        owed = self._consumed - self._acked
        if self._peer_finished or (
            owed >= session.ack_least and owed >= min(session.ack_most, self._consumed // ACK_PART)
        ):
            session._acknowledge(self)
        elif session.linked and not session._owes:
            session._owes = True
            session.acknowledge_soon()


class Refuser:
    """The handler of a stream whose real one is just being made."""

    def on_data(self, data: memoryview) -> None:
        raise RuntimeError("data for a stream that has no handler yet")

    def on_finish(self) -> None:
        raise RuntimeError("end of a stream that has no handler yet")

    def on_reset(self, reason: str, message: str) -> None:
        """Nobody is there to be told."""

    def on_drain(self) -> None:
        """Nothing was held back."""
