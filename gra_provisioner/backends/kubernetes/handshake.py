"""How a websocket to the API server is opened: the socket, a proxy, TLS, the upgrade."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohappyeyeballs
import picows
from kubernetes.aio.client import Configuration

# Before the next of several addresses is tried beside (RFC 8305, 8).
_NEXT_ADDRESS_AFTER = 0.25
# What the API server sends at a time is far smaller.
_LARGEST_FRAME = 1 << 26
_READ_BUFFER = 1 << 18
# The library's own log, at its lowest level, has the credentials.
_log = logging.getLogger(__name__)
# That a connection ends is told by an error or by the tunnel; without any handler Python would also
# print what picows says of its closing handshake, among the output of commands.
_log.addHandler(logging.NullHandler())
_log.setLevel(logging.ERROR)


async def open_websocket(
    url: str,
    headers: Mapping[str, str],
    listener: picows.WSListener,
    configuration: Configuration,
    tls: ssl.SSLContext,
    *,
    connect_within: float,
    answer_within: float,
) -> picows.WSTransport:
    """Open a websocket at an ``http`` or ``https`` URL; ``listener`` is told what comes.

    The bounds are in seconds, for the connection and for all of it.  Raises
    :class:`picows.WSHandshakeError` with the answer of a server that refuses,
    :class:`asyncio.TimeoutError` or another :class:`OSError`.
    """
    options: dict[str, Any] = {}
    if configuration.tls_server_name:
        options["server_hostname"] = configuration.tls_server_name
    sockets: list[socket.socket] = []
    is_open = False

    async def connected(address: picows.WSParsedURL) -> socket.socket:
        connecting = _connected(address.host, address.port)
        sockets.append(await asyncio.wait_for(connecting, connect_within))
        return sockets[0]

    def opened() -> picows.WSListener:
        nonlocal is_open
        is_open = True
        return listener

    opening = picows.ws_connect(
        opened,
        # ws for http, wss for https.
        "ws" + url.removeprefix("http"),
        ssl_context=tls,
        websocket_handshake_timeout=None,
        logger_name=_log,
        max_frame_size=_LARGEST_FRAME,
        extra_headers=headers,
        max_redirects=0,
        proxy=configuration.proxy or _proxy_of(url),
        read_buffer_init_size=_READ_BUFFER,
        socket_factory=connected,
        **options,
    )
    try:
        websocket, _ = await asyncio.wait_for(opening, answer_within)
    except BaseException:
        for one in sockets:
            # The library leaves the connection open when its caller is cancelled.
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        raise
    if not is_open:
        raise ConnectionResetError("closed in the middle of the handshake")
    return websocket


async def _connected(host: str, port: int) -> socket.socket:
    addresses = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return await aiohappyeyeballs.start_connection(
        addresses, happy_eyeballs_delay=_NEXT_ADDRESS_AFTER
    )


def _proxy_of(url: str) -> str | None:
    """The proxy that the environment names for it, as for all other requests."""
    parts = urlsplit(url)
    return None if proxy_bypass(parts.netloc) else getproxies().get(parts.scheme)
