"""What is known of a launch that failed is kept, as its pod is gone when somebody asks; so is how
much memory there was where it ran out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from gra_provisioner.errors import RunnerStartError
from gra_provisioner.profiles import load_config, resolve
from gra_provisioner.service import RunnerService, labels_of_this_process
from tests.support.cluster import Cluster
from tests.support.cluster_lab import Lab, kernel_on, lab_on
from tests.support.waiting import until

_ALLOCATES = "kept = []\nwhile True: kept.append(bytearray(1 << 20))"


@pytest.fixture
def lab(cluster: Cluster, namespace: str) -> Iterator[Lab]:
    with lab_on(cluster, namespace) as lab:
        yield lab


async def _failure(**settings: Any) -> RunnerStartError:
    config = load_config(os.environ)
    async with RunnerService.from_config(config) as service:
        with pytest.raises(RunnerStartError) as failed:
            await service.start(resolve(config, settings), labels_of_this_process())
    return failed.value


async def test_a_failed_launch_keeps_what_the_cluster_said(lab: Lab) -> None:
    error = await _failure(image="localhost/gra-test/none:1")
    events = error.details["events"]
    assert error.details["runner_uid"]
    reasons = [event["reason"] for event in events]
    assert reasons[0] == "Scheduled"
    assert "ErrImageNeverPull" in reasons
    assert {event["about"] for event in events} == {"Pod/runner-1"}
    assert error.details["log"] == []


async def test_a_failed_launch_keeps_the_last_lines(lab: Lab) -> None:
    # It knows none of the agent's options.
    error = await _failure(pod={"python": "cat"})
    assert any("invalid option" in line for line in error.details["log"])


def test_how_much_memory_there_was_is_known_where_it_ran_out(lab: Lab) -> None:
    with kernel_on() as kernel:
        kernel.client.execute(_ALLOCATES)
        end = until(lambda: kernel.manager.provisioner.kernel_exit, "the kernel to be killed", 60)

    assert end.reason == "OutOfMemory"
    assert end.memory["limit"] == 256 << 20
    assert (200 << 20) < end.memory["used"] <= end.memory["limit"]
