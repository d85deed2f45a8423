"""How long ``gra`` takes to answer where nothing needs to be asked of a runner."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence

from tests.benchmarks.figures import Bar, Row, Summary, Table
from tests.benchmarks.options import Sizes
from tests.support.places import Places

_BAR = 150.0
_GRA = [sys.executable, "-m", "gra_provisioner"]
_NOTHING = [sys.executable, "-c", "pass"]
_COMMANDS = {"gra --help": [*_GRA, "--help"], "gra version": [*_GRA, "version"]}


async def _milliseconds(command: Sequence[str]) -> float:
    """From the start of the command's process to its end."""
    started = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    if await process.wait():
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    return (time.perf_counter() - started) * 1000


async def measure(_places: Places, sizes: Sizes) -> list[Table]:
    """The tables of this benchmark."""
    commands = {"python -c pass": _NOTHING, **_COMMANDS}
    samples: dict[str, list[float]] = {label: [] for label in commands}
    for command in commands.values():
        # So that no round pays for compiling modules.
        await _milliseconds(command)
    for _ in range(sizes.command_rounds):
        for label, command in commands.items():
            samples[label].append(await _milliseconds(command))
    nothing = samples["python -c pass"]
    rows = [
        Row(
            label,
            {"time": Summary.of(taken, "ms"), "ratio": Summary.ratio(taken, nothing)},
            [Bar("time", _BAR)],
        )
        for label, taken in samples.items()
        if label in _COMMANDS
    ]
    return [
        Table(
            "Command line",
            "From the start of a process to its end. The ratio is to the interpreter that does "
            "nothing (python -c pass).",
            rows,
        )
    ]
