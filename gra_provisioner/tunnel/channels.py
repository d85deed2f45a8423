"""A kernel's five channels as ports of this host, each connection carried as a tunnel stream.

The ports stay the same for the kernel's life, over lost links, restarts and even a new runner.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any

from jupyter_client.session import Session as Signer

from ..agent.kernel import CHANNELS
from ..errors import TunnelError
from .client import Tunnel
from .connection import Connection, LastWords
from .heartbeat import Heartbeat
from .obituary import Obituary, Requests, notice_message
from .standin import StandIn

# A client that does not read what is left for it is cut off.
_CLOSE_WITHIN = 1.0


class KernelChannels:
    """Listens on one port a channel and joins what connects there with the runner's kernel.

    ``key`` and ``signature_scheme`` are the kernel's: its messages are read only to know what is
    being run, and gra's own are signed with them.
    """

    def __init__(self, key: str, signature_scheme: str, ip: str = "127.0.0.1") -> None:
        self.ip = ip
        self.ports: dict[str, int] = {}
        self.tunnel: Tunnel | None = None
        self.connections: set[Connection | StandIn] = set()
        self.signer = Signer(key=key.encode(), signature_scheme=signature_scheme)
        # While set, the kernel is dead and connections that come are told so.
        self.obituary: Obituary | None = None
        # While clients read that, they do not know yet, and are still answered as far as can be.
        self.telling = False
        # Whether a kernel runs, as far as is known.
        self.alive = False
        self.kernel_info: dict[str, Any] = {}
        # What every iopub connection made from now on is told first.
        self.notice = b""
        # Requests that came when the kernel had ended, by the client's READY command, which holds
        # its socket's identity: the next kernel gets them, as it would from a socket's own queue.
        self.late: dict[bytes, list[list[bytes]]] = {}
        # Requests of connections that had to be cut: their replies go to the next that comes.
        self.unanswered = Requests()
        self._servers: list[asyncio.AbstractServer] = []

    @property
    def shutdown_requested(self) -> bool:
        """Whether a client has asked the kernel itself to end."""
        return any(connection.requests.shutdown_requested for connection in self.connections)

    @property
    def subscribed(self) -> bool:
        """Whether clients listen to iopub, all that are connected to it."""
        iopub = [c for c in self.connections if isinstance(c, Connection) and c.channel == "iopub"]
        return bool(iopub) and all(connection.subscribed for connection in iopub)

    @property
    def pending(self) -> list[dict[str, Any]]:
        """The headers of all requests to run code that have no reply, oldest first."""
        headers = [h for c in self.connections for h in c.requests.pending.values()]
        return sorted(headers, key=lambda header: str(header.get("date")))

    async def listen(self, ports: Mapping[str, int] | None = None) -> dict[str, int]:
        """Open the ports: those given, by channel name, or any that are free; the ports.

        Raises :class:`TunnelError` if a given port is taken.
        """
        loop = asyncio.get_running_loop()
        for channel in CHANNELS:
            port = (ports or {}).get(channel, 0)
            try:
                server = await loop.create_server(
                    partial(self._connection, channel),
                    self.ip,
                    port,
                )
            except OSError as error:
                await self.close()
                raise TunnelError(
                    f"Port {port} of {self.ip} for the {channel} channel cannot be opened: "
                    f"{error.strerror}.",
                    hint="Another process uses it: name a free one, or let gra choose.",
                ) from None
            self._servers.append(server)
            self.ports[channel] = server.sockets[0].getsockname()[1]
        return dict(self.ports)

    def _connection(self, channel: str) -> asyncio.Protocol:
        if channel == "hb":
            return Heartbeat(self)
        if self.obituary is not None and channel in ("iopub", "shell"):
            return LastWords(self, channel, self.obituary)
        return Connection(self, channel)

    async def drain(self, timeout: float) -> bool:
        """Wait until all that the kernel had said has gone to the clients.

        To be called when the kernel has ended.  False if ``timeout`` seconds were not enough.
        """
        # What is left was meant for this kernel, by clients that never came back.
        self.late.clear()
        # What has heard nothing yet was not connected to the kernel that ended.
        waits = [c.kernel_finished for c in self.connections if c.heard]
        if waits:
            _, late = await asyncio.wait(waits, timeout=timeout)
            return not late
        return True

    def announce(self, obituary: Obituary) -> None:
        """Put the reason of the kernel's death between the messages on iopub and shell."""
        self.telling = True
        obituary = self.obituary = obituary.with_pending(self.pending)
        # A client that has its reply looks for the rest of the output for some seconds only, so
        # the output comes first.
        for channel in ("iopub", "shell"):
            for connection in [c for c in self.connections if c.channel == channel]:
                connection.announce(obituary)

    def tell(self, text: str, running: Mapping[str, Any] | None) -> None:
        """Put a line into the running cell's output, for clients that are about to reconnect."""
        if running is not None:
            self.notice = notice_message(text, running, self.signer)

    async def flushed(self, timeout: float) -> None:
        """Wait until what was announced has left this process, or ``timeout`` seconds."""
        deadline = asyncio.get_running_loop().time() + timeout
        while any(c.unsent for c in self.connections):
            if asyncio.get_running_loop().time() > deadline:
                return
            await asyncio.sleep(0.02)

    def disconnect(self) -> None:
        """Close the clients' connections once they have everything; their sockets reconnect.

        To be called after a kernel ended and before the next one is started in its place.
        """
        self._forget_death()
        for connection in list(self.connections):
            connection.close()

    def disconnect_finished(self) -> None:
        """Close the connections whose kernel has ended, as another one has started.

        This process may have had no part in that: then nothing else has closed them.
        """
        self._forget_death()
        for connection in list(self.connections):
            if connection.kernel_finished.done():
                connection.close()

    def _forget_death(self) -> None:
        self.obituary = None
        self.telling = False
        self.notice = b""
        self.unanswered = Requests()

    async def close(self) -> None:
        """Close ports and connections."""
        for server in self._servers:
            server.close()
        self._servers.clear()
        for connection in list(self.connections):
            connection.close()
        if self.connections:
            await asyncio.wait([c.gone for c in self.connections], timeout=_CLOSE_WITHIN)
        for connection in list(self.connections):
            connection.abort()
