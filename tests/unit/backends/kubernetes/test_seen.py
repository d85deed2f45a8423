"""Which pods a list looks into anew."""

from __future__ import annotations

import math
from typing import Any

from gra_provisioner.backends.kubernetes.seen import SeenRunners
from gra_provisioner.runner import Runner, RunnerLabels, RunnerStatus


class _Looks:
    """Looks at pods, and counts how often."""

    def __init__(
        self, status: RunnerStatus = RunnerStatus.RUNNING, holds: float = math.inf
    ) -> None:
        self.status = status
        self.holds = holds
        self.names: list[str] = []

    def __call__(self, pod: Any) -> tuple[Runner, float]:
        name = pod["metadata"]["name"]
        self.names.append(name)
        uid = pod["metadata"]["uid"]
        return (
            Runner(name, uid, "kubernetes", "small", RunnerLabels("me"), 0.0, self.status),
            self.holds,
        )


def _pod(name: str, uid: str = "") -> dict[str, Any]:
    return {"metadata": {"name": name, "uid": uid or f"uid of {name}"}}


def test_a_pod_that_has_not_changed_is_looked_at_once() -> None:
    seen, look = SeenRunners(), _Looks()
    pods = [_pod("runner-2"), _pod("runner-1")]
    first = seen.runners(pods, (), look)
    assert [runner.name for runner in first] == ["runner-2", "runner-1"]
    assert seen.runners(pods, (), look) == first
    assert look.names == ["runner-2", "runner-1"]


def test_a_pod_that_was_replaced_is_looked_at_again() -> None:
    seen, look = SeenRunners(), _Looks()
    seen.runners([_pod("runner-1"), _pod("runner-2")], (), look)
    seen.runners([_pod("runner-1", "another uid")], (), look)
    assert look.names == ["runner-1", "runner-2", "runner-1"]
    changed = [_pod("runner-1", "another uid")]
    seen.runners(changed, (), look)
    assert look.names == ["runner-1", "runner-2", "runner-1", "runner-1"]


def test_a_pod_that_is_gone_is_forgotten() -> None:
    seen, look = SeenRunners(), _Looks()
    pods = [_pod("runner-1")]
    seen.runners(pods, (), look)
    assert seen.runners([], (), look) == []
    seen.runners(pods, (), look)
    assert look.names == ["runner-1"] * 2


def test_what_holds_for_a_time_is_looked_at_after_it() -> None:
    now = 100.0
    seen, look = SeenRunners(lambda: now), _Looks(RunnerStatus.STARTING, holds=5.0)
    pods = [_pod("runner-1")]
    seen.runners(pods, (), look)
    now = 104.9
    seen.runners(pods, (), look)
    assert len(look.names) == 1
    now = 105.0
    seen.runners(pods, (), look)
    assert len(look.names) == 2


def test_a_runner_whose_start_was_seen_is_not_called_starting() -> None:
    seen, look = SeenRunners(), _Looks(RunnerStatus.STARTING)
    pods = [_pod("runner-1")]
    seen.runners(pods, (), look)
    look.status = RunnerStatus.RUNNING
    (runner,) = seen.runners(pods, {"uid of runner-1"}, look)
    assert runner.status is RunnerStatus.RUNNING
    seen.runners(pods, {"uid of runner-1"}, look)
    assert len(look.names) == 2
