"""A link like a user's before the API server: how long output takes, and how soon it recovers."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.benchmarks.clusters import Place
from tests.benchmarks.content import INCOMPRESSIBLE, OUTPUT
from tests.benchmarks.figures import Bar, Row, Summary, Table
from tests.benchmarks.options import Sizes
from tests.benchmarks.pod_routes import GRA, KUBECTL, Served, routes_to
from tests.benchmarks.processes import Helper, python
from tests.support.networks import Network, network
from tests.support.places import Places
from tests.support.toxiproxy import toxiproxy

_MEGABITS = 50.0
# Of one way; a round trip takes twice of it.
_LATENCY_MS = 20
_SOONER = "kubectl / gra"
_WAYS = (KUBECTL, GRA)
_RECOVERS_WITHIN = 2.0
# How long recovery is waited for, and how long all is well before the outage.
_PATIENCE = 20.0
_WELL = 1.0
_BLOCK = 1 << 16


async def measure(places: Places, place: Place, served: Served, sizes: Sizes) -> list[Table]:
    """The tables of this benchmark.  ``served`` is the pod."""
    return [
        await _transfers(places.root / "slow.json", place, served, sizes),
        *await _recovery(places.root / "silent.json", place, served, sizes),
    ]


# -- a slow link -----------------------------------------------------------------------------


async def _transfers(file: Path, place: Place, served: Served, sizes: Sizes) -> Table:
    rows = []
    server = _server_of(_kubeconfig(place))
    with toxiproxy() as toxi:
        proxy = toxi.proxy(f"{server[0]}:{server[1]}")
        behind = _behind(served, file, place, proxy.port)
        with proxy.slow_link(latency=_LATENCY_MS, megabits=_MEGABITS):
            async with python("tests.benchmarks.measuring") as client:
                for label, kind, volume, limit in (
                    ("HTML and JSON", OUTPUT, sizes.link_volume, 3.0),
                    ("incompressible", INCOMPRESSIBLE, sizes.link_volume // 2, 0.97),
                ):
                    seconds: dict[str, list[float]] = {}
                    for way in _WAYS:
                        # A connection is not to profit from what the last one has found out.
                        async with routes_to(behind, [way]) as routes:
                            took = await client.ask(
                                "transfer",
                                address=routes[way].address,
                                up=False,
                                size=volume,
                                streams=1,
                                kind=kind.decode(),
                            )
                            seconds.setdefault(way, []).append(took)
                    values = {way: Summary.of(seconds[way], "s") for way in _WAYS}
                    values[_SOONER] = Summary.ratio(seconds[KUBECTL], seconds[GRA])
                    bars = [Bar(_SOONER, limit, at_least=True)]
                    rows.append(Row(f"{volume / 1e6:g} MB, {label}", values, bars))
    return Table(
        "A slow link",
        f"{_MEGABITS:g} Mbit/s and {2 * _LATENCY_MS} ms (round trip) between client and API "
        "server, by toxiproxy: the time for one connection to bring this much from the pod. HTML "
        "and JSON: tables, records of a chart and a log, as iopub messages; the same bytes in each "
        "run. Incompressible: random bytes.",
        rows,
    )


# -- silence ---------------------------------------------------------------------------------


async def _recovery(file: Path, place: Place, served: Served, sizes: Sizes) -> list[Table]:
    rows = []
    with ExitStack() as stack:
        try:
            apart = stack.enter_context(network())
        except pytest.skip.Exception as why:
            print(f"Recovery is not measured: {why}.", file=sys.stderr)
            return []
        async with _door(apart, _server_of(_kubeconfig(place))) as port:
            behind = _behind(served, file, place, port)
            prefix = apart.command()
            for outage in sizes.outages:
                # A connection that has been through an outage is not what the next one meets.
                async with (
                    routes_to(behind, _WAYS, prefix) as routes,
                    python("tests.benchmarks.measuring", prefix=prefix) as first,
                    python("tests.benchmarks.measuring", prefix=prefix) as second,
                ):
                    clients = dict(zip(_WAYS, (first, second), strict=True))
                    addresses = {way: routes[way].address for way in _WAYS}
                    took = await _outage(apart, port, outage, clients, addresses)
                values = {way: Summary.of([took[way]], "s") for way in _WAYS}
                rows.append(
                    Row(f"after {outage:g} s of silence", values, [Bar(GRA, _RECOVERS_WITHIN)])
                )
    return [
        Table(
            "Recovery",
            "Packets between client and API server are lost (nftables, in a network of their own; "
            "nobody is told): the time from the network's return to the next byte of an echo that "
            "is asked for every 20 ms. Both ways are in the same outage. "
            f"{_PATIENCE:g} s: not within that time.",
            rows,
        )
    ]


async def _outage(
    apart: Network,
    port: int,
    seconds: float,
    clients: Mapping[str, Helper],
    addresses: Mapping[str, tuple[str, int]],
) -> dict[str, float]:
    """Seconds from the network's return to the next byte, by way."""
    beating = {
        way: asyncio.ensure_future(
            client.ask(
                "beat",
                address=addresses[way],
                gap=0.8 * seconds,
                within=_WELL + seconds + _PATIENCE,
            )
        )
        for way, client in clients.items()
    }
    await asyncio.sleep(_WELL)
    with apart.silence(port):
        await asyncio.sleep(seconds)
    returned = time.monotonic()
    heard = {way: await beat for way, beat in beating.items()}
    # Between the packet filter's change and this process's next step a byte may have come.
    return {way: _PATIENCE if at is None else max(0.0, at - returned) for way, at in heard.items()}


@asynccontextmanager
async def _door(apart: Network, server: tuple[str, int]) -> AsyncIterator[int]:
    """A port of the network's 127.0.0.1 that leads to a server outside."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(*server)
        try:
            await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
        finally:
            far_writer.transport.abort()
            writer.transport.abort()

    listener = apart.listener()
    serving = await asyncio.start_server(serve, sock=listener)
    try:
        yield listener.getsockname()[1]
    finally:
        serving.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(_BLOCK):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        # One side was stopped.
        pass
    writer.transport.abort()


# -- the way there ---------------------------------------------------------------------------


def _kubeconfig(place: Place) -> dict[str, Any]:
    words = ("config", "view", "--raw", "--minify", "--flatten", "--output=json")
    config: dict[str, Any] = json.loads(place.cluster.kubectl(*words))
    return config


def _server_of(config: Mapping[str, Any]) -> tuple[str, int]:
    url = urlsplit(config["clusters"][0]["cluster"]["server"])
    return str(url.hostname), url.port or 443


def _behind(served: Served, file: Path, place: Place, port: int) -> Served:
    """The same pod, the API server of which is dialled at a port of 127.0.0.1."""
    config = _kubeconfig(place)
    cluster = config["clusters"][0]["cluster"]
    # The name in the certificate stays that of the server.
    cluster.setdefault("tls-server-name", _server_of(config)[0])
    cluster["server"] = f"https://127.0.0.1:{port}"
    file.touch(mode=0o600)
    file.write_text(json.dumps(config))
    return dataclasses.replace(served, far=dataclasses.replace(served.far, kubeconfig=str(file)))
