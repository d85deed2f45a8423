"""What holds of every pod, also of one that lacks parts or has wrong ones."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gra_provisioner.backends.kubernetes.deaths import end_of, node_trouble, status_of
from gra_provisioner.backends.kubernetes.phases import (
    Phase,
    Progress,
    claims_of,
    launch_progress,
    overdue,
)
from gra_provisioner.runner import RunnerStatus
from tests.unit.backends.kubernetes.kubejson import make_event, make_pod

# Words that the code looks for, so that generated objects reach its branches.
WORDS = st.sampled_from(
    [
        "",
        "runner",
        "runner-1",
        "uid-1",
        "True",
        "False",
        "Running",
        "Failed",
        "Succeeded",
        "Evicted",
        "ErrImagePull",
        "ImagePullBackOff",
        "CreateContainerConfigError",
        "StartError",
        "FailedScheduling",
        "TriggeredScaleUp",
        "FailedMount",
        "Pulling",
        "Started",
        "2023-11-14T22:13:20Z",
        "2023-11-14T22:13:20.000001Z",
        "2023-99-99T99:99:99Z",
        '{"reason": "Idle", "message": 3}',
        "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 x.",
        '0/1 nodes are available: persistentvolumeclaim "a" not found.',
        "0/1 nodes are available: ",
        'Failed to pull image "x": 401 Unauthorized',
        'MountVolume.SetUp failed for volume "a" : configmap "gra-agent-1" not found',
    ]
)
SCALARS = st.none() | st.booleans() | st.integers(-1, 300) | WORDS | st.text(max_size=5)
KEYS = st.sampled_from(
    [
        *("metadata", "spec", "status", "name", "uid", "phase", "reason", "message", "type"),
        *("conditions", "containers", "initContainers", "containerStatuses", "state", "lastState"),
        *("initContainerStatuses", "waiting", "running", "terminated", "exitCode", "ready"),
        *("involvedObject", "kind", "fieldPath", "count", "series", "firstTimestamp", "volumes"),
        *("lastTimestamp", "eventTime", "nodeName", "deletionTimestamp", "annotations", "signal"),
        *("persistentVolumeClaim", "claimName", "ephemeral", "resources", "requests", "command"),
    ]
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
STATES: list[dict[str, Any]] = [
    {"waiting": {"reason": "ErrImagePull", "message": "not found"}},
    {"running": {"startedAt": "2023-11-14T22:13:20Z"}},
    {"terminated": {"exitCode": 1, "reason": "Error", "message": "x"}},
]


@st.composite
def mangled(draw: st.DrawFn) -> Any:
    """A pod in which something is missing, or is something else."""
    pod: Any = make_pod(
        state=draw(st.sampled_from(STATES)), phase=draw(st.sampled_from(["Pending", "Failed"]))
    )
    at, key = pod, draw(st.sampled_from(["metadata", "spec", "status"]))
    while draw(st.booleans()) and isinstance(at[key], (dict, list)) and at[key]:
        at = at[key]
        key = draw(st.sampled_from(sorted(at))) if isinstance(at, dict) else 0
    at[key] = draw(JSON)
    return pod


PODS = mangled() | st.dictionaries(KEYS, JSON, max_size=4)
EVENTS = st.lists(
    st.dictionaries(KEYS, JSON, max_size=5)
    | st.builds(make_event, WORDS, WORDS, component=WORDS, container=WORDS)
    | JSON,
    max_size=4,
)


def of_json_types(value: Any) -> bool:
    return bool(json.loads(json.dumps(value)) == value)


@given(PODS, EVENTS, EVENTS, st.none() | st.floats(0, 4e9))
def test_any_pod_is_somewhere_and_nothing_is_raised(
    pod: Any, events: Any, claims: Any, now: float | None
) -> None:
    progress = launch_progress(pod, events, claims, now=now)
    assert isinstance(progress.phase, Phase)
    assert progress.message
    if progress.failure is not None:
        assert progress.failure.reason
        assert progress.failure.message
        assert progress.failure.terminal
        assert of_json_types(dict(progress.failure.details))
    assert overdue(progress, 1.0, 1.0).message


@given(st.none() | PODS, EVENTS, st.none() | PODS)
def test_any_end_is_explained_and_nothing_is_raised(pod: Any, events: Any, last: Any) -> None:
    end = end_of(pod, events, last=last)
    status, why = status_of(pod)
    node_trouble(pod, events)
    claims_of(pod)
    assert isinstance(status, RunnerStatus)
    if pod is None:
        assert end is not None
    for found in (end, why):
        assert found is None or (found.reason and found.message)


@given(EVENTS, EVENTS, st.none() | st.floats(0, 4e9))
def test_a_runner_that_runs_is_never_given_up(events: Any, claims: Any, now: float | None) -> None:
    pod = make_pod(phase="Running", ready=True, state=STATES[1])
    progress = launch_progress(pod, events, claims, now=now)
    assert progress.failure is None
    assert progress.started
    assert progress.phase is Phase.READY
    assert status_of(pod)[0] in (RunnerStatus.RUNNING, RunnerStatus.UNKNOWN)


@given(EVENTS, st.floats(0, 4e9))
def test_whoever_may_be_given_up_later_says_when_to_look_again(events: Any, now: float) -> None:
    progress = launch_progress(make_pod(node=""), events, now=now)
    if progress.again is None:
        return
    assert progress.failure is None
    assert progress.again > 0
    later = launch_progress(make_pod(node=""), events, now=now + progress.again + 0.001)
    assert later.failure is not None


def test_progress_needs_no_more_than_a_phase_and_a_message() -> None:
    progress = Progress(Phase.QUEUED, "created")
    assert not progress.started
    assert progress.failure is None
