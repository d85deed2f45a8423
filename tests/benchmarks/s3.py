"""What a bucket costs in a pod: files of the mount, fsspec, the S3 server itself; and the start."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jupyter_client.manager import KernelManager

from tests.benchmarks.clusters import place_in_cluster
from tests.benchmarks.figures import Bar, Row, Summary, Table
from tests.benchmarks.options import Sizes
from tests.support.cluster import Cluster
from tests.support.kernels import START_TIMEOUT
from tests.support.places import Places
from tests.support.s3_lab import LAKE, S3Lab, s3_lab, said

_WORK = Path(__file__).with_name("s3_work.py")
_BAR = 1.5
_WITHIN = 1800.0
_WAYS = {"mount": "mount (s3fs)", "fsspec": "fsspec", "server": "the server itself"}


def _work(s3: S3Lab, sizes: Sizes) -> dict[str, dict[str, list[float]]]:
    """Seconds by what was done and by way."""
    for number in range(sizes.s3_rounds + 1):
        folder = s3.server.data / s3.bucket / f"many-{number}"
        folder.mkdir()
        for name in range(sizes.s3_listed):
            (folder / f"{name:06}").touch()
    where = {
        "lake": LAKE,
        "endpoint": s3.server.endpoint,
        "bucket": s3.bucket,
        "key": s3.user.access_key,
        "secret": s3.user.secret_key,
        "rounds": sizes.s3_rounds,
        "size": sizes.s3_volume,
        "listed": sizes.s3_listed,
    }
    with s3.kernel() as kernel:
        code = f"WHERE = {where!r}\n{_WORK.read_text()}"
        result = said(kernel.run(code, timeout=_WITHIN))
    found: dict[str, dict[str, list[float]]] = json.loads(result)
    return found


def _start(name: str) -> float:
    """Seconds from start_kernel to the first result."""
    manager = KernelManager(kernel_name=name)
    begun = time.perf_counter()
    manager.start_kernel()
    client = manager.blocking_client()
    try:
        client.start_channels()
        client.wait_for_ready(timeout=START_TIMEOUT)
        request = client.execute("1+1")
        while client.get_shell_msg(timeout=START_TIMEOUT)["parent_header"]["msg_id"] != request:
            continue
        return time.perf_counter() - begun
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def _starts(s3: S3Lab, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds of starts with a mount, and without."""
    config: dict[str, Any] = s3.config()
    plain = {name: value for name, value in config.items() if "s3" not in name}
    plain.pop("allow_privileged_sidecar")
    names = (s3.lab.kernelspec_for(config), s3.lab.kernelspec_for(plain))
    found: Mapping[str, list[float]] = {name: [] for name in names}
    for number in range(rounds + 1):
        for name in names if number % 2 else reversed(names):
            seconds = _start(name)
            if number:
                found[name].append(seconds)
    return found[names[0]], found[names[1]]


def _speeds(kind: str, samples: Mapping[str, Sequence[float]], size: int) -> list[Row]:
    rows = []
    for way, label in _WAYS.items():
        speeds = [size / seconds / 1e6 for seconds in samples[way]]
        server = [size / seconds / 1e6 for seconds in samples["server"]]
        values = {"speed": Summary.of(speeds, "MB/s")}
        if way != "server":
            values["of the server's"] = Summary.ratio(speeds, server)
        rows.append(Row(f"{kind}: {label}", values))
    return rows


def _tables(
    work: Mapping[str, Mapping[str, Sequence[float]]],
    starts: tuple[Sequence[float], Sequence[float]],
    sizes: Sizes,
) -> list[Table]:
    mebibytes = sizes.s3_volume >> 20
    listings = [
        Row(label, {"time": Summary.of([1000 * one for one in work["list"][way]], "ms")})
        for way, label in _WAYS.items()
    ]
    more = [a - b for a, b in zip(*starts, strict=True)]
    values = {
        "with a mount": Summary.of(starts[0], "s"),
        "without": Summary.of(starts[1], "s"),
        "more": Summary.of(more, "s"),
    }
    return [
        Table(
            "Files of a bucket",
            f"A file of {mebibytes} MiB from a kernel in a pod to an S3 server (versitygw) on the "
            "same node and back: written to the mount and closed, by fsspec's s3fs, and as one "
            f"request to the server (botocore). {sizes.s3_rounds} rounds after one to warm up; "
            "each reads a file that nobody has read before.",
            [
                *_speeds("write", work["write"], sizes.s3_volume),
                *_speeds("read", work["read"], sizes.s3_volume),
            ],
        ),
        Table(
            "Listing of a bucket",
            f"The names in a folder of {sizes.s3_listed} files that was not listed before.",
            listings,
        ),
        Table(
            "Start with a bucket",
            "start_kernel to the first result, of the same image, with one bucket mounted by the "
            f"sidecar and without any. {len(starts[0])} rounds after one to warm up.",
            [Row("start to first result", values, [Bar("more", _BAR)])],
        ),
    ]


def _measure(cluster: Cluster, sizes: Sizes) -> list[Table]:
    with s3_lab(cluster) as s3:
        work = _work(s3, sizes)
        return _tables(work, _starts(s3, sizes.s3_starts), sizes)


async def measure(places: Places, sizes: Sizes) -> list[Table]:
    """The tables of this benchmark; none where there is no cluster."""
    with place_in_cluster("a bucket in a pod") as place:
        if place is None:
            return []
        return await asyncio.to_thread(_measure, place.cluster, sizes)
