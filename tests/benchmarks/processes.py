"""Processes of a benchmark that are asked and answer in lines of JSON, and what they use."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[2]

# No single measurement takes as long.
_ANSWER_WITHIN = 300.0
_END_WITHIN = 10.0
# Which of a process's clocks: include/linux/posix-timers_types.h.
_CPUCLOCK_SCHED = 2


class Helper:
    """A running process; ``name`` is for errors."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.pid = process.pid
        self._name = name
        self._process = process

    async def ask(self, do: str, **arguments: Any) -> Any:
        """Send ``{"do": …}`` with the arguments and wait for the answer."""
        if self._process.stdin is None:
            raise RuntimeError(f"{self._name} has no stdin")
        self._process.stdin.write(json.dumps({"do": do, **arguments}).encode() + b"\n")
        return await self.read(do)

    async def read(self, what: str = "to be ready") -> Any:
        """The next line, a JSON value.  Raises RuntimeError if none comes."""
        return json.loads(await self.line(what))

    async def line(self, what: str = "to be ready") -> str:
        """The next line.  Raises RuntimeError if none comes."""
        if self._process.stdout is None:
            raise RuntimeError(f"{self._name} has no stdout")
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), _ANSWER_WITHIN)
        except asyncio.TimeoutError:
            raise RuntimeError(f"waited {_ANSWER_WITHIN:g} s for {self._name}: {what}") from None
        if not line:
            raise RuntimeError(f"{self._name} ended instead of an answer: {what}")
        text: str = line.decode()
        return text


@asynccontextmanager
async def python(
    module: str,
    *arguments: str,
    own_session: bool = False,
    quiet: bool = False,
    prefix: Sequence[str] = (),
) -> AsyncIterator[Helper]:
    """Run ``python -m MODULE ARGUMENTS`` in the repository; it is ended at the end.

    ``prefix`` has the words of a command that runs it somewhere else, under the same process id.
    ``own_session`` detaches it from this one, as an agent is: Linux shares out the CPU by session.
    """
    command = [*prefix, sys.executable, "-m", module, *arguments]
    async with running(command, module, own_session=own_session, quiet=quiet) as helper:
        yield helper


@asynccontextmanager
async def running(
    command: Sequence[str], name: str, *, own_session: bool = False, quiet: bool = False
) -> AsyncIterator[Helper]:
    """Run a command in the repository; it is ended at the end.  ``name`` is for errors.

    What a ``quiet`` one says on stderr is not shown.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL if quiet else None,
        limit=1 << 24,
        start_new_session=own_session,
    )
    try:
        yield Helper(name, process)
    finally:
        if process.returncode is None:
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), _END_WITHIN)
        except asyncio.TimeoutError:
            process.kill()
            await process.wait()


def cpu_of_process(pid: int) -> float:
    """CPU seconds that a process has used."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def cpu_of_family(pid: int) -> float:
    """CPU seconds that a process and those children of it that have ended have used.

    The process's own to the nanosecond (Linux; its clock as clock_getcpuclockid(3) names it),
    theirs in ticks.
    """
    times = psutil.Process(pid).cpu_times()
    clock = (~pid << 3) | _CPUCLOCK_SCHED
    return time.clock_gettime(clock) + float(times.children_user + times.children_system)


def cpu_of_thread(name: str) -> float:
    """CPU seconds that this process's thread of that name has used."""
    id = next(thread.native_id for thread in threading.enumerate() if thread.name == name)
    used = next(thread for thread in psutil.Process().threads() if thread.id == id)
    return float(used.user_time + used.system_time)


def memory(pid: int) -> tuple[float, float]:
    """RSS and PSS of a process in MiB.  Where there is no PSS, the RSS takes its place."""
    info = psutil.Process(pid).memory_full_info()
    return info.rss / 2**20, getattr(info, "pss", info.rss) / 2**20
