"""Logs by the Python service: over links that drop, and for who leaves in the middle."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator

import pytest

from gra_provisioner.errors import RunnerNotFound
from gra_provisioner.logs import LogLine, LogQuery
from gra_provisioner.profiles import load_config
from gra_provisioner.service import RunnerService
from tests.support.cells import finish
from tests.support.cutter import Cutter
from tests.support.kernels import StartedKernel
from tests.support.runners import Runners

pytestmark = pytest.mark.gra_only

_BOUND = 90.0
_STDOUT = LogQuery(follow=True, sources=frozenset({"stdout"}))
# Some of these share their time, and at this rate a connection is rarely cut between two.
_COUNT = """
import os, time
for number in range({lines}):
    os.write(1, b"line %d\\n" % (number // 2))
    if number % 20 == 0:
        time.sleep({pause} * 20)
os.write(1, b"that was all\\n")
"""


@pytest.fixture
async def service() -> AsyncIterator[RunnerService]:
    async with RunnerService.from_config(load_config(os.environ)) as service:
        yield service


async def _counted(service: RunnerService) -> list[str]:
    """The numbered lines of the only runner, read until it has said that those were all."""

    async def read() -> list[str]:
        found = []
        async with contextlib.aclosing(service.logs(["runner-1"], _STDOUT)) as lines:
            async for line in lines:
                if line.text == "that was all":
                    return found
                if line.text.startswith("line "):
                    found.append(line.text)
        raise AssertionError(f"it ended after {found[-1:]}")

    return await asyncio.wait_for(read(), _BOUND)


def _written(lines: int) -> list[str]:
    return [f"line {number // 2}" for number in range(lines)]


@pytest.mark.timeout(300)
async def test_a_log_that_is_followed_is_whole_though_its_link_drops_again_and_again(
    network: list[Cutter], kernel: StartedKernel, service: RunnerService
) -> None:
    reading = asyncio.create_task(_counted(service))
    msg_id = kernel.client.execute(_COUNT.format(lines=12_000, pause=0.0005))
    for _ in range(12):
        await asyncio.sleep(0.5)
        network[0].cut()

    assert await reading == _written(12_000)
    assert (await asyncio.to_thread(finish, kernel.client, msg_id)).status == "ok"


@pytest.mark.timeout(300)
async def test_a_log_that_is_followed_goes_on_when_the_cluster_is_back(
    network: list[Cutter], kernel: StartedKernel, service: RunnerService
) -> None:
    reading = asyncio.create_task(_counted(service))
    msg_id = kernel.client.execute(_COUNT.format(lines=2000, pause=0.002))
    await asyncio.sleep(1)
    network[0].refuse()
    await asyncio.sleep(4)
    network[0].heal()

    assert await reading == _written(2000)
    assert (await asyncio.to_thread(finish, kernel.client, msg_id)).status == "ok"


async def test_who_leaves_in_the_middle_leaves_nothing_behind(
    kernel: StartedKernel, service: RunnerService
) -> None:
    kernel.run("import os; os.write(1, b'x\\n' * 5000)")
    tasks = asyncio.all_tasks()
    lines = service.logs(["runner-1"], LogQuery(follow=True))
    assert isinstance(await anext(lines), LogLine)
    await lines.aclose()
    assert asyncio.all_tasks() == tasks

    reading = asyncio.create_task(_counted(service))
    await asyncio.sleep(1)
    reading.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await reading
    assert asyncio.all_tasks() == tasks


async def test_an_unknown_runner_is_told_before_the_first_line(
    kernel: StartedKernel, service: RunnerService
) -> None:
    for follow in (False, True):
        with pytest.raises(RunnerNotFound, match="runner-99"):
            await anext(service.logs(["runner-1", "runner-99"], LogQuery(follow=follow)))


async def test_the_log_of_a_runner_that_was_replaced_is_not_that_of_the_next(
    kernel: StartedKernel, service: RunnerService, runners: Runners
) -> None:
    lines = service.logs(["runner-1"], LogQuery(follow=True))
    first = await anext(lines)
    assert first.text.startswith("agent ready")
    await service.delete("runner-1")

    rest = [line async for line in lines]
    assert "ending: " in "\n".join(line.text for line in rest)
    assert not [line for line in rest if line.text.startswith("agent ready")]
