"""What stands in for one of a kernel's sockets towards one client's connection."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ..agent import zmtp
from ..agent.peer import Peer
from .obituary import Obituary, Requests

if TYPE_CHECKING:
    from .channels import KernelChannels


class StandIn(Peer):
    """One of the connections of :class:`~.channels.KernelChannels`, of which no kernel knows."""

    # No kernel has said anything on it.
    heard = False

    def __init__(
        self,
        channels: KernelChannels,
        channel: str,
        socket_type: str,
        capture: int = zmtp.CAPTURE_LIMIT,
    ) -> None:
        super().__init__(socket_type, capture)
        loop = asyncio.get_running_loop()
        self.channel = channel
        self.requests = Requests()
        self.kernel_finished: asyncio.Future[None] = loop.create_future()
        self.kernel_finished.set_result(None)
        self.gone: asyncio.Future[None] = loop.create_future()
        self._channels = channels

    @property
    def unsent(self) -> int:
        """Bytes that wait for the client to read."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def announce(self, obituary: Obituary) -> None:
        """The kernel has died.  Whoever is connected here has been told, or is not."""

    def close(self) -> None:
        """Close the connection."""
        self.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See :class:`asyncio.Protocol`."""
        super().connection_made(transport)
        self._channels.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """See :class:`asyncio.Protocol`."""
        super().connection_lost(exc)
        self._channels.connections.discard(self)
        self.gone.set_result(None)
