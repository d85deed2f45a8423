"""A bad network between a client and its runners, put in place from outside."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from gra_provisioner.backends.local import LocalBackend
from gra_provisioner.runner import Runner

T = TypeVar("T")
C = TypeVar("C", bound="Cutter")

_BLOCK = 1 << 16
# How long any command to the thread may take.
_WITHIN = 10.0

_OnClient = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]
_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(eq=False)
class _Pair:
    """One connection of a client's and its twin to the other end."""

    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def cut(self) -> None:
        for task in self.tasks:
            task.cancel()
        for writer in self.writers:
            writer.transport.abort()


class Cutter(ABC):
    """Stands where clients dial and forwards to the other end, for as long as it is told to.

    It lives in a thread of its own, so that a test that blocks can use it too.  All public methods
    are called from the test.
    """

    def __init__(self) -> None:
        # How many connections clients have made.
        self.dialled = 0
        self._server: asyncio.Server | None = None
        self._pairs: set[_Pair] = set()
        # How many bytes from the other end may pass until the next cut, and the cuts after that.
        self._cuts: list[int] = []
        self._running = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="cutter")

    # -- which ends -------------------------------------------------------------------------

    @abstractmethod
    async def _listen(self, on_client: _OnClient) -> asyncio.Server:
        """Listen where clients dial: the first time, and again after it was closed."""

    @abstractmethod
    async def _dial(self) -> _Streams:
        """A connection to the other end."""

    # -- what a test says -------------------------------------------------------------------

    def start(self) -> None:
        """Let clients in."""
        self._thread.start()
        self.heal()

    def stop(self) -> None:
        """Cut everything and be gone."""
        try:
            self._run(self._close())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_WITHIN)
            self._loop.close()

    def cut(self) -> None:
        """Drop all connections at once, with what is under way.  New ones are let through."""
        self._call(self._cut)

    def cut_after(self, *counts: int) -> None:
        """Drop all connections each time that so many more bytes came from the other end."""
        self._call(lambda: self._cuts.extend(counts))

    @property
    def cuts_left(self) -> int:
        """How many of those cuts are still to come."""
        return len(self._cuts)

    def stall(self) -> None:
        """Forward nothing, and say nothing: packets are lost somewhere."""
        self._call(self._running.clear)

    def resume(self) -> None:
        """Forward again, beginning with what came meanwhile."""
        self._call(self._running.set)

    def refuse(self) -> None:
        """Drop all connections and let no new one in."""
        self._run(self._close())

    def heal(self) -> None:
        """Let connections in again."""
        self._run(self._open())
        self._call(self._running.set)

    # -- in the thread ----------------------------------------------------------------------

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_WITHIN)

    def _call(self, function: Callable[[], None]) -> None:
        async def work() -> None:
            function()

        self._run(work())

    async def _open(self) -> None:
        if self._server is None:
            self._server = await self._listen(self._on_client)

    async def _close(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()
        self._cut()
        # One turn for the connections to be gone.
        await asyncio.sleep(0)

    def _cut(self) -> None:
        pairs, self._pairs = self._pairs, set()
        for pair in pairs:
            pair.cut()

    async def _on_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.dialled += 1
        pair = _Pair([writer])
        self._pairs.add(pair)
        try:
            other_reader, other_writer = await self._dial()
        except OSError:
            writer.transport.abort()
            return
        pair.writers.append(other_writer)
        pair.tasks = [
            asyncio.create_task(self._pump(pair, reader, other_writer, counts=False)),
            asyncio.create_task(self._pump(pair, other_reader, writer, counts=True)),
        ]
        if pair not in self._pairs:
            # Cut while the other end was being dialled.
            pair.cut()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*pair.tasks)
        pair.cut()
        self._pairs.discard(pair)

    async def _pump(
        self,
        pair: _Pair,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        counts: bool,
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_BLOCK):
                await self._running.wait()
                if counts and self._cuts:
                    data = data[: self._cuts[0]]
                    self._cuts[0] -= len(data)
                writer.write(data)
                await writer.drain()
                if counts and self._cuts and not self._cuts[0]:
                    # What came later is lost, what came before may be.
                    del self._cuts[0]
                    self._cut()
                    return
        # One side has ended, so the other is told.
        writer.transport.abort() if writer.transport.is_closing() else writer.close()


class SocketCutter(Cutter):
    """Before one runner of the local backend: listens under the name of its agent's socket.

    The agent's socket is renamed; clients find this one in its place.  Connections there are
    already go on untouched.
    """

    def __init__(self, socket: Path) -> None:
        super().__init__()
        self._name = socket
        self._hidden = _hidden(socket)

    def start(self) -> None:
        self._name.rename(self._hidden)
        super().start()

    def stop(self) -> None:
        """Cut everything and give the agent its name back."""
        super().stop()
        if self._hidden.exists():
            self._hidden.rename(self._name)

    async def _listen(self, on_client: _OnClient) -> asyncio.Server:
        with _short_path(self._name) as path:
            return await asyncio.start_unix_server(on_client, path)

    async def _dial(self) -> _Streams:
        with _short_path(self._hidden) as path:
            return await asyncio.open_unix_connection(path)

    async def _close(self) -> None:
        self._name.unlink(missing_ok=True)
        await super()._close()


class AddressCutter(Cutter):
    """Before a server at a TCP address, such as a cluster's API server.  :attr:`port` is its own,
    on 127.0.0.1, and stays the same.
    """

    def __init__(self, host: str, port: int) -> None:
        super().__init__()
        self.port = 0
        self._host, self._other_port = host, port

    async def _listen(self, on_client: _OnClient) -> asyncio.Server:
        server = await asyncio.start_server(on_client, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _dial(self) -> _Streams:
        return await asyncio.open_connection(self._host, self._other_port)


def _hidden(socket: Path) -> Path:
    return socket.with_name("real.sock")


@contextmanager
def _short_path(socket: Path) -> Iterator[str]:
    """Another name of a socket: its path may be too long for an address."""
    folder = os.open(socket.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{socket.name}"
    finally:
        os.close(folder)


async def dial_around(
    socket: Path, protocol_factory: Callable[[], asyncio.Protocol]
) -> asyncio.Transport:
    """Connect to an agent's own socket, also where a :class:`SocketCutter` has its place."""
    hidden = _hidden(socket)
    with _short_path(hidden if hidden.exists() else socket) as path:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_unix_connection(protocol_factory, path)
    return transport


@contextmanager
def working(network: C) -> Iterator[C]:
    """A cutter while the block runs."""
    network.start()
    try:
        yield network
    finally:
        network.stop()


@contextmanager
def before_each_local_runner(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Cutter]]:
    """A :class:`Cutter` before each runner that this process makes while the block runs."""
    networks: list[Cutter] = []
    create = LocalBackend.create

    async def create_behind_cutter(backend: LocalBackend, *args: Any, **kwargs: Any) -> Runner:
        runner = await create(backend, *args, **kwargs)
        networks.append(SocketCutter(backend._folder / runner.name / "agent.sock"))
        networks[-1].start()
        return runner

    with monkeypatch.context() as patch:
        patch.setattr(LocalBackend, "create", create_behind_cutter)
        try:
            yield networks
        finally:
            for network in networks:
                network.stop()
