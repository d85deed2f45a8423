"""An :class:`asyncio.Transport` over a websocket to the API server.

How bytes lie in its messages, a :class:`.framing.Framing`, goes with its subprotocol.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any

from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport

from ...traffic import Traffic
from .framing import Framing

log = logging.getLogger(__name__)

_HIGH = 1 << 18
# One message: larger ones gain nothing, and each is copied whole by the servers on its way.
_MESSAGE = 1 << 17
# Room for a message's own header (RFC 6455, 5.2), which is put before it without a copy.
_ROOM = 14
_BINARY, _CONTINUATION, _CLOSE = WSMsgType.BINARY, WSMsgType.CONTINUATION, WSMsgType.CLOSE
# A dead link never answers the closing handshake; a slow one may still have much to carry.
_CLOSE_WITHIN = 5.0
# As much as is kept of what the other end says about its trouble, in characters.
_MOST_TROUBLE = 2000


class WebsocketTransport(asyncio.Transport):
    """An :class:`asyncio.Transport` over one websocket.

    The websocket is opened with :attr:`listener`, and the protocol is made then.  ``on_lost`` is
    called with the transport once it is lost.
    """

    def __init__(
        self,
        protocol_factory: Callable[[], asyncio.Protocol],
        framing: Framing,
        on_lost: Callable[[WebsocketTransport], None] = lambda transport: None,
        traffic: Traffic | None = None,
    ) -> None:
        # What is counted is the protocol's own, told to whoever asks for "traffic".
        super().__init__({} if traffic is None else {"traffic": traffic})
        self._traffic = traffic
        # Whether any data has come, and why the connection ended.
        self.received = False
        self.error: Exception | None = None
        self.protocol = asyncio.Protocol()
        self.listener: WSListener = _Listener(self)
        self._websocket: WSTransport | None = None
        self._factory = protocol_factory
        self._framing = framing
        self._trouble: list[str] = []
        # What has come and is yet to be given on: the frames of one read together, because a
        # protocol's turn costs more than what is in a frame.
        self._come = bytearray()
        self._reads = True
        self._closing = False
        self._on_lost = on_lost
        self._timer: asyncio.TimerHandle | None = None
        self._gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._verdict: asyncio.Task[None] | None = None

    # -- asyncio.Transport ------------------------------------------------------------------

    def write(self, data: Any) -> None:
        """See :class:`asyncio.WriteTransport`."""
        self.writelines((data,))

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        """See :class:`asyncio.WriteTransport`."""
        websocket = self._websocket
        if self._closing or websocket is None:
            return
        pieces: list[Any] = []
        size = 0
        for data in list_of_data:
            rest = data
            while size + len(rest) > _MESSAGE:
                rest = memoryview(rest)
                room = _MESSAGE - size
                self._send(websocket, [*pieces, rest[:room]], _MESSAGE)
                rest, pieces, size = rest[room:], [], 0
            pieces.append(rest)
            size += len(rest)
        if size:
            self._send(websocket, pieces, size)

    def _send(self, websocket: WSTransport, pieces: list[Any], size: int) -> None:
        message = bytearray(_ROOM)
        message += self._framing.header(size)
        for piece in pieces:
            message += piece
        websocket.send_reuse_external_bytearray(_BINARY, message, _ROOM)
        if self._traffic is not None:
            self._traffic.sent(size)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """See :class:`asyncio.WriteTransport`."""
        if self._websocket is not None:
            high = _HIGH if high is None else high
            low = high // 4 if low is None else low
            self._websocket.underlying_transport.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        """See :class:`asyncio.WriteTransport`."""
        if self._websocket is None or self._gone.done():
            return 0
        return self._websocket.underlying_transport.get_write_buffer_size()

    def can_write_eof(self) -> bool:
        """The subprotocol has no half-close."""
        return False

    def pause_reading(self) -> None:
        """See :class:`asyncio.ReadTransport`."""
        self._set_reading(False)

    def resume_reading(self) -> None:
        """See :class:`asyncio.ReadTransport`."""
        self._set_reading(True)

    def _set_reading(self, reads: bool) -> None:
        if self._websocket is None or self._closing or reads == self._reads:
            return
        self._reads = reads
        transport = self._websocket.underlying_transport
        transport.resume_reading() if reads else transport.pause_reading()

    def is_reading(self) -> bool:
        """See :class:`asyncio.ReadTransport`."""
        return self._reads and not self._closing

    def is_closing(self) -> bool:
        """See :class:`asyncio.BaseTransport`."""
        return self._closing

    def get_protocol(self) -> asyncio.BaseProtocol:
        """See :class:`asyncio.BaseTransport`."""
        return self.protocol

    def close(self) -> None:
        """Close after what is written has gone out."""
        if self._closing:
            return
        # The answer to the closing is to be read.
        self._set_reading(True)
        self._closing = True
        if self._websocket is None:
            return
        self._websocket.send_close(WSCloseCode.OK)
        self._timer = asyncio.get_running_loop().call_later(_CLOSE_WITHIN, self.abort)

    def abort(self) -> None:
        """Close at once."""
        self._closing = True
        self._come = bytearray()
        if self._websocket is not None:
            self._websocket.disconnect(graceful=False)

    async def wait_closed(self) -> None:
        """Wait until nothing of the connection is left (after :meth:`close` or :meth:`abort`)."""
        if self._websocket is not None:
            await asyncio.wait((self._gone,))

    # -- what the listener is told ----------------------------------------------------------

    def opened(self, websocket: WSTransport) -> None:
        """The websocket is open."""
        self._websocket = websocket
        self._verdict = asyncio.create_task(_told_why(websocket), name="gra websocket's end")
        self.set_write_buffer_limits()
        opening = self._framing.opening()
        if opening:
            self.send(opening)
        self.protocol = self._factory()
        self.protocol.connection_made(self)

    def frame(self, frame: WSFrame) -> None:
        """A frame has come, whole.  There are many, so this is short."""
        kind = frame.msg_type
        if kind is _BINARY or kind is _CONTINUATION:
            # Servers end messages with an empty frame.
            if frame.payload_size or self._framing.needs_ends:
                self._framing.receive(frame.get_payload_as_memoryview(), frame.fin, self)
        elif kind is _CLOSE:
            self.on_end()
        if self._come and frame.last_in_buffer:
            self._give_on()

    def _give_on(self) -> None:
        data, self._come = self._come, bytearray()
        if not data or self._gone.done():
            return
        self.received = True
        if self._traffic is not None:
            self._traffic.received(len(data))
        # Of this one's own: nobody changes it any more, so it needs no copy to be bytes.
        data_received: Callable[[Any], None] = self.protocol.data_received
        try:
            data_received(data)
        except Exception as error:  # noqa: BLE001
            # As with asyncio's own transports: told, and the connection's end.
            self.error = error
            context = {"message": "a protocol failed", "exception": error, "transport": self}
            asyncio.get_running_loop().call_exception_handler(context)
            self.abort()

    def lost(self) -> None:
        """The connection is gone."""
        self._give_on()
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
        if self._trouble:
            self.error = ConnectionError("".join(self._trouble).strip())
        self._gone.set_result(None)
        # Before anything else is waited for, so that nothing can come in between.
        self._on_lost(self)
        self.protocol.connection_lost(self.error)

    # -- framing.FramingUser -------------------------------------------------------------------

    def on_data(self, data: memoryview) -> None:
        """See :class:`.framing.FramingUser`."""
        # After close() it is for nobody.
        if not self._closing:
            self._come += data

    def on_trouble(self, text: str) -> None:
        """See :class:`.framing.FramingUser`."""
        if text and sum(map(len, self._trouble)) < _MOST_TROUBLE:
            self._trouble.append(text)

    def on_end(self) -> None:
        """See :class:`.framing.FramingUser`."""
        self._closing = True
        if self._websocket is not None:
            self._websocket.send_close(WSCloseCode.OK)
            self._websocket.disconnect()

    def send(self, message: bytes) -> None:
        """See :class:`.framing.FramingUser`."""
        if self._websocket is not None:
            self._websocket.send(_BINARY, message)


async def _told_why(websocket: WSTransport) -> None:
    """Take what the library has to say of the websocket's end, which nobody else asks for.

    It is what the other end did against the protocol, a second CLOSE for example.
    """
    try:
        await websocket.wait_disconnected()
    except Exception as error:  # noqa: BLE001
        log.debug("a websocket was ended: %s", error)


class _Listener(WSListener):
    """What the websocket tells, for a transport, which cannot be both."""

    def __init__(self, transport: WebsocketTransport) -> None:
        super().__init__()
        self._transport = transport

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport.opened(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        self._transport.frame(frame)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._transport.lost()

    def pause_writing(self) -> None:
        self._transport.protocol.pause_writing()

    def resume_writing(self) -> None:
        self._transport.protocol.resume_writing()
