"""The byte stream over a websocket: its ends, its pauses, and faults in between."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from gra_provisioner.backends.kubernetes.forwarding import forward_port
from gra_provisioner.backends.kubernetes.websocket import WebsocketTransport
from tests.support.waiting import until_async
from tests.unit.backends.kubernetes.fake_api import TOKEN, client_of

Peer = Callable[[web.WebSocketResponse], Awaitable[None]]


class Recorder(asyncio.Protocol):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.ends: list[Exception | None] = []
        self.lost = asyncio.Event()
        self.paused = False

    def data_received(self, data: bytes) -> None:
        self.received += data

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False

    def connection_lost(self, exc: Exception | None) -> None:
        self.ends.append(exc)
        self.lost.set()


@contextlib.asynccontextmanager
async def connected(
    folder: Path, peer: Peer, protocol: asyncio.Protocol
) -> AsyncIterator[WebsocketTransport]:
    """A connection whose other end is played by ``peer``."""

    async def handler(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(protocols=("v4.channel.k8s.io",), max_msg_size=0)
        await socket.prepare(request)
        for channel in (0, 1):
            await socket.send_bytes(bytes([channel, 1, 0]))
        await peer(socket)
        return socket

    async with client_of(handler, folder) as client:
        transport = await forward_port(client, "runner-1", 1, lambda: protocol)
        try:
            yield transport
        finally:
            transport.abort()
            await asyncio.wait_for(transport.wait_closed(), 5.0)


async def silent(socket: web.WebSocketResponse) -> None:
    """Neither reads nor writes."""
    await asyncio.sleep(60)


async def test_an_end_is_told_once_however_often_the_connection_is_cut(tmp_path: Path) -> None:
    recorder = Recorder()
    async with connected(tmp_path, silent, recorder) as transport:
        transport.abort()
        for _ in range(5):
            await asyncio.sleep(0)
            transport.abort()
        await asyncio.wait_for(recorder.lost.wait(), 5.0)
        await asyncio.wait_for(transport.wait_closed(), 5.0)
    assert recorder.ends == [None]


async def test_a_connection_cut_before_it_has_begun_is_told_too(tmp_path: Path) -> None:
    class Refuser(Recorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            transport.abort()

    recorder = Refuser()
    async with connected(tmp_path, silent, recorder):
        await asyncio.wait_for(recorder.lost.wait(), 5.0)
    assert recorder.ends == [None]


async def test_an_end_that_no_longer_reads_can_be_left(tmp_path: Path) -> None:
    recorder = Recorder()
    async with connected(tmp_path, silent, recorder) as transport:
        # More than all the buffers on the way hold.
        for _ in range(64):
            transport.write(bytes(1 << 20))
        await asyncio.sleep(0.3)
        assert recorder.paused
        transport.abort()
        await asyncio.wait_for(transport.wait_closed(), 5.0)
    assert recorder.ends == [None]


async def test_what_was_written_goes_out_although_the_peer_goes_on_talking(tmp_path: Path) -> None:
    size = 8 << 20
    got = bytearray()
    complete = asyncio.Event()

    async def talker(socket: web.WebSocketResponse) -> None:
        async for message in socket:
            got.extend(message.data[1:])
            await socket.send_bytes(b"\0so far so good")
        complete.set()

    recorder = Recorder()
    async with connected(tmp_path, talker, recorder) as transport:
        transport.write(bytes(size))
        transport.close()
        await asyncio.wait_for(complete.wait(), 20.0)
        await asyncio.wait_for(transport.wait_closed(), 5.0)
    assert len(got) == size
    assert recorder.ends == [None]
    # Nothing comes to a protocol that has closed.
    assert recorder.received == b""


async def test_nothing_comes_while_reading_is_paused(tmp_path: Path) -> None:
    go = asyncio.Event()

    async def talker(socket: web.WebSocketResponse) -> None:
        await go.wait()
        await socket.send_bytes(b"\0hello")
        await asyncio.sleep(60)

    recorder = Recorder()
    async with connected(tmp_path, talker, recorder) as transport:
        await asyncio.sleep(0.05)
        transport.pause_reading()
        go.set()
        await asyncio.sleep(0.2)
        assert recorder.received == b""
        transport.resume_reading()
        for _ in range(100):
            await asyncio.sleep(0.02)
            if recorder.received:
                break
        assert recorder.received == b"hello"


async def test_a_fault_of_the_protocol_ends_the_connection_and_is_told(tmp_path: Path) -> None:
    class Faulty(Recorder):
        def data_received(self, data: bytes) -> None:
            raise KeyError("a fault")

    async def talker(socket: web.WebSocketResponse) -> None:
        await socket.send_bytes(b"\0hello")
        await asyncio.sleep(60)

    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    recorder = Faulty()
    async with connected(tmp_path, talker, recorder):
        await asyncio.wait_for(recorder.lost.wait(), 5.0)
    (end,) = recorder.ends
    assert isinstance(end, KeyError)
    assert [context["exception"] for context in told] == [end]


async def test_the_reason_that_the_other_end_gives_is_told(tmp_path: Path) -> None:
    async def refusing(socket: web.WebSocketResponse) -> None:
        await socket.send_bytes(b"\1connection refused")

    recorder = Recorder()
    async with connected(tmp_path, refusing, recorder):
        await asyncio.wait_for(recorder.lost.wait(), 5.0)
    (end,) = recorder.ends
    assert isinstance(end, ConnectionError)
    assert str(end) == "connection refused"


async def test_many_small_messages_come_whole_and_in_order(tmp_path: Path) -> None:
    pieces = [bytes([number % 251]) * (number % 1000) for number in range(2000)]

    async def talker(socket: web.WebSocketResponse) -> None:
        for piece in pieces:
            await socket.send_bytes(b"\0" + piece)
        await asyncio.sleep(60)

    recorder = Recorder()
    async with connected(tmp_path, talker, recorder):
        deadline = asyncio.get_running_loop().time() + 20
        while len(recorder.received) < sum(map(len, pieces)):
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.01)

    assert bytes(recorder.received) == b"".join(pieces)


async def test_what_came_just_before_the_end_is_given_on(tmp_path: Path) -> None:
    async def talker(socket: web.WebSocketResponse) -> None:
        await socket.send_bytes(b"\0last")

    recorder = Recorder()
    async with connected(tmp_path, talker, recorder):
        await asyncio.wait_for(recorder.lost.wait(), 5.0)

    assert bytes(recorder.received) == b"last"


async def test_a_dial_that_is_given_up_leaves_no_connection(tmp_path: Path) -> None:
    came, gone = asyncio.Event(), asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        came.set()
        await until_async(lambda: request.transport is None, "the client to be gone", 5)
        gone.set()
        return web.Response()

    async with client_of(handler, tmp_path) as client:
        dialling = asyncio.create_task(forward_port(client, "runner-1", 1, Recorder))
        await asyncio.wait_for(came.wait(), 5.0)
        dialling.cancel()
        await asyncio.wait((dialling,))
        await asyncio.wait_for(gone.wait(), 5.0)


async def test_the_credentials_are_in_no_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(1)
    async with connected(tmp_path, silent, Recorder()):
        await asyncio.sleep(0.05)

    assert TOKEN not in caplog.text
