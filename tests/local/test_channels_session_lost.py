"""A client whose session is gone: it was away for too long, or another process has taken it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gra_provisioner.agent import wire
from gra_provisioner.provisioner import GraProvisioner
from tests.support.cells import finish, until_output
from tests.support.cutter import Cutter
from tests.support.kernels import StartedKernel
from tests.support.kernelspecs import KernelSpecs
from tests.support.runners import Runners
from tests.support.waiting import until_async

pytestmark = pytest.mark.gra_only

_AWAY = 3.0


# After the network, so that it is shut down first.
@pytest.fixture
def kernel(
    network: list[Cutter],
    kernelspecs: KernelSpecs,
    start_kernel: Callable[..., StartedKernel],
) -> Iterator[StartedKernel]:
    name = kernelspecs.write("forgetful", config={"ttl": {"orphan": 1}})
    started = start_kernel(name)
    yield started
    started.stop()


async def _be_forgotten(network: Cutter, runners: Runners) -> None:
    """Cut the first client off until the agent has forgotten it; the runner stays."""
    name = runners.only()
    async with runners.tunnel(name) as stays:
        network.refuse()
        await asyncio.sleep(_AWAY)
        # What makes the agent look is that somebody comes or goes.
        async with runners.tunnel(name):
            pass
        network.heal()
        deadline = asyncio.get_running_loop().time() + 30
        while (await stays.request("info"))["clients"] < 2:
            assert asyncio.get_running_loop().time() < deadline, "the first client to come back"
            await asyncio.sleep(0.05)


def test_a_running_cell_says_that_output_was_lost_and_ends(
    kernel: StartedKernel, network: list[Cutter], runners: Runners
) -> None:
    code = f"""
import pathlib, time
print('going', flush=True)
while not pathlib.Path({str(runners.work / "go")!r}).exists(): time.sleep(0.05)
print('done', flush=True)
"""
    msg_id = kernel.client.execute(code)
    until_output(kernel.client, "going")

    asyncio.run(_be_forgotten(network[0], runners))
    until_output(kernel.client, "[gra] Output was lost")
    runners.touch("go")

    cell = finish(kernel.client, msg_id)
    assert (cell.status, cell.text) == ("ok", "done\n")
    assert kernel.run("print(6 * 7)").text == "42\n"


@pytest.mark.same_with_pods("a running cell is the harder case")
def test_a_new_cell_runs_after_the_session_was_lost_while_idle(
    kernel: StartedKernel, network: list[Cutter], runners: Runners
) -> None:
    kernel.run("kept = 41")

    asyncio.run(_be_forgotten(network[0], runners))
    kernel.reconnect()

    cell = kernel.run("print(kept + 1)")
    assert (cell.text, cell.stream("stderr")) == ("42\n", "")


class _Twin:
    """Another process that has this client's session, as a copy of a virtual machine has."""

    def __init__(self, victim: StartedKernel) -> None:
        provisioner = victim.manager.provisioner
        assert isinstance(provisioner, GraProvisioner)
        assert provisioner._kernel is not None
        self._links = provisioner._kernel.tunnel._links
        self.greeted: asyncio.Future[tuple[int, dict[str, Any]]] = asyncio.Future()
        self.frames = bytearray()

    @asynccontextmanager
    async def dialled(
        self, runners: Runners, *, epoch: int
    ) -> AsyncIterator[tuple[int, dict[str, Any]]]:
        """Greet as the client would, whose epoch is that of its last dial and this one's more.

        The link is there while the block runs.
        """
        session = self._links.session
        hello = {**self._links._hello(), "epoch": session.epoch + epoch, "compression": []}
        async with runners.dialling(runners.only()) as dial:
            link = await dial(lambda: _Reader(self))
            try:
                link.write(wire.PREFACE + wire.pack_json(wire.HELLO, hello))
                yield await asyncio.wait_for(self.greeted, 10)
            finally:
                link.abort()


class _Reader(asyncio.Protocol):
    def __init__(self, twin: _Twin) -> None:
        self._twin = twin
        self._greeting = wire.Greeting()

    def data_received(self, data: bytes) -> None:
        if not self._twin.greeted.done():
            found = self._greeting.feed(data)
            if found is None:
                return
            kind, value, data = found
            self._twin.greeted.set_result((kind, value))
        self._twin.frames += data


def test_who_has_a_session_at_an_older_epoch_is_refused_and_gets_nothing(
    kernel: StartedKernel, runners: Runners
) -> None:
    async def steal() -> tuple[int, dict[str, Any], bytes]:
        twin = _Twin(kernel)
        async with twin.dialled(runners, epoch=0) as (kind, value):
            await asyncio.sleep(0.5)
        return kind, value, bytes(twin.frames)

    kernel.run("kept = 41")
    kind, value, frames = asyncio.run(steal())

    assert (kind, value["reason"], frames) == (wire.REJECT, "SessionTaken", b"")
    assert kernel.run("print(kept + 1)").text == "42\n"


def test_of_two_processes_with_one_session_the_later_has_it_and_the_other_is_told(
    kernel: StartedKernel, runners: Runners
) -> None:
    async def steal() -> bytes:
        twin = _Twin(kernel)
        async with twin.dialled(runners, epoch=1000) as (kind, _):
            assert kind == wire.HELLO
            await until_async(lambda: not kernel.manager.is_alive(), "the first to be told")
            cell = finish(kernel.client, asked)
            assert "Another process has resumed this session" in cell.error["evalue"]
            kernel.client.execute("print('of the first')")
            await asyncio.sleep(0.5)
            assert runners.has(pid), "the kernel that the other process has now"
        return bytes(twin.frames)

    pid = kernel.pid()
    asked = kernel.client.execute("import time; print('going', flush=True); time.sleep(1000)")
    until_output(kernel.client, "going")
    frames = asyncio.run(steal())

    assert frames
    assert b"of the first" not in frames
