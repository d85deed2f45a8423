"""Finding, counting and ending processes, by what they are and never by name."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.support.waiting import until

_GONE = (psutil.NoSuchProcess, psutil.ZombieProcess)


def is_running(pid: int) -> bool:
    """Whether a process of that id exists and is no zombie."""
    try:
        return _is_alive(psutil.Process(pid))
    except psutil.NoSuchProcess:
        return False


def until_ended(pid: int, what: str, timeout: float = 30.0) -> None:
    """Wait for the end of a process that ends by itself.  ``what`` names it for the error."""
    until(lambda: not is_running(pid), f"{what} (pid {pid}) to end", timeout)


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except _GONE:
        return False


def describe(process: psutil.Process) -> str:
    """The process's id and arguments, for a person."""
    return f"pid {process.pid}: {' '.join(_arguments(process)) or 'ended'}"


def _arguments(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except (*_GONE, psutil.AccessDenied):
        return []


def _belongs_to(process: psutil.Process, folder: str) -> bool:
    try:
        if folder in process.cwd() or any(folder in word for word in process.cmdline()):
            return True
        return any(folder in value for value in process.environ().values())
    except (*_GONE, psutil.AccessDenied):
        return False


def processes_of(folder: Path) -> list[psutil.Process]:
    """The live processes that name ``folder`` in their arguments, environment or directory.

    Neither the calling process nor its ancestors are among them.
    """
    me = psutil.Process()
    mine = {me.pid, *(parent.pid for parent in me.parents())}
    return [
        process
        for process in psutil.process_iter()
        if process.pid not in mine and _is_alive(process) and _belongs_to(process, str(folder))
    ]


def live_children() -> list[psutil.Process]:
    """All descendants of this process that have not ended."""
    return [child for child in psutil.Process().children(recursive=True) if _is_alive(child)]


def kill_all(processes: Iterable[psutil.Process]) -> None:
    """Kill exactly these.  psutil refuses where an id was used again."""
    for process in processes:
        with contextlib.suppress(*_GONE):
            process.kill()


def command_lines() -> dict[int, str]:
    """The arguments of every process that can be read, by id."""
    return {
        process.pid: "\0".join(arguments)
        for process in psutil.process_iter()
        if (arguments := _arguments(process))
    }


@dataclass(frozen=True)
class Footprint:
    """What this process holds, to compare before and after."""

    children: int
    descriptors: int
    threads: int

    @classmethod
    def now(cls) -> Footprint:
        return cls(
            children=len(live_children()),
            descriptors=sum(1 for _ in Path("/proc/self/fd").iterdir()),
            threads=sum(1 for _ in Path("/proc/self/task").iterdir()),
        )


def threads_named(prefix: str) -> list[threading.Thread]:
    """The live threads whose name begins with ``prefix``."""
    return [thread for thread in threading.enumerate() if thread.name.startswith(prefix)]
