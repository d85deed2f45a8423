"""How long a user waits from picking a kernel to the first result."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

from jupyter_client.manager import AsyncKernelManager

from tests.benchmarks.figures import Bar, Row, Summary, Table
from tests.benchmarks.options import Sizes
from tests.support.places import Places

_WITHIN = 60.0
_KERNELS = ("python3", "gra")
_LIMIT = 1.15


@dataclass(frozen=True)
class _Launch:
    """Seconds of one launch; ``phases`` are gra's own."""

    started: float
    ready: float
    result: float
    phases: tuple[float, ...]

    @property
    def total(self) -> float:
        return self.started + self.ready + self.result


class _Recorder(logging.Handler):
    """Notes when gra logs that a phase begins."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.times: list[float] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.times.append(time.perf_counter())


@contextmanager
def _phases() -> Iterator[_Recorder]:
    logger = logging.getLogger("gra_provisioner")
    recorder, level = _Recorder(), logger.level
    logger.addHandler(recorder)
    logger.setLevel(logging.INFO)
    try:
        yield recorder
    finally:
        logger.setLevel(level)
        logger.removeHandler(recorder)


async def _first_result(client: Any) -> None:
    request = client.execute("1+1")
    while True:
        reply = await client.get_shell_msg(timeout=_WITHIN)
        if reply["parent_header"].get("msg_id") == request:
            return


async def _launch(kernel: str, said: IO[str]) -> _Launch:
    manager = AsyncKernelManager(kernel_name=kernel)
    with _phases() as recorder:
        begin = time.perf_counter()
        await manager.start_kernel(stderr=said)
        started = time.perf_counter()
    client = manager.client()
    try:
        client.start_channels()
        await client.wait_for_ready(timeout=_WITHIN)
        ready = time.perf_counter()
        await _first_result(client)
        result = time.perf_counter()
    finally:
        client.stop_channels()
        await manager.shutdown_kernel(now=True)
    marks = [begin, *recorder.times]
    phases = tuple(after - before for before, after in itertools.pairwise(marks))
    return _Launch(started - begin, ready - started, result - ready, phases)


async def measure(places: Places, sizes: Sizes) -> list[Table]:
    """The tables of this benchmark."""
    runs: dict[str, list[_Launch]] = {kernel: [] for kernel in _KERNELS}
    with (places.work / "kernels.log").open("w") as said:
        for kernel in _KERNELS:
            # Files are read and bytecode is there from now on.
            await _launch(kernel, said)
        for number in range(sizes.launch_rounds):
            for kernel in _KERNELS if number % 2 else reversed(_KERNELS):
                runs[kernel].append(await _launch(kernel, said))
                # What ends in the background must not weigh on the next launch.
                await asyncio.sleep(0.2)
    return [_totals(runs), _breakdown(runs["gra"], runs["python3"])]


def _totals(runs: dict[str, list[_Launch]]) -> Table:
    totals = {kernel: [one.total for one in runs[kernel]] for kernel in _KERNELS}
    values = {kernel: Summary.of(totals[kernel], "s") for kernel in _KERNELS}
    values["gra / python3"] = Summary.ratio(totals["gra"], totals["python3"])
    return Table(
        "Launch to first result",
        "AsyncKernelManager.start_kernel, client.wait_for_ready, and the reply to `1+1`: the "
        "kernel `gra` (agent, tunnel and ipykernel, all started for it) against the kernel "
        "`python3` (the same ipykernel by jupyter_client's LocalProvisioner). "
        f"{len(totals['gra'])} rounds after one to warm up.",
        [Row("launch to first result", values, [Bar("gra / python3", _LIMIT)])],
    )


def _breakdown(gra: list[_Launch], local: list[_Launch]) -> Table:
    names = (
        "configuration, local ports",
        "agent started and dialled",
        "kernel started, until it listens",
    )
    rows = [
        Row(name, {"gra": Summary.of([1000 * one.phases[index] for one in gra], "ms")})
        for index, name in enumerate(names)
    ]
    for name, label in (
        ("started", "start_kernel, all of it"),
        ("ready", "wait_for_ready"),
        ("result", "first result"),
    ):
        values = {
            kernel: Summary.of([1000 * getattr(one, name) for one in runs], "ms")
            for kernel, runs in (("gra", gra), ("python3", local))
        }
        rows.append(Row(label, values))
    return Table(
        "Phases of a launch",
        "start_kernel of `python3` returns once the process is there, that of `gra` once the "
        "kernel listens; so the two share the time until then differently.",
        rows,
    )
