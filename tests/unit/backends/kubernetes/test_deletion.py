"""Which pods of runners may be removed: those that ended long ago, or never began."""

from __future__ import annotations

from typing import Any

import pytest

from gra_provisioner.backends.kubernetes.deletion import is_prunable
from gra_provisioner.backends.kubernetes.naming import START_TIMEOUT
from tests.unit.backends.kubernetes.kubejson import CREATED, make_pod, stamp

HOUR = 3600.0
END = 100.0


def finished(phase: str = "Succeeded", **options: Any) -> dict[str, Any]:
    """A pod whose container ended ``END`` seconds after the pod's creation."""
    return make_pod(phase=phase, state={"terminated": {"finishedAt": stamp(END)}}, **options)


def prunable(pod: dict[str, Any], seconds: float) -> bool:
    """Whether the pod may be removed ``seconds`` after its creation."""
    return is_prunable(pod, CREATED + seconds)


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_runner_that_ended_can_be_asked_why_for_an_hour(phase: str) -> None:
    assert not prunable(finished(phase), END)
    assert not prunable(finished(phase), END + HOUR)
    assert prunable(finished(phase), END + HOUR + 1)


@pytest.mark.parametrize("phase", ["Running", "Unknown", ""])
def test_a_runner_that_runs_or_whose_node_is_away_is_never_removed(phase: str) -> None:
    running = make_pod(phase=phase, state={"running": {"startedAt": stamp(1)}})
    assert not prunable(running, 1000 * HOUR)


def test_a_launch_is_given_up_ten_minutes_after_its_own_bound() -> None:
    pod = make_pod(metadata={"annotations": {START_TIMEOUT: "300"}})
    assert not prunable(pod, 300 + 600)
    assert prunable(pod, 300 + 600 + 1)


@pytest.mark.parametrize("annotations", [{}, {START_TIMEOUT: "soon"}, {START_TIMEOUT: None}])
def test_a_launch_without_a_bound_is_given_up_after_ten_minutes(
    annotations: dict[str, Any],
) -> None:
    pod = make_pod(metadata={"annotations": annotations})
    assert not prunable(pod, 600)
    assert prunable(pod, 601)


def test_a_runner_that_is_being_deleted_is_let_be() -> None:
    deleted = {"deletionTimestamp": stamp(END), "deletionGracePeriodSeconds": 1}
    assert not prunable(finished(metadata=deleted), 1000 * HOUR)
    assert not prunable(make_pod(metadata=deleted), 1000 * HOUR)


def test_an_evicted_runner_without_a_word_of_its_container_counts_from_its_eviction() -> None:
    evicted = {"status": "True", "lastTransitionTime": stamp(5 * HOUR)}
    pod = make_pod(phase="Failed", conditions={"DisruptionTarget": evicted})
    assert not prunable(pod, 6 * HOUR)
    assert prunable(pod, 6 * HOUR + 1)


def test_a_runner_that_nothing_is_known_of_counts_from_its_creation() -> None:
    pod = make_pod(phase="Failed")
    assert not prunable(pod, HOUR)
    assert prunable(pod, HOUR + 1)
    assert not is_prunable({"status": {"phase": "Failed"}}, CREATED)
