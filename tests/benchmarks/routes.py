"""The three ways to a port or a kernel that are compared: direct, bare relay, gra."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from gra_provisioner.backends.local import LocalBackend
from gra_provisioner.runner import Resources, RunnerSpec
from gra_provisioner.service import RunnerService, labels_of_this_process
from gra_provisioner.tunnel.client import Tunnel
from gra_provisioner.tunnel.forward import ForwardedConnection
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


@asynccontextmanager
async def to_port(places: Places, port: int) -> AsyncIterator[Routes]:
    """Routes to a port of this host; gra's through the agent of a runner without a kernel."""
    backend = LocalBackend(places.gra_state)

    async def listen(tunnel: Tunnel) -> tuple[asyncio.AbstractServer, int]:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: ForwardedConnection(tunnel, port), "127.0.0.1", 0)
        return server, server.sockets[0].getsockname()[1]

    async def dial() -> Tunnel:
        tunnel = Tunnel(partial(backend.dial, runner))
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
