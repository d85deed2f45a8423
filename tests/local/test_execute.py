"""Commands in a runner by the Python service: over links that drop, and many at once."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable

import pytest

from gra_provisioner.errors import GraError, Unreachable
from gra_provisioner.profiles import load_config, resolve
from gra_provisioner.service import RunnerService, labels_of_this_process
from gra_provisioner.tunnel.process import RemoteProcess
from tests.support.cutter import Cutter
from tests.support.runners import Runners

pytestmark = pytest.mark.gra_only

_BOUND = 60.0
_NUMBERS = b"".join(b"%d\n" % number for number in range(1, 200_001))


@pytest.fixture
async def service(network: list[Cutter], runners: Runners) -> AsyncIterator[RunnerService]:
    """With one runner, runner-1, behind a bad network."""
    config = load_config(os.environ)
    async with RunnerService.from_config(config) as service:
        runner = await service.create(resolve(config, {}), labels_of_this_process())
        try:
            yield service
        finally:
            await service.delete(runner)


async def test_nothing_is_lost_in_either_direction_on_a_link_that_drops(
    network: list[Cutter], service: RunnerService
) -> None:
    network[0].cut_after(*[100_000] * 8)

    done = await service.execute("runner-1", ["cat"], stdin=_NUMBERS, limit=1 << 24)

    assert (done.ended.exit_code, done.stderr.size) == (0, 0)
    assert done.stdout.head + done.stdout.tail == _NUMBERS
    assert network[0].cuts_left == 0


async def test_fifty_commands_in_one_runner_keep_to_themselves(service: RunnerService) -> None:
    async def one(number: int) -> bytes:
        script = f"read word; sleep 0.2; echo {number} $word"
        done = await service.execute("runner-1", ["sh", "-c", script], stdin=b"%d\n" % -number)
        return done.stdout.head

    answers = await asyncio.wait_for(asyncio.gather(*map(one, range(50))), _BOUND)

    assert answers == [b"%d %d\n" % (number, -number) for number in range(50)]


async def test_a_caller_that_leaves_ends_the_command(service: RunnerService) -> None:
    async with service.process("runner-1", ["sh", "-c", "echo $$; sleep 1000"]) as process:
        said = await process.read()
        assert said is not None
        alive = ["sh", "-c", f"kill -0 {said.data.decode()}"]
        assert (await service.execute("runner-1", alive)).ended.exit_code == 0

    await _until_gone(service, said.data.decode())


async def test_commands_that_never_stop_writing_are_hung_up_on(service: RunnerService) -> None:
    async def one() -> str:
        script = ["sh", "-c", "echo $$; exec yes"]
        async with service.process("runner-1", script) as process:
            said = await process.read()
            assert said is not None
            return said.data.split(b"\n")[0].decode()

    for pid in await asyncio.gather(*(one() for _ in range(10))):
        await _until_gone(service, pid)


async def test_a_command_whose_client_is_cut_off_ends_after_a_while(
    runners: Runners, service: RunnerService
) -> None:
    links: list[asyncio.Transport] = []
    is_cut = False
    async with runners.dialling("runner-1") as dial:

        async def dial_until_cut(factory: Callable[[], asyncio.Protocol]) -> asyncio.Transport:
            if is_cut:
                raise Unreachable("The network is gone.")
            links.append(await dial(factory))
            return links[-1]

        process = RemoteProcess(dial_until_cut, keep=1.0)
        await process.start(["sh", "-c", "echo $$; sleep 1000"])
        said = await process.read()
        assert said is not None
        is_cut = True
        for link in links:
            link.abort()

        await _until_gone(service, said.data.decode())
        await process.close()


async def _until_gone(service: RunnerService, pid: str) -> None:
    alive = ["sh", "-c", f"kill -0 {pid}"]
    deadline = asyncio.get_running_loop().time() + _BOUND
    while (await service.execute("runner-1", alive)).ended.exit_code == 0:
        assert asyncio.get_running_loop().time() < deadline, "the command goes on"


async def test_whoever_does_not_read_holds_the_command_up_not_the_runner(
    service: RunnerService,
) -> None:
    async with service.process("runner-1", ["sh", "-c", "yes | head -c 50000000"]) as slow:
        first = await slow.read()
        assert first is not None
        assert (await service.execute("runner-1", ["echo", "quick"])).stdout.head == b"quick\n"

        size = len(first.data)
        while (piece := await slow.read()) is not None:
            size += len(piece.data)
        assert size == 50_000_000
        assert (await slow.wait()).code == 0


async def test_what_cannot_be_started_is_told(service: RunnerService) -> None:
    with pytest.raises(GraError) as raised:
        await service.execute("runner-1", ["true"], cwd="/no/such/folder")
    assert raised.value.code == "WorkingDirectoryMissing"
