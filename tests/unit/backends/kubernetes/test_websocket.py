"""A connection over a websocket whose other end does what the protocol does not allow."""

from __future__ import annotations

import asyncio
import base64
import gc
import hashlib
from typing import Any

from picows import ws_connect

from gra_provisioner.backends.kubernetes.channels import ChannelFraming
from gra_provisioner.backends.kubernetes.websocket import WebsocketTransport

# RFC 6455, 1.3 and 5.2: the end of the key, and a frame of a kind that there is not.
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_NONSENSE = b"\x8b\x00"


async def _talks_nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    request = await reader.readuntil(b"\r\n\r\n")
    lines = dict(line.split(b": ", 1) for line in request.split(b"\r\n") if b": " in line)
    key = next(value for name, value in lines.items() if name.lower() == b"sec-websocket-key")
    accepted = base64.b64encode(hashlib.sha1(key + _GUID).digest())  # noqa: S324
    writer.write(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accepted + b"\r\n\r\n" + _NONSENSE
    )
    await reader.read()
    writer.close()


async def _connected_until_it_ended(port: int) -> None:
    transport = WebsocketTransport(asyncio.Protocol, ChannelFraming(inward=0))
    await ws_connect(lambda: transport.listener, f"ws://127.0.0.1:{port}/")
    await transport.wait_closed()


async def test_a_server_that_breaks_the_protocol_leaves_no_error_that_nobody_took() -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    async with await asyncio.start_server(_talks_nonsense, "127.0.0.1", 0) as server:
        await _connected_until_it_ended(server.sockets[0].getsockname()[1])
    # What nobody took is complained of when it is thrown away.
    await asyncio.sleep(0)
    gc.collect()

    assert complaints == []
