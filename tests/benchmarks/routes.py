"""The three ways to a port or a kernel that are compared: direct, bare relay, gra."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

from gra_provisioner.agent.stream import Stream, StreamHandler
from gra_provisioner.backends.local import LocalBackend
from gra_provisioner.runner import Resources, RunnerSpec
from gra_provisioner.service import RunnerService, labels_of_this_process
from gra_provisioner.tunnel.client import Tunnel
from gra_provisioner.tunnel.thread import THREAD_NAME, Lease
from tests.benchmarks import bare_relay as bare
from tests.benchmarks.processes import ROOT, cpu_of_process, cpu_of_thread
from tests.support.places import Places

DIRECT, BARE, GRA = "direct", "bare relay", "gra"

STUB_KERNEL = ("python", "-m", "tests.benchmarks.stub_kernel", "-f", "{connection_file}")


def spec(kernel_argv: tuple[str, ...] = ()) -> RunnerSpec:
    """A runner as the profiles have it, but for its kernel."""
    return RunnerSpec("benchmark", Resources(1.0, 1 << 30, 1 << 30), kernel_argv=kernel_argv)


@dataclass(frozen=True)
class Cpu:
    """CPU seconds used so far by the relays: their half in this process, and the other."""

    near: float
    far: float

    def __sub__(self, other: Cpu) -> Cpu:
        return Cpu(self.near - other.near, self.far - other.far)


@dataclass(frozen=True)
class Routes:
    """What to connect to on each route: a port, or a kernel's connection info."""

    ends: dict[str, Any]
    bare_pid: int
    agent_pid: int

    def cpu(self, route: str) -> Cpu:
        """What the relay of a route has used so far."""
        if route == BARE:
            return Cpu(cpu_of_thread(bare.THREAD_NAME), cpu_of_process(self.bare_pid))
        if route == GRA:
            return Cpu(cpu_of_thread(THREAD_NAME), cpu_of_process(self.agent_pid))
        return Cpu(0.0, 0.0)

    def order(self, number: int) -> list[str]:
        """The routes for round ``number``, each in another order."""
        names = list(self.ends)
        turn = number % len(names)
        return names[turn:] + names[:turn]


class TunnelPort(asyncio.Protocol):
    """A TCP connection and its stream to a port in the runner.

    It does what the tunnel's connections of a kernel's channels do, but reads no messages.
    """

    def __init__(self, tunnel: Tunnel, port: int) -> None:
        self._tunnel = tunnel
        self._port = port
        self._stream: Stream | None = None
        self._transport: asyncio.Transport | None = None
        self._paused = False
        self._owed = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._stream = self._tunnel.open({"kind": "tcp", "port": self._port}, self._handler)

    def _handler(self, stream: Stream) -> StreamHandler:
        return self

    def data_received(self, data: bytes) -> None:
        stream = self._stream
        if stream is None:
            return
        stream.write(data)
        # What is on its way is the window's business.
        if stream.out.end - stream.out.sent > stream.high_water and self._transport is not None:
            self._transport.pause_reading()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._repay()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._stream is not None:
            self._stream.finish()
            self._repay()

    def on_data(self, data: memoryview) -> None:
        if self._transport is not None:
            self._transport.write(data)
            if self._paused:
                self._owed += len(data)
                return
        self._consume(len(data))

    def on_finish(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def on_reset(self, reason: str, message: str) -> None:
        self._stream = None
        if self._transport is not None:
            self._transport.abort()

    def on_drain(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    def _consume(self, count: int) -> None:
        if self._stream is not None:
            self._stream.consumed(count)

    def _repay(self) -> None:
        owed, self._owed = self._owed, 0
        self._consume(owed)


@asynccontextmanager
async def to_port(places: Places, port: int) -> AsyncIterator[Routes]:
    """Routes to a port of this host; gra's through the agent of a runner without a kernel."""
    backend = LocalBackend(places.gra_state)

    async def listen(tunnel: Tunnel) -> tuple[asyncio.AbstractServer, int]:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: TunnelPort(tunnel, port), "127.0.0.1", 0)
        return server, server.sockets[0].getsockname()[1]

    async def dial() -> Tunnel:
        tunnel = Tunnel(lambda factory: backend.dial(runner, factory))
        await tunnel.connect()
        return tunnel

    async def close(tunnel: Tunnel, server: asyncio.AbstractServer) -> None:
        server.close()
        await tunnel.close()

    lease = Lease()
    try:
        runner = await lease.run(backend.create(spec(), labels_of_this_process()))
        try:
            tunnel = await lease.run(dial())
            server, local = await lease.run(listen(tunnel))
            async with bare.bare_relay(places.root / "bare", [port]) as relay:
                ends = {DIRECT: port, BARE: relay.ports[port], GRA: local}
                yield Routes(ends, relay.pid, runner.pid or 0)
            await lease.run(close(tunnel, server))
        finally:
            await lease.run(backend.delete(runner))
    finally:
        lease.release()


@asynccontextmanager
async def to_kernel(places: Places, kernel_argv: tuple[str, ...]) -> AsyncIterator[Routes]:
    """Routes to the channels of a kernel that gra has started."""
    service = RunnerService(LocalBackend(places.gra_state), "the benchmark names it")
    lease = Lease()
    try:
        launch = service.launch(spec(kernel_argv), labels_of_this_process(), cwd=str(ROOT))
        attachment = await lease.run(launch)
        try:
            runner = attachment.runner
            direct = json.loads((places.runners / runner.name / "kernel.json").read_text())
            targets = [value for name, value in direct.items() if name.endswith("_port")]
            async with bare.bare_relay(places.root / "bare-kernel", targets) as relay:
                relayed = {
                    name: relay.ports[value] if name.endswith("_port") else value
                    for name, value in direct.items()
                }
                ends = {DIRECT: direct, BARE: relayed, GRA: attachment.connection_info}
                yield Routes(ends, relay.pid, runner.pid or 0)
        finally:
            await lease.run(attachment.delete())
    finally:
        lease.release()
