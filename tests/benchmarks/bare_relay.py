"""The yardstick: the least that can carry a connection to another process and on from there.

Two hops of asyncio protocols, with back pressure and half-close and nothing else: no frames, no
streams in one connection, nothing kept for a lost link::

    TCP port -> thread of the client process -> unix socket -> other process -> TCP port

The client's half is a thread with its own event loop, as gra's tunnel is.  The other half is
``python -m tests.benchmarks.bare_relay FOLDER PORT…``, which listens on ``FOLDER/PORT`` for each.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from tests.benchmarks.processes import python

Dial = Callable[[Callable[[], asyncio.Protocol]], Awaitable[Any]]

THREAD_NAME = "bare-relay"


class _End(asyncio.Protocol):
    """One of two connections that are joined."""

    def __init__(self, other: _End | None = None) -> None:
        self._other = other
        self._transport: asyncio.Transport | None = None
        self._finished = False

    @property
    def transport(self) -> asyncio.Transport:
        return cast(asyncio.Transport, self._transport)

    @property
    def other(self) -> _End:
        return cast(_End, self._other)

    def join(self, other: _End) -> None:
        self._other = other

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.other.transport.write(data)

    def eof_received(self) -> bool:
        self.other.finish()
        return not self._finished

    def finish(self) -> None:
        self._finished = True
        if not self.transport.is_closing():
            self.transport.write_eof()

    def pause_writing(self) -> None:
        self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._other is not None:
            self._other.transport.close()


class _Accepted(_End):
    """The connection that came first; the other is dialled for it."""

    def __init__(self, dial: Dial) -> None:
        super().__init__()
        self._dial = dial

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.pause_reading()
        self._task = asyncio.ensure_future(self._connect())

    async def _connect(self) -> None:
        dialled = _End(self)
        try:
            await self._dial(lambda: dialled)
        except OSError:
            self.transport.abort()
            return
        self.join(dialled)
        self.transport.resume_reading()


def _to_socket(path: Path) -> Callable[[], asyncio.Protocol]:
    async def dial(factory: Callable[[], asyncio.Protocol]) -> None:
        await asyncio.get_running_loop().create_unix_connection(factory, str(path))

    return lambda: _Accepted(dial)


def _to_port(port: int) -> Callable[[], asyncio.Protocol]:
    async def dial(factory: Callable[[], asyncio.Protocol]) -> None:
        await asyncio.get_running_loop().create_connection(factory, "127.0.0.1", port)

    return lambda: _Accepted(dial)


@dataclass(frozen=True)
class BareRelay:
    """A running relay.  ``ports`` maps each port that is carried to the one to connect to."""

    ports: dict[int, int]
    pid: int


@asynccontextmanager
async def bare_relay(folder: Path, targets: Sequence[int]) -> AsyncIterator[BareRelay]:
    """A relay to each port of ``targets``; its sockets are in ``folder``."""
    folder.mkdir()
    arguments = [str(folder), *map(str, targets)]
    async with python("tests.benchmarks.bare_relay", *arguments, own_session=True) as far:
        await far.read()
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, name=THREAD_NAME, daemon=True)
        thread.start()
        try:
            listening = asyncio.run_coroutine_threadsafe(_listen(folder, targets), loop)
            servers = await asyncio.wrap_future(listening)
            ports = {target: s.sockets[0].getsockname()[1] for target, s in servers.items()}
            yield BareRelay(ports, far.pid)
            closing = asyncio.run_coroutine_threadsafe(_close(servers.values()), loop)
            await asyncio.wrap_future(closing)
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join(5.0)
            loop.close()
            shutil.rmtree(folder)


async def _listen(folder: Path, targets: Sequence[int]) -> dict[int, asyncio.Server]:
    loop = asyncio.get_running_loop()
    return {
        target: await loop.create_server(_to_socket(folder / str(target)), "127.0.0.1", 0)
        for target in targets
    }


async def _close(servers: Iterable[asyncio.Server]) -> None:
    for server in servers:
        server.close()
    # What is being dialled for a client that has gone.
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()


async def _serve(folder: Path, targets: Sequence[int]) -> None:
    loop = asyncio.get_running_loop()
    for target in targets:
        await loop.create_unix_server(_to_port(target), str(folder / str(target)))
    print("{}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), [int(word) for word in sys.argv[2:]]))
