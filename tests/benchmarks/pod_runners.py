"""What many open runners cost in memory and threads of the client's process."""

from __future__ import annotations

import json
from collections.abc import Mapping

from tests.benchmarks import processes
from tests.benchmarks.clusters import MODULES_NAME, Place
from tests.benchmarks.figures import Bar, Row, Summary, Table
from tests.benchmarks.options import Sizes

_CLIENT_LIMIT = 1.0
# By the time that this part of them is open, what all have in common is there.
_FIRST_PART = 5


def _one(value: float, unit: str = "MiB") -> Summary:
    return Summary.of([value], unit)


async def open_many(where: Mapping[str, str], count: int) -> list[Row]:
    """The rows for a few runners, for ``count``, and for the difference."""
    async with (
        processes.python("tests.benchmarks.many_runners", json.dumps(where)) as host,
        processes.python("tests.benchmarks.measuring") as client,
    ):
        few = max(1, count // _FIRST_PART)
        found: dict[int, dict[str, float]] = {}
        try:
            for number, more in ((few, few), (count, count - few)):
                for connection in await host.ask("launch", count=more):
                    await client.ask("hold", connection=connection)
                found[number] = await host.ask("look")
        finally:
            await host.ask("delete")
    first, last = found[few], found[count]
    growth = {name: _one((last[name] - first[name]) / (count - few)) for name in ("RSS", "PSS")}
    rows = [
        Row(
            f"{number} open",
            {
                "RSS": _one(found[number]["RSS"]),
                "PSS": _one(found[number]["PSS"]),
                "threads": _one(found[number]["threads"], ""),
            },
        )
        for number in (few, count)
    ]
    threads = last["threads"] - first["threads"]
    rows.append(Row("growth for each further runner", growth, [Bar("RSS", _CLIENT_LIMIT)]))
    rows.append(
        Row("threads for all further runners", {"threads": _one(threads, "")}, [Bar("threads", 0)])
    )
    return rows


async def measure(place: Place, sizes: Sizes) -> Table:
    """The table of runners in pods."""
    where = {
        "kubeconfig": place.kubeconfig,
        "namespace": place.namespace,
        "image": place.cluster.image("python"),
        "modules": MODULES_NAME,
    }
    return Table(
        "Memory of the client with runners in pods",
        f"A process that holds {sizes.pod_runners} runners open that are pods on one node, each "
        "with a kernel's sockets and a ZMQ client connected to all five channels; so each has a "
        "websocket with TLS. Threads: without the pool of helpers of an event loop.",
        await open_many(where, sizes.pod_runners),
    )
