"""Looking at runners again and again, as pages do: what it costs, and that it tells what is."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

import pytest

from gra_provisioner import inspection
from gra_provisioner.profiles import load_config, resolve
from gra_provisioner.runner import KernelState, Runner, RunnerStatus
from gra_provisioner.service import RunnerService, labels_of_this_process
from tests.support.cutter import Cutter
from tests.support.runners import Runners
from tests.support.waiting import until_async

pytestmark = pytest.mark.gra_only


class Dials:
    """Counts the connections that a service makes to agents."""

    def __init__(self, service: RunnerService, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self._dial = service._backend.dial
        monkeypatch.setattr(service._backend, "dial", self)

    async def __call__(self, *arguments: object, **options: object) -> asyncio.Transport:
        self.count += 1
        return await self._dial(*arguments, **options)  # type: ignore[arg-type]


@pytest.fixture
async def service(network: list[Cutter], runners: Runners) -> AsyncIterator[RunnerService]:
    """Behind a network that can be cut; its runners are gone at the end."""
    async with RunnerService.from_config(load_config(os.environ)) as service:
        yield service
        for runner in await service.list(inspect=False):
            await service.delete(runner, grace=0.0)


async def _runner(service: RunnerService) -> Runner:
    spec = resolve(load_config(os.environ), {})
    made = await service.start(spec, labels_of_this_process())
    return await service.get(made.name, inspect=False)


async def test_looks_that_come_again_and_again_share_one_connection(
    service: RunnerService, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = await _runner(service)
    dials = Dials(service, monkeypatch)

    pages = await asyncio.gather(*(service.inspect([runner]) for _ in range(20)))
    for (seen,) in pages:
        assert (seen.kernel, seen.clients) == (KernelState.IDLE, 0)
    for _ in range(5):
        assert (await service.get(runner.name)).kernel is KernelState.IDLE

    assert dials.count == 1


async def test_a_page_that_gives_up_takes_no_look_from_another(service: RunnerService) -> None:
    runner = await _runner(service)
    impatient = asyncio.create_task(service.inspect([runner], max_age=0.0))
    patient = asyncio.create_task(service.inspect([runner], max_age=0.0))
    await asyncio.sleep(0)
    impatient.cancel()

    (seen,) = await patient
    assert seen.kernel is KernelState.IDLE


async def test_a_connection_that_was_lost_meanwhile_is_made_anew(
    network: list[Cutter], service: RunnerService, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = await _runner(service)
    dials = Dials(service, monkeypatch)
    await service.get(runner.name)
    network[0].cut()

    assert (await service.get(runner.name)).kernel is KernelState.IDLE
    assert dials.count >= 2


async def test_a_runner_that_has_ended_is_not_shown_as_it_was(service: RunnerService) -> None:
    runner = await _runner(service)
    (seen,) = await service.inspect([runner])
    assert seen.kernel is KernelState.IDLE
    await service.delete(runner, grace=0.0)

    (gone,) = await service.inspect([runner], max_age=0.0)
    assert gone.status is RunnerStatus.ENDED


async def test_connections_end_when_nobody_looks_and_are_few(
    service: RunnerService, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = await _runner(service), await _runner(service)
    dials = Dials(service, monkeypatch)
    monkeypatch.setattr(inspection, "_MOST_KEPT", 1)
    for _ in range(2):
        await service.inspect([first, second], max_age=0.0)
    assert dials.count > 2

    monkeypatch.setattr(inspection, "_KEPT_FOR", 0.1)
    await service.get(second.name)
    await until_async(lambda: not service._inspector._views, "the connections to be closed")
    assert (await service.get(second.name)).kernel is KernelState.IDLE
