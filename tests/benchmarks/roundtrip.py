"""How much later an answer comes through the tunnel."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from tests.benchmarks.figures import Bar, Row, Summary, Table, percentile
from tests.benchmarks.options import Sizes
from tests.benchmarks.processes import python
from tests.benchmarks.routes import BARE, GRA, Routes, to_kernel, to_port
from tests.support.kernelspecs import IPYKERNEL_ARGV
from tests.support.places import Places

_PAYLOAD = 64
_LIMIT = 1.3
_RATIO = "gra / bare relay"

Ask = Callable[[Any], Awaitable[list[float]]]


# By route and round, in microseconds.
Samples = dict[str, list[list[float]]]


async def _round(routes: Routes, number: int, ask: Ask, samples: Samples) -> None:
    for route in routes.order(number):
        times = [1e6 * one for one in await ask(routes.ends[route])]
        samples.setdefault(route, []).append(times)


def _row(label: str, percent: float, samples: Samples) -> Row:
    figures = {
        route: [percentile(one, percent) for one in rounds] for route, rounds in samples.items()
    }
    values = {route: Summary.of(figures[route], "µs") for route in figures}
    values[_RATIO] = Summary.ratio(figures[GRA], figures[BARE])
    return Row(f"{label}, p{percent:g}", values, [Bar(_RATIO, _LIMIT)])


async def measure(places: Places, sizes: Sizes) -> list[Table]:
    """The tables of this benchmark."""
    async with (
        python("tests.benchmarks.measuring") as client,
        python("tests.benchmarks.tcp_server") as server,
    ):
        port = (await server.read())["port"]

        async def ping(end: int) -> list[float]:
            times: list[float] = await client.ask(
                "ping", address=("127.0.0.1", end), count=sizes.pings, size=_PAYLOAD
            )
            return times

        async def kernel_info(end: dict[str, Any]) -> list[float]:
            times: list[float] = await client.ask(
                "kernel_info", connection=end, count=sizes.requests
            )
            return times

        echo: Samples = {}
        for number in range(sizes.trip_rounds):
            # Anew each time: where the system places two processes stays with them.
            async with to_port(places, port) as routes:
                await _round(routes, number, ping, echo)
        info: Samples = {}
        async with to_kernel(places, IPYKERNEL_ARGV) as routes:
            for number in range(sizes.trip_rounds):
                await _round(routes, number, kernel_info, info)
    rows = [
        _row(label, percent, samples)
        for label, samples in (("echo", echo), ("kernel_info", info))
        for percent in (50, 99)
    ]
    return [
        Table(
            "Round trip",
            f"echo: {_PAYLOAD} bytes over TCP to an echo server in the runner and back, "
            f"{sizes.trip_rounds} rounds of {sizes.pings} on each route, each with a new agent and "
            "a new bare relay. kernel_info: request and reply over ZMQ with one live ipykernel, "
            f"{sizes.trip_rounds} rounds of {sizes.requests}; most of it is the kernel's own work. "
            "Client and server are processes of their own. The bare relay has the same two hops as "
            "gra (a thread of the client's process, a unix socket, another process) with nothing "
            "but asyncio protocols. Each sample is the percentile of one round.",
            rows,
        )
    ]
