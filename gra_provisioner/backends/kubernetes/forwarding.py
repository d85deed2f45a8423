"""A byte stream to a port in a pod: port-forward, or exec of a bridge where that is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from . import channels, spdy
from .client import Client
from .framing import Framing
from .websocket import WebsocketTransport


async def forward_port(
    client: Client,
    pod: str,
    port: int,
    protocol_factory: Callable[[], asyncio.Protocol],
    on_lost: Callable[[WebsocketTransport], None] = lambda transport: None,
) -> WebsocketTransport:
    """A connection to ``port`` of the pod's 127.0.0.1.

    That nobody listens there is known only later: the transport is lost with the reason.
    Raises what :meth:`.client.Client.websocket` does.
    """
    framings: dict[str, Framing] = {
        spdy.PROTOCOL: spdy.SpdyFraming(port),
        # API servers before 1.31.
        channels.PROTOCOL: channels.ChannelFraming(inward=0, announced=(0, 1)),
    }
    transport = WebsocketTransport(protocol_factory, framings, on_lost)
    await _open(client, transport, pod, "portforward", [("ports", str(port))], framings)
    return transport


async def run_bridge(
    client: Client,
    pod: str,
    container: str,
    command: Iterable[str],
    protocol_factory: Callable[[], asyncio.Protocol],
) -> WebsocketTransport:
    """A connection to the stdin and stdout of a command that is run in the pod.

    Raises what :meth:`.client.Client.websocket` does.
    """
    query = [("container", container), ("stdin", "true"), ("stdout", "true"), ("stderr", "true")]
    query += [("command", word) for word in command]
    framings: dict[str, Framing] = {channels.PROTOCOL: channels.ChannelFraming(inward=1)}
    transport = WebsocketTransport(protocol_factory, framings)
    await _open(client, transport, pod, "exec", query, framings)
    return transport


async def _open(
    client: Client,
    transport: WebsocketTransport,
    pod: str,
    subresource: str,
    query: list[tuple[str, str]],
    protocols: Iterable[str],
) -> None:
    try:
        await client.websocket(pod, subresource, query, transport.listener, protocols)
    except BaseException:
        # It may have been opened before the one who waited was cancelled.
        transport.abort()
        raise
