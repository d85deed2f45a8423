"""What gra's tunnel to a pod costs, against other ways to the same port of the same pod."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tests.benchmarks import pod_runners, slow_link
from tests.benchmarks.clusters import place_in_cluster
from tests.benchmarks.figures import Bar, Row, Summary, Table, percentile
from tests.benchmarks.options import Sizes
from tests.benchmarks.pod_routes import (
    ALL,
    BARE,
    DIRECT,
    EXEC,
    GRA,
    KUBECTL,
    OFFICIAL,
    PodRoute,
    Served,
    routes_to,
    server_in_pod,
)
from tests.benchmarks.processes import Helper, python
from tests.support.places import Places

_PAYLOAD = 64
_TO_KUBECTL, _TO_BARE = "gra / kubectl", "gra / bare websocket"
# It takes time that grows with the square of what waits in it.
_OFFICIAL_SHARE = 16
_SAMPLE_EVERY = 0.05
# The window of a stream, and what transports and sockets hold besides.
_STALLED_LIMIT = 16.0
_STALLED = (KUBECTL, OFFICIAL, BARE, GRA)

# By way, one of each round.
Samples = dict[str, list[float]]


@dataclass
class _Case:
    """What is moved each time, and what that took by each way."""

    up: bool
    streams: int
    seconds_per_gb: Samples = field(default_factory=dict)
    cpu_per_gb: Samples = field(default_factory=dict)

    @property
    def label(self) -> str:
        return f"{'to' if self.up else 'from'} the pod, {self.streams} at once"

    @property
    def ways(self) -> list[str]:
        # kubectl exec is one pipe.
        return [way for way in ALL if way != EXEC or self.streams == 1]

    async def move(self, client: Helper, way: str, route: PodRoute, volume: int) -> None:
        if way == OFFICIAL:
            volume //= _OFFICIAL_SHARE
        size = volume // self.streams * self.streams
        before = route.cpu()
        seconds: float = await client.ask(
            "transfer", address=route.address, up=self.up, size=size, streams=self.streams
        )
        await route.settled()
        self.seconds_per_gb.setdefault(way, []).append(seconds / size * 1e9)
        self.cpu_per_gb.setdefault(way, []).append((route.cpu() - before) / size * 1e9)

    def speed(self) -> Row:
        rates = {
            way: [1e3 / one for one in self.seconds_per_gb[way]]
            for way in ALL
            if way in self.seconds_per_gb
        }
        values = {way: Summary.of(rates[way], "MB/s") for way in rates}
        values[_TO_KUBECTL] = Summary.ratio(rates[GRA], rates[KUBECTL])
        values[_TO_BARE] = Summary.ratio(rates[GRA], rates[BARE])
        bars = [Bar(_TO_KUBECTL, 1.0, at_least=True), Bar(_TO_BARE, 0.85, at_least=True)]
        return Row(self.label, values, bars)

    def cost(self) -> Row:
        values = {
            way: Summary.of(self.cpu_per_gb[way], "s/GB")
            for way in ALL
            if way in self.cpu_per_gb and way != DIRECT
        }
        values[_TO_KUBECTL] = Summary.ratio(self.cpu_per_gb[GRA], self.cpu_per_gb[KUBECTL])
        values[_TO_BARE] = Summary.ratio(self.cpu_per_gb[GRA], self.cpu_per_gb[BARE])
        return Row(self.label, values, [Bar(_TO_KUBECTL, 0.6)])


@dataclass
class _Found:
    """All samples of the rounds."""

    p50: Samples = field(default_factory=dict)
    p99: Samples = field(default_factory=dict)
    first: Samples = field(default_factory=dict)
    cases: Sequence[_Case] = field(
        default_factory=lambda: [_Case(up, streams) for streams in (1, 5) for up in (False, True)]
    )

    async def round(
        self, client: Helper, routes: Mapping[str, PodRoute], number: int, sizes: Sizes
    ) -> None:
        """Measure everything once by each way, in an order that turns with the number."""
        for way in _turned(ALL, number):
            address = routes[way].address
            trips = await client.ask("ping", address=address, count=sizes.pings, size=_PAYLOAD)
            self.p50.setdefault(way, []).append(1e6 * percentile(trips, 50))
            self.p99.setdefault(way, []).append(1e6 * percentile(trips, 99))
            opened = await client.ask("first_byte", address=address, count=sizes.first_bytes)
            self.first.setdefault(way, []).append(1e3 * percentile(opened, 50))
            await routes[way].settled()
        for case in self.cases:
            for way in _turned(case.ways, number):
                await case.move(client, way, routes[way], sizes.tunnel_volume)

    def trips(self) -> list[Row]:
        rows = []
        for label, samples, unit, bars in (
            ("round trip, p50", self.p50, "µs", [Bar(_TO_KUBECTL, 1.0)]),
            ("round trip, p99", self.p99, "µs", [Bar(_TO_KUBECTL, 1.0)]),
            ("first byte of a new connection", self.first, "ms", []),
        ):
            values = {way: Summary.of(samples[way], unit) for way in ALL}
            values[_TO_KUBECTL] = Summary.ratio(samples[GRA], samples[KUBECTL])
            rows.append(Row(label, values, bars))
        return rows


def _turned(names: Sequence[str], number: int) -> list[str]:
    turn = number % len(names)
    return [*names[turn:], *names[:turn]]


async def _rounds(served: Served, client: Helper, sizes: Sizes) -> list[Table]:
    found = _Found()
    for number in range(sizes.tunnel_rounds):
        # Anew each time: where the system places two processes stays with them.
        async with routes_to(served) as routes:
            await found.round(client, routes, number, sizes)
    return [
        Table(
            "Round trip to a pod",
            f"{_PAYLOAD} bytes to an echo server in the pod and back, {sizes.pings} times in a "
            f"round; and the time from connect() to the first byte of the server's answer, on "
            f"{sizes.first_bytes} new connections, the median of each round. {_WAYS} "
            f"{sizes.tunnel_rounds} rounds, each with new processes for all ways.",
            found.trips(),
        ),
        Table(
            "Throughput to a pod",
            f"{sizes.tunnel_volume / 1e6:.0f} MB of incompressible bytes in writes of 256 KiB, on "
            "one connection or shared by five; through the Python client a sixteenth of that, for "
            "its time grows with the square of what waits in it. API server, kubelet, containerd "
            "and the pod share the machine's cores with the client.",
            [case.speed() for case in found.cases],
        ),
        Table(
            "CPU of the client's side",
            "CPU seconds of the process that carries it (kubectl, or Python with nothing else in "
            "it), for each GB, in the same transfers.",
            [case.cost() for case in found.cases],
        ),
    ]


_WAYS = (
    "All ways lead to the same port of the same pod: kubectl port-forward; the port_forward of the "
    "official Python client (joined with a local port by two threads); kubectl exec -i of a "
    "program that joins its stdin and stdout with the port, one for each connection; a bare "
    "websocket (aiohttp, v4.channel.k8s.io) for each connection, with no frames and nothing that "
    "could be resumed; gra: streams of one session, through the agent; and the pod's IP itself."
)


async def _stalled(served: Served, client: Helper, sizes: Sizes) -> Table:
    rows = []
    for up in (False, True):
        values = {}
        for way in _STALLED:
            async with routes_to(served, [way]) as routes:
                values[way] = Summary.of([await _growth(client, routes[way], up, sizes)], "MiB")
        direction = "to" if up else "from"
        rows.append(Row(f"{direction} the pod", values, [Bar(GRA, _STALLED_LIMIT)]))
    return Table(
        "Memory of the client against a stalled reader",
        f"{sizes.stalled / 1e9:.2f} GB are sent to a reader that reads nothing for "
        f"{sizes.stall_seconds:g} s: by how much the RSS of the process that carries it grows.",
        rows,
    )


async def _growth(client: Helper, route: PodRoute, up: bool, sizes: Sizes) -> float:
    # What a first connection costs is not what is asked for.
    await client.ask("ping", address=route.address, count=1, size=_PAYLOAD)
    before = peak = route.memory()
    stalling = asyncio.ensure_future(
        client.ask(
            "stall",
            address=route.address,
            up=up,
            size=sizes.stalled,
            seconds=sizes.stall_seconds,
        )
    )
    while not stalling.done():
        peak = max(peak, route.memory())
        await asyncio.wait((stalling,), timeout=_SAMPLE_EVERY)
    await stalling
    return peak - before


async def measure(places: Places, sizes: Sizes) -> list[Table]:
    """The tables of this benchmark; none where this host can have no test cluster."""
    with place_in_cluster("The tunnel to a pod") as place:
        if place is None:
            return []
        async with server_in_pod(place) as served, python("tests.benchmarks.measuring") as client:
            tables = await _rounds(served, client, sizes)
            tables.append(await _stalled(served, client, sizes))
            tables += await slow_link.measure(places, place, served, sizes)
        tables.append(await pod_runners.measure(place, sizes))
        return tables
