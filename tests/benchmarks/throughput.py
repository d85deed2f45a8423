"""How much goes through the tunnel in a second, and what it costs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from tests.benchmarks.figures import Bar, Row, Summary, Table
from tests.benchmarks.options import Sizes
from tests.benchmarks.processes import Helper, python
from tests.benchmarks.routes import BARE, GRA, STUB_KERNEL, Cpu, Routes, to_kernel, to_port
from tests.support.places import Places

_LIMIT = 0.7
_RATIO = "gra / bare relay"
_LARGE, _SMALL = 1_000_000, 500

Move = Callable[[Any], Awaitable[float]]


@dataclass
class _Case:
    """What is moved each time, how, and what that took on each route."""

    label: str
    megabytes: float
    move: Move
    seconds: dict[str, list[float]] = field(default_factory=dict)
    cpu: dict[str, list[Cpu]] = field(default_factory=dict)

    async def round(self, routes: Routes, number: int) -> None:
        """Move it once on each route."""
        for route in routes.order(number):
            before = routes.cpu(route)
            self.seconds.setdefault(route, []).append(await self.move(routes.ends[route]))
            self.cpu.setdefault(route, []).append(routes.cpu(route) - before)

    def row(self) -> Row:
        rates = {
            route: [self.megabytes / one for one in seconds]
            for route, seconds in self.seconds.items()
        }
        values = {route: Summary.of(rates[route], "MB/s") for route in rates}
        values[_RATIO] = Summary.ratio(rates[GRA], rates[BARE])
        return Row(self.label, values, [Bar(_RATIO, _LIMIT, at_least=True)])

    def cost(self) -> Row:
        values = {
            f"{route}, {half}": Summary.of(
                [getattr(one, side) / (self.megabytes / 1e3) for one in self.cpu[route]], "s/GB"
            )
            for route in (BARE, GRA)
            for side, half in (("near", "client"), ("far", "agent"))
        }
        return Row(self.label, values)


def _transfer(client: Helper, size: int, streams: int, up: bool) -> _Case:
    async def move(port: int) -> float:
        seconds: float = await client.ask(
            "transfer", address=("127.0.0.1", port), up=up, size=size, streams=streams
        )
        return seconds

    label = f"TCP, {'to' if up else 'from'} the runner, {streams} at once"
    return _Case(label, size / 1e6, move)


def _publish(client: Helper, size: int, count: int, name: str) -> _Case:
    async def move(connection: dict[str, Any]) -> float:
        seconds: float = await client.ask(
            "subscribe", connection=connection, count=count, size=size
        )
        return seconds

    return _Case(f"iopub, {count:,} of {name}", size * count / 1e6, move)


async def _tcp(places: Places, sizes: Sizes, client: Helper) -> list[_Case]:
    cases = [
        _transfer(client, sizes.volume // streams * streams, streams, up)
        for streams in (1, 5)
        for up in (False, True)
    ]
    async with python("tests.benchmarks.tcp_server") as server:
        port = (await server.read())["port"]
        for number in range(sizes.transfer_rounds):
            # Anew each time: where the system places two processes stays with them.
            async with to_port(places, port) as routes:
                for case in cases:
                    await case.round(routes, number)
    return cases


async def _zmq(places: Places, sizes: Sizes, client: Helper) -> list[_Case]:
    cases = [
        _publish(client, _LARGE, sizes.large_messages, "1 MB"),
        _publish(client, _SMALL, sizes.small_messages, "500 B"),
    ]
    for number in range(sizes.transfer_rounds):
        async with to_kernel(places, STUB_KERNEL) as routes:
            for case in cases:
                await case.round(routes, number)
    return cases


async def measure(places: Places, sizes: Sizes) -> list[Table]:
    """The tables of this benchmark."""
    async with python("tests.benchmarks.measuring") as client:
        cases = [*await _tcp(places, sizes, client), *await _zmq(places, sizes, client)]
    return [
        Table(
            "Throughput",
            f"TCP: {sizes.volume / 1e9:.2f} GB in writes of 256 KiB, on one connection or shared "
            "by five. iopub: a ZMQ PUB socket with a kernel's messages and libzmq's usual high "
            "water mark, to one subscriber in Python; through gra they pass the agent's bounded "
            "buffer, which never makes the kernel wait, so a kernel that is quicker than the "
            "client goes through the spill file. Server, client and relays as in the round trip; "
            f"{sizes.transfer_rounds} rounds, each with a new agent and a new bare relay.",
            [case.row() for case in cases],
        ),
        Table(
            "CPU of the relays",
            "CPU seconds for each GB that was carried: of the relay's thread in the client's "
            "process, and of the process at the other end.",
            [case.cost() for case in cases],
        ),
    ]
