"""The use of CPU is that of the time between two of one's own looks."""

from __future__ import annotations

from gra_provisioner.inspection import _CpuMeter, mount_statuses
from gra_provisioner.runner import MountState


def test_cpu_is_that_since_ones_own_last_look_whoever_else_looks() -> None:
    meter = _CpuMeter()
    # Nothing is known of before, so that it is the agent's own word at first.
    assert meter.read(10.0, {"cpu": 0.25, "cpu_seconds": 4.0}) == 0.25
    # The agent's word is since anybody's look, which may have been a moment before.
    assert meter.read(12.0, {"cpu": 0.0, "cpu_seconds": 7.0}) == 1.5


def test_looks_that_follow_at_once_say_the_same() -> None:
    meter = _CpuMeter()
    meter.read(10.0, {"cpu": None, "cpu_seconds": 4.0})
    assert meter.read(12.0, {"cpu": 9.0, "cpu_seconds": 6.0}) == 1.0
    assert meter.read(12.01, {"cpu": 9.0, "cpu_seconds": 6.01}) == 1.0
    assert meter.read(14.0, {"cpu": 9.0, "cpu_seconds": 6.0}) == 0.0


def test_what_cannot_be_read_is_not_known() -> None:
    assert _CpuMeter().read(10.0, {"cpu": None, "cpu_seconds": None}) is None


def test_what_an_agent_says_of_its_mounts_is_told() -> None:
    told = {
        "id": "0",
        "bucket": "lake",
        "prefix": "",
        "path": "/data/lake",
        "state": "failing",
        "reason": "S3Stuck",
        "message": "It does not answer.",
        "hint": "Wait.",
        "since": 12.5,
    }
    (status,) = mount_statuses([told])
    assert status.state is MountState.FAILING
    assert status.public() == told


def test_an_agent_of_an_earlier_version_has_no_mounts() -> None:
    assert mount_statuses(None) == ()
