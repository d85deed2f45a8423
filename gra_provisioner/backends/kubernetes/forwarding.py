"""A byte stream to a port in a pod: port-forward, or exec of a bridge where that is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from ...traffic import Traffic
from . import channels, spdy
from .client import Client
from .framing import Framing
from .websocket import WebsocketTransport

# The subprotocols of port-forward, the one to try first in front.  Offered one at a time, because
# an API server takes SPDY wherever it is offered.  The channels are passed on to the kubelet as
# they are, which makes for shorter round trips and, from the pod, more throughput at less cost;
# to the pod SPDY is faster, since container runtimes read websockets byte by byte
# (docs/benchmarks.md).
PORT_FORWARDS = (channels.PROTOCOL, spdy.PROTOCOL)
#: The one for connections over which most bytes go to the pod.
TO_THE_POD = spdy.PROTOCOL


async def forward_port(
    client: Client,
    pod: str,
    port: int,
    protocol_factory: Callable[[], asyncio.Protocol],
    on_lost: Callable[[WebsocketTransport], None] = lambda transport: None,
    *,
    protocol: str = PORT_FORWARDS[0],
    traffic: Traffic | None = None,
) -> WebsocketTransport:
    """A connection to ``port`` of the pod's 127.0.0.1, by one of :data:`PORT_FORWARDS`.

    ``traffic`` counts what goes over it.

    That nobody listens there is known only later: the transport is lost with the reason.
    Raises what :meth:`.client.Client.websocket` does.
    """
    framing: Framing
    if protocol == spdy.PROTOCOL:
        framing = spdy.SpdyFraming(port)
    else:
        framing = channels.ChannelFraming(inward=0, announced=(0, 1))
    transport = WebsocketTransport(protocol_factory, framing, on_lost, traffic)
    await _open(client, transport, pod, "portforward", [("ports", str(port))], protocol)
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
    transport = WebsocketTransport(protocol_factory, channels.ChannelFraming(inward=1))
    await _open(client, transport, pod, "exec", query, channels.PROTOCOL)
    return transport


async def _open(
    client: Client,
    transport: WebsocketTransport,
    pod: str,
    subresource: str,
    query: list[tuple[str, str]],
    protocol: str,
) -> None:
    try:
        await client.websocket(pod, subresource, query, transport.listener, protocol)
    except BaseException:
        # It may have been opened before the one who waited was cancelled.
        transport.abort()
        raise
