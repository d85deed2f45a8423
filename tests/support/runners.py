"""The runners of a test, whatever they are, as their host or cluster sees them.

What a test says about processes, files and the network of a runner goes through here, so that it
holds for local processes and for pods alike.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
)
from pathlib import PurePosixPath
from typing import ClassVar

import pytest

from gra_provisioner.tunnel.client import Tunnel
from tests.support.cutter import Cutter, before_each_local_runner, dial_around
from tests.support.places import Places
from tests.support.processes import describe, is_running, kill_all, processes_of
from tests.support.waiting import WaitTimeout, until

Dial = Callable[[Callable[[], asyncio.Protocol]], Awaitable[asyncio.Transport]]

_ENDED = 30.0
_SHELL_BOUND = 120.0

# Tenths of a second; inside of the runner, so that waiting costs nothing.
_UNTIL_EXISTS = """
for _ in $(seq "$2"); do
    if [ -e "$1" ]; then echo yes; break; fi
    sleep 0.1
done
"""


class Runners(ABC):
    """The runners of one test."""

    backend: ClassVar[str]
    #: Where kernels start that are told no folder, if that is nowhere on this machine.
    home: ClassVar[PurePosixPath | None]
    #: How many connections a client keeps up all the time.
    diallers: ClassVar[int]

    def __init__(self, places: Places) -> None:
        self.places = places

    @property
    def work(self) -> PurePosixPath:
        """A folder in which a kernel may write."""
        return self.home or self.places.work

    def environment(self) -> dict[str, str]:
        """The variables that make gra use this backend: what an administrator would set."""
        return {}

    # -- what there is ----------------------------------------------------------------------

    @abstractmethod
    def uids(self) -> dict[str, str]:
        """The uid of each runner by its name, of those too that have ended but not been deleted."""

    def only(self) -> str:
        """The name of the only runner."""
        (name,) = self.uids()
        return name

    @abstractmethod
    def leftovers(self) -> list[str]:
        """What is there yet of runners and of this test's programs: nothing, at its end."""

    @abstractmethod
    def end(self) -> None:
        """End by force what :meth:`leftovers` names."""

    def until_none(self, what: str, timeout: float = _ENDED) -> None:
        """Wait for all runners to be gone.  ``what`` names them for the error."""
        try:
            until(lambda: not self.leftovers(), f"{what} to be gone", timeout)
        except WaitTimeout as error:
            raise WaitTimeout(f"{what} to be gone; left: {self.leftovers()}", timeout) from error

    @abstractmethod
    def stored(self) -> str:
        """All that the backend has written down of the only runner."""

    @abstractmethod
    def log(self) -> str:
        """What the only runner has written for whoever looks after it."""

    # -- inside of one ----------------------------------------------------------------------

    @property
    @abstractmethod
    def agent_pid(self) -> int:
        """The process id of the only runner's agent, where that runs."""

    @abstractmethod
    def shell(self, script: str, *arguments: object) -> str:
        """What a shell script writes that runs where the only runner does.  It must succeed."""

    @abstractmethod
    def kill(self, pid: int, signum: int = signal.SIGKILL) -> None:
        """Send a signal to a process of the only runner, behind gra's back."""

    @abstractmethod
    def has(self, pid: int) -> bool:
        """Whether a process of the only runner runs.  With the runner it is gone."""

    @abstractmethod
    def commands(self) -> list[str]:
        """The arguments of all programs that run in runners, each as one line."""

    def runs(self, words: str) -> bool:
        """Whether a program that has these words in its arguments runs in a runner."""
        return any(words in line for line in self.commands())

    def until_ended(self, pid: int, what: str, timeout: float = _ENDED) -> None:
        """Wait for the end of a process that ends by itself.  ``what`` names it for the error."""
        until(lambda: not self.has(pid), f"{what} (pid {pid}) to end", timeout)

    def touch(self, name: str) -> None:
        """Make a file in :attr:`work`, for a kernel to find."""
        self.shell('touch "$1"', self.work / name)

    def until_exists(self, name: str, what: str, timeout: float = _ENDED) -> None:
        """Wait for a file that a kernel makes in :attr:`work`.  ``what`` that means."""
        if self.shell(_UNTIL_EXISTS, self.work / name, int(timeout * 10)) != "yes\n":
            raise WaitTimeout(what, timeout)

    def agent_memory(self) -> int:
        """The resident memory of the agent, in bytes."""
        (line,) = (
            line
            for line in self.shell('cat "/proc/$1/status"', self.agent_pid).splitlines()
            if line.startswith("VmRSS:")
        )
        return int(line.split()[1]) * 1024

    # -- the way to one ---------------------------------------------------------------------

    @abstractmethod
    def bad_network(self, monkeypatch: pytest.MonkeyPatch) -> AbstractContextManager[list[Cutter]]:
        """What stands between clients of this process and the runners that it makes meanwhile."""

    @abstractmethod
    def dialling(self, name: str) -> AbstractAsyncContextManager[Dial]:
        """What dials a runner's agent past any bad network, while the block runs."""

    @asynccontextmanager
    async def tunnel(self, name: str) -> AsyncIterator[Tunnel]:
        """A client of a runner that no bad network stops, while the block runs."""
        async with self.dialling(name) as dial:
            tunnel = Tunnel(dial)
            try:
                await tunnel.connect()
                yield tunnel
            finally:
                await tunnel.close()


class LocalRunners(Runners):
    """Supervised processes on this machine."""

    backend = "local"
    home = None
    diallers = 1

    def uids(self) -> dict[str, str]:
        records = self.places.runner_records()
        return {
            folder.name: records.get(folder.name, {}).get("uid", "")
            for folder in self.places.runner_folders()
        }

    def leftovers(self) -> list[str]:
        return [
            *(f"folder {folder}" for folder in self.places.runner_folders()),
            *(describe(process) for process in processes_of(self.places.root)),
        ]

    def end(self) -> None:
        kill_all(processes_of(self.places.root))

    def stored(self) -> str:
        return (self.places.runners / self.only() / "runner.json").read_text()

    def log(self) -> str:
        files = (self.places.runners / self.only()).rglob("*.log")
        return "".join(file.read_text() for file in files)

    @property
    def agent_pid(self) -> int:
        (record,) = self.places.runner_records().values()
        return int(record["agent_pid"])

    def shell(self, script: str, *arguments: object) -> str:
        return subprocess.run(
            ["sh", "-c", script, "sh", *map(str, arguments)],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            timeout=_SHELL_BOUND,
        ).stdout

    def kill(self, pid: int, signum: int = signal.SIGKILL) -> None:
        os.kill(pid, signum)

    def has(self, pid: int) -> bool:
        return is_running(pid)

    def commands(self) -> list[str]:
        return [describe(process) for process in processes_of(self.places.root)]

    def bad_network(self, monkeypatch: pytest.MonkeyPatch) -> AbstractContextManager[list[Cutter]]:
        return before_each_local_runner(monkeypatch)

    @asynccontextmanager
    async def dialling(self, name: str) -> AsyncIterator[Dial]:
        socket = self.places.runners / name / "agent.sock"

        async def dial(factory: Callable[[], asyncio.Protocol]) -> asyncio.Transport:
            return await dial_around(socket, factory)

        yield dial
