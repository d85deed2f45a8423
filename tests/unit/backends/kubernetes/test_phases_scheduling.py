"""What the scheduler's sentence means, and how long a node is waited for."""

from __future__ import annotations

from typing import Any

import pytest

from gra_provisioner.backends.kubernetes.phases import Phase, Progress, Reason, launch_progress
from gra_provisioner.backends.kubernetes.scheduling import LATER, SOON
from tests.unit.backends.kubernetes.kubejson import CREATED, make_event, make_pod, stamp

NOT_HELPFUL = "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
NO_VICTIMS = "preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."
REQUESTS = {"resources": {"requests": {"cpu": "200", "memory": "2Gi"}}}
CLAIM = {"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "home"}}]}


def refused(
    sentence: str, *more: dict[str, Any], after: float = 0.0, claims: Any = (), **options: Any
) -> Progress:
    """A launch ``after`` seconds from when the scheduler said this."""
    failed = make_event("FailedScheduling", sentence, at=1, component="default-scheduler")
    pod = make_pod(node="", container=REQUESTS, **options)
    return launch_progress(pod, [failed, *more], claims, now=CREATED + 1 + after)


@pytest.mark.parametrize(
    ("sentence", "reason", "grace"),
    [
        (
            f"0/1 nodes are available: 1 Insufficient cpu. {NOT_HELPFUL}",
            Reason.TOO_LARGE_FOR_ANY_NODE,
            SOON,
        ),
        (
            (
                "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory. no new claims "
                "to "
                f"deallocate, {NOT_HELPFUL}"
            ),
            Reason.TOO_LARGE_FOR_ANY_NODE,
            SOON,
        ),
        (
            f"0/1 nodes are available: 1 Insufficient nvidia.com/gpu. {NOT_HELPFUL}",
            Reason.TOO_LARGE_FOR_ANY_NODE,
            SOON,
        ),
        (
            (
                "0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 Insufficient "
                "memory. "
                "preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
            ),
            Reason.TOO_LARGE_FOR_ANY_NODE,
            SOON,
        ),
        (
            f"0/1 nodes are available: 1 Insufficient cpu. {NO_VICTIMS}",
            Reason.CLUSTER_FULL,
            LATER,
        ),
        (
            (
                "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint(s). "
                "preemption: 0/3 nodes are available: 1 No preemption victims found for incoming "
                "pod, "
                "2 Preemption is not helpful for scheduling."
            ),
            Reason.CLUSTER_FULL,
            LATER,
        ),
        (
            (
                "0/1 nodes are available: 1 Insufficient cpu. preemption: not eligible due to "
                "preemptionPolicy=Never."
            ),
            Reason.CLUSTER_FULL,
            LATER,
        ),
        (
            f"0/1 nodes are available: 1 Too many pods. {NO_VICTIMS}",
            Reason.CLUSTER_FULL,
            LATER,
        ),
        (
            (
                "0/1 nodes are available: 1 node(s) didn't match pod anti-affinity rules. "
                f"{NO_VICTIMS}"
            ),
            Reason.CLUSTER_FULL,
            LATER,
        ),
        (
            f"0/1 nodes are available: 1 node(s) were unschedulable. {NOT_HELPFUL}",
            Reason.CLUSTER_FULL,
            LATER,
        ),
        (
            (
                "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. "
                f"{NOT_HELPFUL}"
            ),
            Reason.NO_MATCHING_NODE,
            SOON,
        ),
        (
            (
                "0/3 nodes are available: 1 node(s) had untolerated taint {node-role.kubernetes.io/"
                "control-plane: }, 2 node(s) didn't match Pod's node affinity/selector. "
                "preemption: "
                "0/3 nodes are available: 3 Preemption is not helpful for scheduling."
            ),
            Reason.NO_MATCHING_NODE,
            SOON,
        ),
        (
            (
                "0/2 nodes are available: 2 node(s) had untolerated taint {team: ml}. preemption: "
                "0/2 "
                "nodes are available: 2 Preemption is not helpful for scheduling."
            ),
            Reason.UNTOLERATED_TAINT,
            SOON,
        ),
        (
            f"0/1 nodes are available: 1 node(s) had untolerated taint(s). {NOT_HELPFUL}",
            Reason.UNTOLERATED_TAINT,
            LATER,
        ),
        (
            (
                "0/1 nodes are available: 1 node(s) had volume node affinity conflict. "
                f"{NOT_HELPFUL}"
            ),
            Reason.VOLUME_NOT_ON_ANY_NODE,
            SOON,
        ),
        (
            f"0/1 nodes are available: 1 node(s) refuse for a new reason. {NOT_HELPFUL}",
            Reason.UNSCHEDULABLE,
            LATER,
        ),
        ("no nodes available to schedule pods", Reason.NO_NODES, LATER),
    ],
)
def test_a_pod_that_no_node_takes_ends_the_launch_after_a_grace(
    sentence: str, reason: Reason, grace: float
) -> None:
    early = refused(sentence, after=grace - 0.5)
    assert early.failure is None
    assert early.phase is Phase.SCHEDULING
    assert early.again == pytest.approx(0.5)
    assert sentence in early.message

    late = refused(sentence, after=grace)
    assert late.failure is not None
    assert late.failure.reason == reason
    assert sentence in late.failure.message
    assert late.failure.hint
    assert late.again is None


@pytest.mark.parametrize(
    "taint",
    [
        "node.kubernetes.io/not-ready: ",
        "node.kubernetes.io/unreachable: ",
        "node.kubernetes.io/disk-pressure: ",
        "node.cloudprovider.kubernetes.io/uninitialized: true",
    ],
)
def test_nodes_that_will_be_back_are_waited_for(taint: str) -> None:
    sentence = (
        f"0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint {{{taint}}}."
        " preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
    )
    progress = refused(sentence, after=3600)
    assert progress.failure is None
    assert progress.again is None


def test_what_was_asked_for_is_told_with_what_is_lacking() -> None:
    failure = refused(
        f"0/1 nodes are available: 1 Insufficient cpu. {NOT_HELPFUL}", after=SOON
    ).failure
    assert failure is not None
    assert "cpu 200, memory 2Gi" in failure.message
    assert failure.details["lacking"] == ["cpu"]


def test_a_device_that_no_node_has_is_told_apart_from_one_in_use() -> None:
    said = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu. "
    none = refused(said + NOT_HELPFUL, after=LATER).failure
    in_use = refused(said + NO_VICTIMS, after=LATER).failure
    assert none is not None
    assert in_use is not None
    assert "nvidia.com/gpu" in none.hint
    assert none.reason == Reason.TOO_LARGE_FOR_ANY_NODE
    assert in_use.reason == Reason.CLUSTER_FULL


def test_the_selector_that_matches_nothing_is_told() -> None:
    sentence = (
        "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. "
        + NOT_HELPFUL
    )
    failure = refused(sentence, after=SOON, spec={"nodeSelector": {"disk": "ssd"}}).failure
    assert failure is not None
    assert "disk=ssd" in failure.message


# -- autoscalers ------------------------------------------------------------------------------

FULL = f"0/1 nodes are available: 1 Insufficient cpu. {NOT_HELPFUL}"
SCALING = make_event(
    "TriggeredScaleUp",
    "pod triggered scale-up: [{pool 1->2 (max: 8)}]",
    at=2,
    component="cluster-autoscaler",
)
NOT_SCALING = make_event(
    "NotTriggerScaleUp",
    "pod didn't trigger scale-up: 1 max node group size reached",
    at=2,
    component="cluster-autoscaler",
)


def test_a_node_that_is_being_added_is_waited_for() -> None:
    progress = refused(FULL, SCALING, after=3600)
    assert progress.failure is None
    assert progress.phase is Phase.SCHEDULING
    assert "pool 1->2" in progress.message


def test_a_node_that_karpenter_makes_is_waited_for() -> None:
    nominated = make_event(
        "Nominated", "Pod should schedule on: nodeclaim/a", at=2, component="karpenter"
    )
    assert refused(FULL, nominated, after=3600).failure is None


@pytest.mark.parametrize(
    "declined",
    [
        NOT_SCALING,
        make_event(
            "FailedScheduling",
            'Failed to schedule pod, incompatible with nodepool "default"',
            at=2,
            component="karpenter",
        ),
    ],
)
def test_an_autoscaler_that_adds_no_node_ends_the_launch_at_once(
    declined: dict[str, Any],
) -> None:
    failure = refused(FULL, declined).failure
    assert failure is not None
    assert FULL in failure.message
    assert declined["message"] in failure.message


def test_the_last_word_of_an_autoscaler_counts() -> None:
    later = {**SCALING, "firstTimestamp": stamp(9), "lastTimestamp": stamp(9)}
    assert refused(FULL, NOT_SCALING, later, after=3600).failure is None


# -- other ways -------------------------------------------------------------------------------


def test_room_that_is_being_made_by_preemption_is_waited_for() -> None:
    status = {"nominatedNodeName": "node-1"}
    assert refused(FULL, after=3600, status=status).failure is None


def test_a_fault_of_the_scheduler_is_waited_for() -> None:
    sentence = 'running PreBind plugin "VolumeBinding": binding volumes: context deadline exceeded'
    progress = refused(sentence, after=3600)
    assert progress.failure is None
    assert sentence in progress.message


def test_without_events_the_status_tells_why_no_node_was_found() -> None:
    conditions = {
        "PodScheduled": {
            "status": "False",
            "reason": "Unschedulable",
            "message": FULL,
            "lastTransitionTime": stamp(1).partition(".")[0] + "Z",
        }
    }
    pod = make_pod(node="", conditions=conditions)
    assert launch_progress(pod, now=CREATED + 1).failure is None
    failure = launch_progress(pod, now=CREATED + 1 + SOON).failure
    assert failure is not None
    assert failure.reason == Reason.TOO_LARGE_FOR_ANY_NODE


def test_a_pod_that_waits_at_a_gate_is_scheduling() -> None:
    conditions = {
        "PodScheduled": {
            "status": "False",
            "reason": "SchedulingGated",
            "message": "Scheduling is blocked due to non-empty scheduling gates",
        }
    }
    progress = launch_progress(make_pod(node="", conditions=conditions))
    assert progress.phase is Phase.SCHEDULING
    assert "gates" in progress.message
    assert progress.failure is None


def test_without_a_clock_the_newest_event_is_now() -> None:
    failed = make_event("FailedScheduling", FULL, at=1, component="default-scheduler")
    pod = make_pod(node="")
    assert launch_progress(pod, [failed]).failure is None
    assert launch_progress(pod, [failed, make_event("Other", at=1 + SOON)]).failure is not None


def test_a_refusal_is_forgotten_once_there_is_a_node() -> None:
    progress = refused(FULL, make_event("Scheduled", at=5), after=3600)
    assert progress.failure is None
    assert progress.phase is Phase.MOUNTING


# -- claims -----------------------------------------------------------------------------------

UNBOUND = (
    "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims. " + NOT_HELPFUL
)


def claim_event(reason: str, message: str, about: str = "home") -> dict[str, Any]:
    return make_event(
        reason,
        message,
        about=about,
        kind="PersistentVolumeClaim",
        uid="claim-1",
        component="persistentvolume-controller",
    )


def test_a_claim_that_does_not_exist_ends_the_launch() -> None:
    sentence = '0/1 nodes are available: persistentvolumeclaim "home" not found. ' + NOT_HELPFUL
    failure = refused(sentence, after=SOON, spec=CLAIM).failure
    assert failure is not None
    assert failure.reason == Reason.CLAIM_MISSING
    assert failure.details["claim"] == "home"


@pytest.mark.parametrize(
    "what", ["is being deleted", 'bound to non-existent persistentvolume "pv-1"']
)
def test_a_claim_that_is_of_no_use_any_more_ends_the_launch(what: str) -> None:
    sentence = f'0/1 nodes are available: persistentvolumeclaim "home" {what}. {NOT_HELPFUL}'
    failure = refused(sentence, after=SOON, spec=CLAIM).failure
    assert failure is not None
    assert failure.reason == Reason.CLAIM_UNUSABLE


def test_the_claim_of_an_ephemeral_volume_is_waited_for() -> None:
    sentence = (
        "0/1 nodes are available: waiting for ephemeral volume controller to create the "
        f'persistentvolumeclaim "runner-1-scratch". {NOT_HELPFUL}'
    )
    assert refused(sentence, after=LATER - 1, spec=CLAIM).failure is None


@pytest.mark.parametrize(
    ("reason", "message", "grace"),
    [
        (
            "FailedBinding",
            "no persistent volumes available for this claim and no storage class is set",
            SOON,
        ),
        ("ProvisioningFailed", 'storageclass.storage.k8s.io "fast" not found', SOON),
        ("ProvisioningFailed", "rpc error: code = ResourceExhausted desc = no space", LATER),
    ],
)
def test_a_claim_without_a_volume_ends_the_launch_with_its_own_event(
    reason: str, message: str, grace: float
) -> None:
    said = [claim_event(reason, message)]
    assert refused(UNBOUND, after=grace - 0.5, spec=CLAIM, claims=said).failure is None
    failure = refused(UNBOUND, after=grace, spec=CLAIM, claims=said).failure
    assert failure is not None
    assert failure.reason == Reason.CLAIM_UNBOUND
    assert message in failure.message
    assert "home" in failure.message


@pytest.mark.parametrize(
    "reason",
    ["ExternalProvisioning", "Provisioning", "WaitForPodScheduled", "ProvisioningSucceeded"],
)
def test_a_volume_that_is_being_made_is_waited_for(reason: str) -> None:
    said = [claim_event(reason, "Waiting for a volume to be created")]
    progress = refused(UNBOUND, after=3600, spec=CLAIM, claims=said)
    assert progress.failure is None
    assert "Waiting for a volume to be created" in progress.message


def test_events_on_other_claims_say_nothing() -> None:
    said = [claim_event("FailedBinding", "no persistent volumes available", about="other")]
    assert refused(UNBOUND, after=SOON, spec=CLAIM, claims=said).failure is None
