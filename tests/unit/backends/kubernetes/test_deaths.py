"""Why a runner ended, and what tells it apart from one that is only away."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gra_provisioner.backends.kubernetes.deaths import end_of, node_trouble, status_of
from gra_provisioner.backends.kubernetes.naming import DELETED_BY
from gra_provisioner.backends.kubernetes.reasons import Explanation, Reason
from gra_provisioner.runner import RunnerStatus
from tests.unit.backends.kubernetes.kubejson import make_event, make_pod, recorded, stamp

RUNNING = {"running": {"startedAt": stamp(1)}}
LIMIT = {"resources": {"limits": {"memory": "2Gi"}}}
TERM = json.dumps({"reason": "Terminated", "message": "the agent got SIGTERM"})
DELETED = {"deletionTimestamp": stamp(100), "deletionGracePeriodSeconds": 10}


def ended(message: str = "", code: int = 0, reason: str = "", **options: Any) -> dict[str, Any]:
    """A pod whose runner's container has ended."""
    reason = reason or ("Error" if code else "Completed")
    end = {"exitCode": code, "reason": reason, "message": message, "finishedAt": stamp(95)}
    options = {"phase": "Failed" if code else "Succeeded", **options}
    return make_pod(state={"terminated": end}, **options)


def word(reason: str, message: str) -> str:
    return json.dumps({"reason": reason, "message": message})


def why(pod: dict[str, Any] | None, **options: Any) -> Explanation:
    found = end_of(pod, **options)
    assert found is not None
    assert found.message
    return found


def test_a_runner_that_runs_or_starts_has_not_ended() -> None:
    assert end_of(make_pod()) is None
    assert end_of(make_pod(state=RUNNING, phase="Running")) is None
    assert end_of(make_pod(state=RUNNING, phase="Running", metadata=DELETED)) is None
    assert end_of(make_pod(phase="Unknown", state=RUNNING)) is None


# -- the agent's word -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("Orphaned", "no client was connected for 3600 s"),
        ("Idle", "its kernel was idle for 600 s"),
        ("LifetimeReached", "it reached its lifetime of 60 s"),
        ("Deleted", "a client asked for it"),
    ],
)
def test_the_agents_own_word_comes_first(reason: str, message: str) -> None:
    # An agent that ended in peace after a child of its was killed is called OOMKilled.
    pod = ended(word(reason, message), 0, "OOMKilled")
    assert why(pod).reason == reason
    assert message in why(pod).message


def test_an_agent_told_to_end_leaves_it_to_the_pod_to_say_by_whom() -> None:
    assert why(ended(TERM)).reason == Reason.TERMINATED
    assert why(ended(TERM, metadata=DELETED)).reason == Reason.DELETED_OUTSIDE_GRA


# -- the container's status -------------------------------------------------------------------


def test_a_runner_out_of_memory_is_told_with_its_limit() -> None:
    found = why(ended("", 137, "OOMKilled", container=LIMIT))
    assert found.reason == Reason.OOM_KILLED
    assert "2Gi" in found.message
    assert "more memory" in found.hint


@pytest.mark.parametrize(
    ("code", "message", "reason", "words"),
    [
        (137, "", Reason.AGENT_KILLED, "signal 9 (SIGKILL)"),
        (139, "", Reason.AGENT_KILLED, "SIGSEGV"),
        (143, "", Reason.TERMINATED, "SIGTERM"),
        (1, "Traceback\nOSError: disk full\n", Reason.AGENT_CRASHED, "OSError: disk full"),
        (
            2,
            (
                "usage: agent [-h] (--socket SOCKET | --port PORT)\n"
                "agent: error: unrecognized arguments: --new\n"
            ),
            Reason.AGENT_REFUSED_OPTIONS,
            "--new",
        ),
        (0, "", Reason.AGENT_LOST, "without saying why"),
    ],
)
def test_an_exit_without_a_word_is_explained_by_its_code(
    code: int, message: str, reason: Reason, words: str
) -> None:
    found = why(ended(message, code))
    assert found.reason == reason
    assert words in found.message
    assert found.details["code"] == code


def test_a_container_that_the_node_lost_is_told_as_lost() -> None:
    message = "The container could not be located when the pod was terminated"
    assert why(ended(message, 137, "ContainerStatusUnknown")).reason == Reason.AGENT_LOST


# -- the pod's status -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "reason", "words"),
    [
        (
            {
                "reason": "Evicted",
                "message": "The node was low on resource: memory. Threshold quantity: 100Mi, "
                "available: 90Mi. ",
            },
            Reason.EVICTED,
            "low on resource: memory",
        ),
        (
            {
                "reason": "Evicted",
                "message": "Pod ephemeral local storage usage exceeds the total limit of "
                "containers 1Gi. ",
            },
            Reason.EVICTED,
            "exceeds the total limit of containers 1Gi",
        ),
        (
            {
                "reason": "DeadlineExceeded",
                "message": "Pod was active on the node longer than the specified deadline",
            },
            Reason.DEADLINE_EXCEEDED,
            "after 60 s",
        ),
        (
            {"reason": "Preempting", "message": "Preempted in order to admit critical pod"},
            Reason.PREEMPTED,
            "critical pod",
        ),
        (
            {
                "reason": "Terminated",
                "message": "Pod was terminated in response to imminent node shutdown.",
            },
            Reason.NODE_SHUTDOWN,
            "Node node-1 was shut down",
        ),
    ],
)
@pytest.mark.parametrize("said", [TERM, ""])
def test_what_the_kubelet_says_of_the_pod_explains_the_sigterm(
    status: dict[str, str], reason: Reason, words: str, said: str
) -> None:
    pod = ended(said, 143, status=status, spec={"activeDeadlineSeconds": 60})
    pod["status"]["phase"] = "Failed"
    assert why(pod).reason == reason
    assert words in why(pod).message


def test_a_full_disk_of_the_runner_is_hinted_at() -> None:
    status = {"reason": "Evicted", "message": "Container runner exceeded its local ephemeral st…"}
    assert "ephemeral storage" in why(make_pod(phase="Failed", status=status)).hint


@pytest.mark.parametrize(
    ("cause", "reason"),
    [
        ("EvictionByEvictionAPI", Reason.EVICTED_BY_REQUEST),
        ("PreemptionByScheduler", Reason.PREEMPTED),
        ("DeletionByTaintManager", Reason.NODE_LOST),
        ("DeletionByPodGC", Reason.NODE_LOST),
        ("TerminationByKubelet", Reason.EVICTED),
    ],
)
@pytest.mark.parametrize("gone", [True, False])
def test_a_disruption_is_told_whether_or_not_the_pod_is_still_there(
    cause: str, reason: Reason, gone: bool
) -> None:
    conditions = {
        "DisruptionTarget": {"status": "True", "reason": cause, "message": "as it happened"}
    }
    pod = ended(TERM, conditions=conditions, metadata=DELETED)
    running = make_pod(state=RUNNING, conditions=conditions, metadata=DELETED)
    found = why(None, last=running) if gone else why(pod)
    assert found.reason == reason
    assert "as it happened" in found.message


def test_a_disruption_that_was_called_off_is_none() -> None:
    conditions = {"DisruptionTarget": {"status": "False", "reason": "EvictionByEvictionAPI"}}
    pod = make_pod(state=RUNNING, conditions=conditions)
    assert why(None, last=pod).reason == Reason.DELETED_OUTSIDE_GRA


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        ("DeadlineExceeded", Reason.DEADLINE_EXCEEDED),
        ("Evicted", Reason.EVICTED),
        ("Preempting", Reason.PREEMPTED),
    ],
)
def test_the_event_explains_a_runner_that_ended_in_peace(event: str, reason: Reason) -> None:
    # As seen on Kubernetes 1.34: exit code 0, phase Succeeded, and no status.reason.
    said = make_event(event, 'Usage of EmptyDir volume "scratch" exceeds the limit "5Mi". ')
    found = why(ended(TERM), events=[said])
    assert found.reason == reason
    assert "exceeds the limit" in found.message


# -- deletion ---------------------------------------------------------------------------------


def test_who_deleted_a_runner_with_gra_is_told() -> None:
    metadata = {**DELETED, "annotations": {DELETED_BY: "ana on lab-7"}}
    found = why(None, last=make_pod(state=RUNNING, metadata=metadata))
    assert found.reason == Reason.DELETED
    assert "ana on lab-7" in found.message
    assert found.details["by"] == "ana on lab-7"


@pytest.mark.parametrize("last", [None, make_pod(state=RUNNING), make_pod(metadata=DELETED)])
def test_a_runner_that_vanished_was_deleted_outside_gra(last: dict[str, Any] | None) -> None:
    found = why(None, last=last)
    assert found.reason == Reason.DELETED_OUTSIDE_GRA
    assert "deleted outside gra" in found.message


def test_a_runner_that_had_to_be_killed_after_its_deletion_was_deleted() -> None:
    assert why(ended("", 137, metadata=DELETED)).reason == Reason.DELETED_OUTSIDE_GRA


def test_a_runner_that_ended_before_it_was_deleted_keeps_its_reason() -> None:
    later = {"deletionTimestamp": stamp(3600), "deletionGracePeriodSeconds": 0}
    pod = ended("", 137, "OOMKilled", metadata=later)
    assert why(pod).reason == Reason.OOM_KILLED
    assert why(None, last=pod).reason == Reason.OOM_KILLED


# -- away -------------------------------------------------------------------------------------

READY = {"status": "True"}
NOT_READY = {"status": "False"}


def test_a_runner_on_a_node_that_does_not_answer_is_away_and_not_dead() -> None:
    pod = make_pod(
        phase="Running", state=RUNNING, conditions={"Ready": NOT_READY, "ContainersReady": READY}
    )
    found = node_trouble(pod, ())
    assert found is not None
    assert found.reason == Reason.NODE_NOT_READY
    assert not found.terminal
    assert "Node node-1 does not answer" in found.message
    assert end_of(pod) is None
    assert status_of(pod) == (RunnerStatus.UNKNOWN, found)


def test_a_runner_that_was_given_up_with_its_node_has_ended() -> None:
    conditions = {
        "Ready": NOT_READY,
        "ContainersReady": READY,
        "DisruptionTarget": {"status": "True", "reason": "DeletionByTaintManager"},
    }
    pod = make_pod(phase="Running", state=RUNNING, conditions=conditions, metadata=DELETED)
    assert why(pod).reason == Reason.NODE_LOST
    assert status_of(pod)[0] is RunnerStatus.LOST


def test_a_runner_that_is_deleted_while_its_node_is_away_has_ended() -> None:
    conditions = {"Ready": NOT_READY, "ContainersReady": READY}
    pod = make_pod(phase="Running", state=RUNNING, conditions=conditions, metadata=DELETED)
    assert why(pod).reason == Reason.DELETED_OUTSIDE_GRA
    assert status_of(pod)[0] is RunnerStatus.ENDED


def test_the_event_alone_tells_of_the_node_until_the_pod_is_ready_again() -> None:
    event = make_event("NodeNotReady", "Node is not ready", component="node-controller")
    assert node_trouble(make_pod(state=RUNNING), [event]) is not None
    back = make_pod(state=RUNNING, conditions={"Ready": READY, "ContainersReady": READY})
    assert node_trouble(back, [event]) is None


def test_a_pod_whose_container_is_not_ready_yet_is_not_away() -> None:
    conditions = {"Ready": NOT_READY, "ContainersReady": NOT_READY}
    assert node_trouble(make_pod(conditions=conditions), ()) is None
    assert node_trouble(None, ()) is None


# -- the listing ------------------------------------------------------------------------------


def test_the_status_in_a_listing() -> None:
    running = make_pod(phase="Running", state=RUNNING)
    assert status_of(running) == (RunnerStatus.RUNNING, None)
    assert status_of(make_pod()) == (RunnerStatus.STARTING, None)
    assert status_of(None)[0] is RunnerStatus.ENDED
    assert status_of(ended(word("Idle", "idle")))[0] is RunnerStatus.ENDED
    assert status_of(ended("", 137))[0] is RunnerStatus.LOST


def test_a_runner_that_is_being_deleted_says_so_while_it_runs() -> None:
    status, found = status_of(make_pod(phase="Running", state=RUNNING, metadata=DELETED))
    assert status is RunnerStatus.RUNNING
    assert found is not None
    assert found.reason == Reason.DELETED_OUTSIDE_GRA


def test_a_start_that_cannot_succeed_says_why_in_a_listing() -> None:
    waiting = {
        "waiting": {"reason": "CreateContainerConfigError", "message": 'secret "a" not found'}
    }
    status, found = status_of(make_pod(state=waiting))
    assert status is RunnerStatus.STARTING
    assert found is not None
    assert found.reason == Reason.SECRET_MISSING


# -- as a real cluster told it ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "reason", "status", "words"),
    [
        ("end-idle", "Idle", RunnerStatus.ENDED, "idle for 600 s"),
        ("end-oom", Reason.OOM_KILLED, RunnerStatus.ENDED, "64Mi"),
        ("end-oom-of-a-child", "Idle", RunnerStatus.ENDED, "idle for 600 s"),
        ("end-killed", Reason.AGENT_KILLED, RunnerStatus.LOST, "SIGKILL"),
        ("end-deadline", Reason.DEADLINE_EXCEEDED, RunnerStatus.ENDED, "after 2 s"),
        ("end-deadline-without-a-word", Reason.DEADLINE_EXCEEDED, RunnerStatus.ENDED, "after 2 s"),
        ("end-evicted-disk", Reason.EVICTED, RunnerStatus.ENDED, 'the limit "5Mi"'),
        ("end-evicted-disk-without-a-word", Reason.EVICTED, RunnerStatus.ENDED, 'the limit "5Mi"'),
    ],
)
def test_real_ends_are_explained(file: str, reason: str, status: RunnerStatus, words: str) -> None:
    data = recorded(file)
    found = why(data["pod"], events=data["events"])
    assert found.reason == reason
    assert words in found.message
    assert status_of(data["pod"])[0] is status


@pytest.mark.parametrize(
    ("file", "reason", "words"),
    [
        ("end-deleted", Reason.DELETED_OUTSIDE_GRA, "outside gra"),
        ("end-deleted-by-gra", Reason.DELETED, "ana on lab-7"),
        ("end-evicted-by-request", Reason.EVICTED_BY_REQUEST, "Eviction API"),
        ("end-preempted", Reason.PREEMPTED, "higher priority pod"),
    ],
)
def test_real_deletions_are_explained_once_the_pod_is_gone(
    file: str, reason: Reason, words: str
) -> None:
    before, gone = recorded(file), recorded(f"{file}-gone")
    assert end_of(before["pod"], before["events"]) is None
    found = why(None, last=gone["last"], events=gone["events"])
    assert found.reason == reason
    assert words in found.message
    # The last state seen need not be the very last.
    assert why(None, last=before["pod"]).reason == reason
