"""A local port joined with a port in a runner: each connection is a stream of one tunnel."""

from __future__ import annotations

import asyncio
import logging
from typing import cast

from ..agent.stream import Stream, StreamHandler
from .client import Tunnel
from .joined import Joined

log = logging.getLogger(__name__)


class ForwardedConnection(Joined):
    """A local TCP connection and its stream to a port of the runner's 127.0.0.1.

    Either side may finish while the other goes on; a reset of one is a reset of the other.  Whoever
    does not read holds up the other end, and no other connection.
    """

    def __init__(self, tunnel: Tunnel, port: int) -> None:
        super().__init__()
        self._tunnel = tunnel
        self._port = port
        # Which ends have said their last.
        self._client_finished = False
        self._runner_finished = False

    # -- from the client: asyncio.Protocol --------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See :class:`asyncio.Protocol`."""
        self._transport = cast(asyncio.Transport, transport)
        self._stream = self._tunnel.open({"kind": "tcp", "port": self._port}, self._handler)

    def _handler(self, stream: Stream) -> StreamHandler:
        return self

    def data_received(self, data: bytes) -> None:
        """See :class:`asyncio.Protocol`."""
        self._send(data)

    def eof_received(self) -> bool:
        """See :class:`asyncio.Protocol`."""
        self._client_finished = True
        if self._stream is not None:
            self._stream.finish()
        return not self._runner_finished

    def connection_lost(self, exc: Exception | None) -> None:
        """See :class:`asyncio.Protocol`."""
        self._transport = None
        stream, self._stream = self._stream, None
        if stream is None:
            return
        if exc is None:
            stream.finish()
            owed, self._owed = self._owed, 0
            stream.consumed(owed)
        else:
            stream.reset("ConnectionReset", str(exc))

    # -- from the runner: agent.stream.StreamHandler ----------------------------------------

    def on_data(self, data: memoryview) -> None:
        """See :class:`~..agent.stream.StreamHandler`."""
        if self._transport is not None:
            self._transport.write(data)
            if self._paused:
                self._owed += len(data)
                return
        self._consume(len(data))

    def on_finish(self) -> None:
        """See :class:`~..agent.stream.StreamHandler`."""
        self._runner_finished = True
        if self._transport is None:
            return
        if self._client_finished:
            self._transport.close()
        else:
            self._transport.write_eof()

    def on_reset(self, reason: str, message: str) -> None:
        """See :class:`~..agent.stream.StreamHandler`."""
        self._stream = None
        if reason == "ConnectionRefused":
            log.warning("port %d of the runner: %s", self._port, message)
        if self._transport is not None:
            self._transport.abort()


class PortForward:
    """Local ports that lead to ports in one runner, over one tunnel."""

    def __init__(self, tunnel: Tunnel, address: str) -> None:
        self.address = address
        # Each local port and the runner's that it leads to.
        self.ports: list[tuple[int, int]] = []
        self._tunnel = tunnel
        self._servers: list[asyncio.Server] = []

    async def listen(self, remote: int, local: int = 0) -> int:
        """Serve ``remote`` on a local port (0: a free one), which is returned.

        Raises :class:`OSError` where it is taken.
        """
        server = await asyncio.get_running_loop().create_server(
            lambda: ForwardedConnection(self._tunnel, remote), self.address, local
        )
        self._servers.append(server)
        port: int = server.sockets[0].getsockname()[1]
        self.ports.append((port, remote))
        return port

    async def wait(self) -> None:
        """Wait for the runner's end, and raise it."""
        raise await asyncio.shield(self._tunnel.ended)

    async def close(self) -> None:
        """Listen no more, and end all connections."""
        for server in self._servers:
            server.close()
        await self._tunnel.close()
