"""gra's own end of a ZMTP connection: the handshake is done here, messages are the user's.

Used by both ends: the agent follows a kernel's iopub, the client stands in for a kernel's sockets.
"""

from __future__ import annotations

import asyncio
from typing import Optional, cast

from . import zmtp


class Peer(asyncio.Protocol):
    """A ``socket_type`` socket (``SUB``) with one connection, which is cut if it is not ZMTP.

    ``capture`` is that of :class:`.zmtp.Splitter`.
    """

    def __init__(self, socket_type: str, capture: int = zmtp.CAPTURE_LIMIT) -> None:
        self._ready = zmtp.ready(socket_type)
        self._splitter = zmtp.Splitter(capture)
        self._transport: Optional[asyncio.Transport] = None

    def on_message(self, transport: asyncio.Transport, message: zmtp.Message) -> None:
        """A message or command has come, the other end's READY among them."""
        raise NotImplementedError

    def abort(self) -> None:
        """Close the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See :class:`asyncio.Protocol`."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(zmtp.GREETING)

    def data_received(self, data: bytes) -> None:
        """See :class:`asyncio.Protocol`."""
        transport = self._transport
        if transport is None:
            return
        greeted = self._splitter.greeted
        try:
            messages = self._splitter.feed(data)
        except zmtp.ZmtpError:
            transport.abort()
            return
        if not greeted and self._splitter.greeted:
            transport.write(self._ready)
        for message in messages:
            self.on_message(transport, message)

    def connection_lost(self, exc: Optional[Exception]) -> None:
        """See :class:`asyncio.Protocol`."""
        self._transport = None
