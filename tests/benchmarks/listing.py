"""How long a list of thousands of runners takes: by REST, on the command line, and in a page."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gra_provisioner.backends.kubernetes.client import Client
from tests.benchmarks import panel
from tests.benchmarks.clusters import Place, place_in_cluster
from tests.benchmarks.figures import Bar, Row, Summary, Table
from tests.benchmarks.options import Sizes
from tests.support.fake_pods import api_client, make_fake_pods, remove_all_pods
from tests.support.places import Places
from tests.support.server import JupyterServer, jupyter_server

_REST_BAR = 200.0
_FIRST_ROW_BAR = 1000.0
_LIST = [sys.executable, "-m", "gra_provisioner", "list", "--all"]


@contextmanager
def _environment(place: Place) -> Iterator[None]:
    mine = {"GRA_KUBECONFIG": place.kubeconfig, "GRA_NAMESPACE": place.namespace}
    os.environ.update(mine)
    try:
        yield
    finally:
        for name in mine:
            del os.environ[name]


async def _command() -> tuple[float, float]:
    """Milliseconds until the first row was there, and until the last."""
    started = time.perf_counter()
    process = await asyncio.create_subprocess_exec(*_LIST, stdout=asyncio.subprocess.PIPE)
    if process.stdout is None:
        raise RuntimeError("the command has no stdout")
    titles, row = await process.stdout.readline(), await process.stdout.readline()
    first = time.perf_counter() - started
    await process.stdout.read()
    if await process.wait() or not (titles.startswith(b"NAME") and row.startswith(b"runner-")):
        raise RuntimeError(f"gra list ended with {process.returncode}: {row!r}")
    return first * 1000, (time.perf_counter() - started) * 1000


def _request(server: JupyterServer, count: int) -> float:
    """Milliseconds from the request for all runners until the whole answer is there."""
    started = time.perf_counter()
    answer = server.request("GET", "gra/api/runners?inspect=false")
    taken = (time.perf_counter() - started) * 1000
    answer.raise_for_status()
    if len(answer.json()["runners"]) != count:
        raise RuntimeError(f"the server lists {len(answer.json()['runners'])} runners")
    return taken


async def _look(
    places: Places, place: Place, sizes: Sizes
) -> tuple[list[tuple[float, float]], float, list[float]]:
    """Times of commands (first row, last row), of the first request, of the others."""
    with _environment(place):
        commands = [await _command() for _ in range(sizes.list_rounds)]
        with jupyter_server(places) as server:
            # The first has the server ask the cluster, and keep the answer up to date.
            cold = await asyncio.to_thread(_request, server, sizes.listed)
            warm = [
                await asyncio.to_thread(_request, server, sizes.listed)
                for _ in range(sizes.list_rounds)
            ]
    return commands, cold, warm


def _remover(client: Client) -> Callable[[], object]:
    """Removes all pods, from another thread."""
    loop = asyncio.get_running_loop()
    return lambda: asyncio.run_coroutine_threadsafe(remove_all_pods(client), loop).result()


async def measure(places: Places, sizes: Sizes) -> list[Table]:
    """The tables of this benchmark; none where there is no cluster."""
    with place_in_cluster("a list of many runners") as place:
        if place is None:
            return []
        async with api_client(place.cluster.kubeconfig, place.namespace) as client:
            await make_fake_pods(client, range(1, sizes.listed + 1))
            try:
                commands, cold, warm = await _look(places, place, sizes)
                in_page = await asyncio.to_thread(panel.look, place, sizes, _remover(client))
            finally:
                await remove_all_pods(client)
    rows = [
        Row("REST, from the cache", {"time": Summary.of(warm, "ms")}, [Bar("time", _REST_BAR)]),
        Row("REST, the first time", {"time": Summary.of([cold], "ms")}, []),
        Row(
            "gra list, the first row",
            {"time": Summary.of([first for first, _ in commands], "ms")},
            [Bar("time", _FIRST_ROW_BAR)],
        ),
        Row(
            "gra list, all rows",
            {"time": Summary.of([last for _, last in commands], "ms")},
            [],
        ),
    ]
    return [
        Table(
            "A list of many runners",
            f"{sizes.listed:,} pods of the real API server that no node runs. From the request, or "
            "the start of the process, to the last byte of the answer, or to the row.",
            rows,
        ),
        *in_page,
    ]
