"""What the cluster says about a runner, of all that it says."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from gra_provisioner.backends.kubernetes.events import last_words, runner_events
from gra_provisioner.runner import RunnerEvent


def _event(kind: str, name: str, uid: str, reason: str, second: int) -> dict[str, Any]:
    time = f"2026-11-21T15:00:{second:02}Z"
    return {
        "metadata": {"name": f"{name}.{second}", "creationTimestamp": time},
        "involvedObject": {"kind": kind, "name": name, "uid": uid},
        "type": "Warning",
        "reason": reason,
        "message": f"{reason}.",
        "source": {"component": "kubelet"},
        "lastTimestamp": time,
        "count": 3,
    }


def test_events_on_the_pod_and_its_claims_come_by_time() -> None:
    events = [
        _event("Pod", "runner-1", "u-1", "FailedMount", 5),
        _event("PersistentVolumeClaim", "data", "c-1", "ProvisioningFailed", 3),
        _event("Pod", "runner-1", "u-1", "FailedScheduling", 1),
        _event("Pod", "runner-1", "u-0", "OfTheOneBefore", 4),
        _event("Pod", "runner-11", "u-1", "OfAnother", 4),
        _event("PersistentVolumeClaim", "other", "c-2", "OfAnotherClaim", 4),
    ]

    told = runner_events("runner-1", "u-1", ["data"], events)

    assert [event.reason for event in told] == [
        "FailedScheduling",
        "ProvisioningFailed",
        "FailedMount",
    ]
    assert told[1] == RunnerEvent(
        told[1].time,
        "Warning",
        "ProvisioningFailed",
        "ProvisioningFailed.",
        3,
        "kubelet",
        "PersistentVolumeClaim/data",
    )


@pytest.mark.parametrize("event", [None, {}, {"involvedObject": {"name": "runner-1"}}])
def test_an_event_may_lack_anything(event: Any) -> None:
    for told in runner_events("runner-1", "u-1", [], [event]):
        assert (told.reason, told.count) == ("", 1)


def _pod(**end: object) -> dict[str, Any]:
    status = {"name": "runner", "state": {"terminated": end}}
    return {"spec": {"containers": [{"name": "runner"}]}, "status": {"containerStatuses": [status]}}


def test_the_last_lines_of_a_container_are_its_own() -> None:
    assert last_words(_pod(reason="Error", message="one\n\ntwo \n")) == ["one", "two"]
    # The agent's word and the runtime's are no lines of a log.
    assert last_words(_pod(reason="Completed", message='{"reason": "Idle"}')) == []
    assert last_words(_pod(reason="StartError", message="exec: no such file")) == []
    assert last_words(None) == []


def test_events_of_one_second_stay_in_the_order_in_which_they_were_made() -> None:
    # The scheduler's have microseconds, the kubelet's whole seconds.
    made = {"Scheduled": 0x188C3A5B7D000000, "Pulled": 0x188C3A5B7D000100}
    second = made["Scheduled"] // 10**9
    events = []
    for reason, nanoseconds in made.items():
        event = _event("Pod", "runner-1", "u-1", reason, 0)
        event["metadata"]["name"] = f"runner-1.{nanoseconds:x}"
        event["count"] = 1
        time = datetime.datetime.fromtimestamp(second, datetime.timezone.utc)
        event["lastTimestamp"] = time.strftime("%Y-%m-%dT%H:%M:%SZ")
        events.append(event)
    del events[0]["lastTimestamp"]
    micros = made["Scheduled"] % 10**9 // 1000
    events[0]["eventTime"] = time.strftime("%Y-%m-%dT%H:%M:%S.") + f"{micros:06}Z"

    told = runner_events("runner-1", "u-1", [], events[::-1])

    assert [event.reason for event in told] == ["Scheduled", "Pulled"]
    assert told[0].time == pytest.approx(second + micros / 1e6, abs=0.001)
