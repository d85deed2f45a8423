"""Bytes from one event loop to another."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from gra_provisioner.server.bridge import Bridge, ConsumerGone

_BOUND = 20.0


@contextmanager
def _other_loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_BOUND)
        loop.close()


@pytest.fixture
def other() -> Iterator[asyncio.AbstractEventLoop]:
    with _other_loop() as loop:
        yield loop


def _on(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any]) -> asyncio.Future[Any]:
    return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop))


async def _all(bridge: Bridge) -> AsyncIterator[bytes]:
    while (data := await bridge.take(_BOUND)) is not None:
        assert data, "nothing came in time"
        yield data


async def test_all_that_is_put_arrives_in_order(other: asyncio.AbstractEventLoop) -> None:
    bridge = Bridge(1000)
    pieces = [f"{number} ".encode() for number in range(20_000)]

    async def produce() -> None:
        for piece in pieces:
            await bridge.put(piece)
        bridge.end()

    producing = _on(other, produce())
    received = b"".join([data async for data in _all(bridge)])
    await producing
    assert received == b"".join(pieces)


async def test_a_producer_waits_for_a_consumer_that_does_not_take(
    other: asyncio.AbstractEventLoop,
) -> None:
    bridge = Bridge(100)
    put = 0

    async def produce() -> None:
        nonlocal put
        for _ in range(1000):
            await bridge.put(b"0123456789")
            put += 1
        bridge.end()

    producing = _on(other, produce())
    data = await bridge.take(_BOUND)
    assert data
    await asyncio.sleep(0.1)
    # What was taken, and then as much as fits.
    assert put <= len(data) // 10 + 10
    size = len(data) + sum([len(data) async for data in _all(bridge)])
    await producing
    assert size == 10_000


async def test_a_consumer_that_is_gone_ends_the_producer(
    other: asyncio.AbstractEventLoop,
) -> None:
    bridge = Bridge(100)

    async def produce() -> None:
        while True:
            await bridge.put(b"0123456789")

    producing = _on(other, produce())
    assert await bridge.take(_BOUND)
    bridge.close()
    bridge.close()
    with pytest.raises(ConsumerGone):
        await asyncio.wait_for(producing, _BOUND)
    assert await bridge.take(_BOUND) is None


async def test_an_error_comes_after_what_was_put_before_it(
    other: asyncio.AbstractEventLoop,
) -> None:
    bridge = Bridge()

    async def produce() -> None:
        await bridge.put(b"a")
        bridge.end(KeyError("it"))
        bridge.end()

    await _on(other, produce())
    assert await bridge.take(_BOUND) == b"a"
    with pytest.raises(KeyError):
        await bridge.take(_BOUND)


async def test_nothing_is_told_after_the_time_for_it() -> None:
    bridge = Bridge()
    assert await bridge.take(0.01) == b""
    bridge.end()
    assert await bridge.take(0.01) is None


async def test_a_loop_that_is_closed_is_no_error() -> None:
    bridge = Bridge()
    with _other_loop() as loop:
        await _on(loop, bridge.put(b"a"))
    assert await bridge.take(_BOUND) == b"a"
    bridge.close()
