"""The resumable, multiplexed stream between a client and an agent.  Both ends use this class.

A :class:`Session` does no I/O: bytes that arrived go into :meth:`Session.receive`, bytes to send
come out of :meth:`Session.pull`.  It outlives the links that carry it.  After a drop the ends
tell each other, in HELLO, how much of each stream they have; what is missing is sent again.

Flow control is per stream.  A sender may be ``window`` bytes ahead of what the receiver has
*consumed*, that is, handed on; an ACK says how far that is.  So a reader that stalls holds up its
own stream only, and everything unacknowledged can be sent again.  CLOSE takes one position after
the last byte, so that an ACK confirms it as well.  An ACK is sent for every so many bytes, and for
fewer after a moment, so that a sender that waits for one gets it.  On a slow link a sender stays
behind the window (:mod:`.pace`) and compresses what it sends (:mod:`.compression`).

Opening is the client's: stream 1, for control messages, is there from the start, and the ids of
the others rise from 2 and are never used again.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Any, Callable, Deque, Dict, List, Mapping, Optional, Union

from . import wire
from .buffer import Piece
from .compression import LEAST, Codec, choose, codecs
from .pace import RoundTrip
from .stream import Refuser, Stream, StreamHandler

CONTROL = 1
# What a stream is reset for that the other end no longer has.
_GONE = "StreamGone"

WINDOW = 4 << 20
# How much may be consumed before it is acknowledged at once.  More for long streams, whose senders
# need not wait for it: a part of all that has come, up to an eighth of the window.
ACK_EVERY = 1 << 18
# No DATA frame is cut shorter than this for the link's sake.
_LEAST_DATA = 1 << 14
# Answers to a peer's PINGs and refused OPENs that may wait until it reads them.
_MOST_URGENT = 1000

Buffer = Union[bytes, bytearray, memoryview]


class Session:
    """One end of the conversation between a client and an agent.

    ``accept`` is called with each stream that the peer opens and returns its handler, or None
    to refuse; only the agent has one.  ``on_output`` is called when :meth:`pull` has something
    to give after it had nothing.  ``clock`` gives seconds.
    """

    def __init__(
        self,
        id: str,
        control: Callable[[Stream], StreamHandler],
        on_output: Callable[[], None],
        accept: Optional[Callable[[Stream], StreamHandler]] = None,
        window: int = WINDOW,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.id = id
        self.clock = clock
        self.window = window
        self.ack_most = max(1, window // 8)
        self.ack_least = min(ACK_EVERY, self.ack_most)
        self.epoch = 0
        self.linked = False
        self._over = False
        self.streams: Dict[int, Stream] = {}
        self._highest = CONTROL
        self._accept = accept
        self.on_output = on_output
        self._urgent: Deque[bytes] = deque()
        self._ready: Deque[Stream] = deque()
        self._acks: Dict[int, Stream] = {}
        self._decoder = wire.FrameDecoder(self)
        self._peer_window = window
        self._round_trip = RoundTrip()
        self._codecs = codecs()
        # What the peer can expand, too.
        self._codec: Optional[Codec] = None
        # How often the peer has shown that it hears this end, and this end the peer.
        self.proofs = 0
        # Writes a frame at once if the link has nothing else to do; False if it cannot.
        self.send_now: Callable[[bytes, Piece], bool] = _never
        # Asks the link to call :meth:`acknowledge` a moment later; not again until it has.
        self.acknowledge_soon: Callable[[], None] = lambda: None
        self._owes = False
        # Called with a PING's token when its PONG arrives, and with a peer's BYE.
        self.on_pong: Callable[[int], None] = lambda token: None
        self.on_bye: Callable[[], None] = lambda: None
        stream = Stream(self, CONTROL, {"kind": "control"}, Refuser())
        self.streams[CONTROL] = stream
        stream.handler = control(stream)

    # -- the link ---------------------------------------------------------------------------

    def hello(self) -> Dict[str, Any]:
        """What this end tells the other when a link comes up: how far it has each stream."""
        return {
            "version": wire.VERSION,
            "session": self.id,
            "epoch": self.epoch,
            "window": self.window,
            "highest": self._highest,
            "compression": list(self._codecs),
            "streams": {str(s.id): s._received for s in self.streams.values()},
        }

    def link_up(self, peer: Mapping[str, Any]) -> None:
        """A link is there and the peer has said ``peer`` in its HELLO: go on where it is.

        Raises :class:`wire.WireError` if the peer's positions are impossible.
        """
        try:
            has = {int(key): int(value) for key, value in peer["streams"].items()}
            highest = int(peer["highest"])
            window = int(peer["window"])
            expands = list(peer.get("compression", ()))
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
            raise wire.WireError(f"HELLO lacks or garbles a field: {error!r}") from None
        if not 0 < window <= 1 << 30:
            raise wire.WireError(f"HELLO names a window of {window} bytes")
        self._check(has, highest)
        self._decoder = wire.FrameDecoder(self)
        # What is under way has to be kept, so it is not for the peer to say how much that may be.
        self._peer_window = min(window, WINDOW)
        self._codec = choose(self._codecs, expands)
        self._round_trip = RoundTrip()
        self._urgent.clear()
        self._acks.clear()
        self._ready.clear()
        self.linked = True
        for stream in list(self.streams.values()):
            stream._queued = False
            stream._pace.new_link()
            stream._limit = stream.out.start + min(self._peer_window, stream._pace.allowance)
            if stream.id in has:
                # The client's positions may be older than what it has acknowledged since, on the
                # link that this one replaces.
                self._rewind(stream, max(has[stream.id], stream.out.start))
            elif stream.id > highest:
                if self._accept is None:
                    self._urgent.append(wire.pack_json(wire.OPEN, stream.target, stream.id))
                # To the agent: opened after the client wrote its HELLO.
                self._rewind(stream, stream.out.start)
            else:
                self._gone(stream)
        for id in has:
            if id not in self.streams and (self._accept is None or id <= self._highest):
                self._urgent.append(_reset_frame(id, _GONE, "closed at the other end"))
        self.on_output()

    def link_down(self) -> None:
        """The link is gone.  Everything is kept for the next one."""
        self.linked = False
        self._urgent.clear()
        self._ready.clear()
        self._acks.clear()
        self._owes = False
        for stream in self.streams.values():
            stream._queued = False

    def receive(self, data: Buffer) -> None:
        """Take bytes that came after HELLO.  Raises :class:`wire.WireError` if they are wrong."""
        self._decoder.feed(data)

    def pull(self, budget: int) -> List[Piece]:
        """What to write to the link now: about ``budget`` bytes at most; empty if nothing."""
        out: List[Piece] = []
        urgent = self._urgent
        while urgent:
            frame = urgent.popleft()
            out.append(frame)
            budget -= len(frame)
        if self._acks:
            for stream in self._acks.values():
                stream._acked = stream._consumed
                out.append(wire.pack(wire.ACK, stream.id, stream._consumed))
            self._acks.clear()
        ready = self._ready
        while ready and budget > 0:
            stream = ready.popleft()
            stream._queued = False
            buffer = stream.out
            may = min(stream._limit - buffer.sent, max(budget, _LEAST_DATA), wire.MAX_DATA)
            if may > 0 and buffer.sent < buffer.end:
                offset = buffer.sent
                pieces = buffer.take(may)
                size, flags = buffer.sent - offset, 0
                if size >= LEAST and self._codec is not None:
                    packed = self._compress(self._codec, stream, pieces, size)
                    if packed:
                        pieces, size, flags = [packed], len(packed), self._codec.flag
                if not stream._pace.probing:
                    stream._pace.sent(buffer.sent, self.clock())
                out.append(wire.HEADER.pack(wire.DATA, flags, 0, stream.id, size, offset))
                out += pieces
                budget -= size
            if buffer.sent < buffer.end:
                if buffer.sent < stream._limit:
                    stream._queued = True
                    ready.append(stream)
            elif stream._finished and not stream._fin_sent:
                stream._fin_sent = stream._fin_told = True
                out.append(wire.pack(wire.CLOSE, stream.id, buffer.end))
        return out

    def _compress(self, codec: Codec, stream: Stream, pieces: List[Piece], size: int) -> bytes:
        """One frame's payload compressed; empty if it is to be sent as it is."""
        choice = stream._choice
        if not choice.applies(size, stream._pace.rate):
            return b""
        before = self.clock()
        packed = codec.compress(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        worth = choice.measured(size, len(packed), self.clock() - before)
        return packed if worth else b""

    @property
    def quiet(self) -> bool:
        """Whether :meth:`pull` has nothing to give."""
        return self.linked and not (self._ready or self._urgent or self._acks)

    @property
    def congested(self) -> bool:
        """Whether so many answers wait for the link that the peer is not to be read further."""
        return len(self._urgent) > _MOST_URGENT

    def ping(self, token: int) -> None:
        """Ask the peer for a sign of life."""
        self._urge(wire.pack(wire.PING, 0, token))

    def acknowledge(self) -> None:
        """Acknowledge all that is consumed."""
        self._owes = False
        if not self.linked:
            return
        for stream in self.streams.values():
            if stream._consumed > stream._acked:
                self._acks[stream.id] = stream
        if self._acks:
            self.on_output()

    def bye(self) -> None:
        """Tell the peer that this session will not be resumed."""
        self._urge(wire.pack(wire.BYE))

    def end(self, reason: str, message: str) -> None:
        """Reset every stream at this end without telling the peer: nobody is there any more."""
        self.linked = False
        self._over = True
        for stream in list(self.streams.values()):
            self._drop(stream)
            stream.handler.on_reset(reason, message)

    # -- streams ----------------------------------------------------------------------------

    def open(self, target: Mapping[str, Any], handler: Callable[[Stream], StreamHandler]) -> Stream:
        """Open a stream to ``target``, a JSON object that the agent understands (client only)."""
        self._highest += 1
        stream = Stream(self, self._highest, target, Refuser())
        self.streams[stream.id] = stream
        if self.linked:
            # First, because a handler may write as it is made.
            stream._limit = min(self._peer_window, stream._pace.allowance)
            self._urge(wire.pack_json(wire.OPEN, stream.target, stream.id))
        stream.handler = handler(stream)
        return stream

    # -- wire.FrameHandler ------------------------------------------------------------------

    def on_data(self, stream: int, offset: int, piece: memoryview) -> None:
        """See :class:`wire.FrameHandler`."""
        self.proofs += 1
        found = self.streams.get(stream)
        if found is None:
            # It was reset here while this was under way.
            return
        if found._peer_finished:
            if offset + len(piece) >= found._received:
                raise wire.WireError(f"stream {stream}: data after its end")
            # It comes again: the sender went by what this end had said before.
            return
        skip = found._received - offset
        if skip:
            if skip < 0:
                raise wire.WireError(f"stream {stream}: data at {offset}, not {found._received}")
            piece = piece[skip:]
        if len(piece):
            found._received += len(piece)
            if found._received - found._consumed > self.window:
                raise wire.WireError(f"stream {stream}: the peer ignores the window")
            found.handler.on_data(piece)

    def on_packed(self, stream: int, offset: int, flags: int, payload: memoryview) -> None:
        """See :class:`wire.FrameHandler`."""
        codec = next((c for c in self._codecs.values() if c.flag == flags), None)
        if codec is None:
            raise wire.WireError(f"DATA with the flags {flags}")
        try:
            data = codec.expand(payload, wire.MAX_DATA)
        except ValueError as error:
            raise wire.WireError(f"DATA that cannot be expanded: {error}") from None
        if not 0 < len(data) <= wire.MAX_DATA:
            raise wire.WireError(f"DATA that expands to more than {wire.MAX_DATA} bytes")
        self.on_data(stream, offset, memoryview(data))

    def on_frame(self, kind: int, stream: int, offset: int, payload: bytes) -> None:
        """See :class:`wire.FrameHandler`."""
        if kind == wire.ACK:
            self.proofs += 1
            found = self.streams.get(stream)
            if found is not None:
                self._on_ack(found, offset)
        elif kind == wire.PING:
            self._urge(wire.pack(wire.PONG, 0, offset))
        elif kind == wire.PONG:
            self.proofs += 1
            self.on_pong(offset)
        elif kind == wire.CLOSE:
            found = self.streams.get(stream)
            if found is not None and not found._peer_finished:
                if offset != found._received:
                    raise wire.WireError(f"stream {stream}: ends at {offset}, data is missing")
                found._received += 1
                found._consumed += 1
                found._peer_finished = True
                found.handler.on_finish()
                if not found.closed:
                    self._acknowledge(found)
        elif kind == wire.RESET:
            found = self.streams.get(stream)
            if found is not None:
                error = wire.unpack_json(payload)
                if error.get("reason") == _GONE:
                    self._gone(found)
                    return
                self._drop(found)
                found.handler.on_reset(str(error.get("reason")), str(error.get("message")))
        elif kind == wire.OPEN:
            self._on_open(stream, wire.unpack_json(payload))
        elif kind == wire.BYE:
            self.on_bye()
        else:
            raise wire.WireError(f"frame of kind {kind} in the middle of a session")

    def _on_open(self, id: int, target: Dict[str, Any]) -> None:
        if self._accept is None:
            raise wire.WireError("the agent opened a stream")
        if id in self.streams or self._over:
            return
        if id <= self._highest:
            raise wire.WireError(f"stream {id} was used before")
        self._highest = id
        stream = Stream(self, id, target, Refuser())
        self.streams[id] = stream
        stream.handler = self._accept(stream)

    def _on_ack(self, stream: Stream, offset: int) -> None:
        out = stream.out
        fin = stream._fin_told and offset == out.end + 1
        if fin:
            offset = out.end
            stream._fin_sent = True
        if out.sent < offset <= out.reached:
            # Sent on an earlier link, and not again so far.
            out.take(offset - out.sent)
        if not out.start <= offset <= out.sent:
            raise wire.WireError(f"stream {stream.id}: acknowledges {offset} of {out.sent}")
        pace, count = stream._pace, offset - out.start
        out.release(offset)
        if count:
            more, stream._waited = stream._waited, out.sent < out.end
            window = self._peer_window
            pace.acknowledged(offset, count, self.clock(), more, self._round_trip, window)
        stream._limit = offset + min(self._peer_window, pace.allowance)
        if fin:
            stream._fin_acked = True
            if stream._peer_finished and stream._consumed == stream._received:
                if stream._acked < stream._consumed:
                    self._urge(wire.pack(wire.ACK, stream.id, stream._consumed))
                self._drop(stream)
                return
        if out.sent < out.end:
            self._want(stream)
        if stream._above and stream.backlog <= stream.high_water // 4:
            stream._above = False
            stream.handler.on_drain()

    # -- inside -----------------------------------------------------------------------------

    def _urge(self, frame: bytes) -> None:
        if self.linked:
            self._urgent.append(frame)
            self.on_output()

    def _want(self, stream: Stream) -> None:
        if self.linked and not stream._queued:
            stream._queued = True
            self._ready.append(stream)
            self.on_output()

    def _acknowledge(self, stream: Stream) -> None:
        done = stream._peer_finished and stream._consumed == stream._received
        if done and stream._fin_acked:
            # Our own end is acknowledged already, so this is the stream's last frame.
            self._urge(wire.pack(wire.ACK, stream.id, stream._consumed))
            self._drop(stream)
            return
        if self.linked:
            self._acks[stream.id] = stream
            self.on_output()

    def _reset(self, stream: Stream, reason: str, message: str) -> None:
        self._drop(stream)
        self._urge(_reset_frame(stream.id, reason, message))

    def _drop(self, stream: Stream) -> None:
        stream.closed = True
        stream.out.close()
        self.streams.pop(stream.id, None)
        self._acks.pop(stream.id, None)
        if stream._queued:
            self._ready.remove(stream)
            stream._queued = False

    def _check(self, has: Mapping[int, int], highest: int) -> None:
        if self._accept is None:
            for known in self.streams.values():
                if known.id > highest and (known.id == CONTROL or known.out.start):
                    raise wire.WireError(f"stream {known.id}: the peer forgot that it had it")
        for id, received in has.items():
            if not 0 < id < 1 << 32:
                raise wire.WireError(f"{id} is no stream")
            stream = self.streams.get(id)
            if stream is not None:
                out = stream.out
                end = out.end + 1 if stream._fin_told else out.reached
                if not (out.start if self._accept is None else 0) <= received <= end:
                    raise wire.WireError(f"stream {id}: the peer has {received} of {out.sent}")

    def _rewind(self, stream: Stream, received: int) -> None:
        out = stream.out
        if stream._fin_acked:
            received = out.end + 1
        if stream._fin_told and received == out.end + 1:
            stream._fin_sent = True
            out.rewind(out.end)
        else:
            stream._fin_sent = False
            out.rewind(received)
        if stream._consumed:
            self._acks[stream.id] = stream
        if out.sent < out.end or (stream._finished and not stream._fin_sent):
            stream._queued = True
            self._ready.append(stream)

    def _gone(self, stream: Stream) -> None:
        # The peer has let go of it.  That is a clean end if both sides had finished.
        clean = stream._peer_finished and stream._fin_told
        self._drop(stream)
        if not clean:
            stream.handler.on_reset(_GONE, "the other end no longer has this stream")


def _never(header: bytes, data: Piece) -> bool:
    return False


def _reset_frame(id: int, reason: str, message: str) -> bytes:
    return wire.pack_json(wire.RESET, {"reason": reason, "message": message}, id)
