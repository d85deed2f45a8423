"""What the scheduler's refusals mean: whether to wait for a node, and for how long.

The scheduler says in one sentence, per reason, how many nodes it could not use and why, and then
whether evicting other pods would help::

    0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint(s).
    preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling.

"Insufficient cpu" may mean that a node is too small or that it is full; the second part tells,
since on a node that is too small no eviction helps.
Sources: kubernetes ``pkg/scheduler/framework/types.go`` (``FitError.Error``) and
``pkg/scheduler/framework/plugins/*`` (the reasons); cluster-autoscaler
``processors/status/eventing_scale_up_processor.go``; karpenter ``pkg/controllers/provisioning``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .podview import Event, claims_of, condition, dig, epoch, mappings, name_of, runner_of, text
from .reasons import Explanation, Reason, explain, quote

# Seconds that an autoscaler gets to say that it makes a node, and a claim to appear.  What no
# node there is could ever satisfy is given up soon; what other pods are in the way of may change,
# and the cluster-autoscaler looks every 10 s.
SOON = 2.0
LATER = 30.0

# A node is on its way: https://github.com/kubernetes/autoscaler, https://karpenter.sh
_SCALES_UP = frozenset({"TriggeredScaleUp", "Nominated"})
_NO_SCALE_UP = frozenset({"NotTriggerScaleUp"})

_AVAILABLE = re.compile(r"\d+/\d+ nodes are available: ")
_REASON = re.compile(r"(\d+) (.+?)(?=, \d+ |$)", re.DOTALL)
# Taints that nodes have while they start, are away for a moment, or short of something.
_PASSING_TAINT = re.compile(
    r"taint \{(?:node\.kubernetes\.io/(?!unschedulable)|node\.cloudprovider\.kubernetes\.io/"
    r"|node\.cilium\.io/agent-not-ready|ebs\.csi\.aws\.com/agent-not-ready"
    r"|karpenter\.sh/unregistered|ToBeDeletedByClusterAutoscaler)"
)
_TOO_SMALL = re.compile(r"Insufficient (\S+)")
_CLAIM = re.compile(r'persistentvolumeclaim "([^"]+)"')


@dataclass(frozen=True)
class Verdict:
    """What is said if no node is found, and after how many seconds; ``None``: never."""

    explanation: Explanation
    grace: float | None
    since: float


def refused(
    pod: Mapping[str, Any], events: Sequence[Event], claim_events: Sequence[Event]
) -> Verdict | None:
    """What became of the scheduler's last try, or ``None`` if there was none.

    ``events`` are those on the pod, ``claim_events`` those on its claims, the oldest first.
    """
    found = _last_refusal(pod, events)
    if found is None:
        return None
    sentence, since = found
    scaling = _autoscaler(events)
    if scaling is not None and scaling.reason in _SCALES_UP:
        why = explain(
            Reason.NODES_NOT_READY,
            f"A node is being added to the cluster: {quote(scaling.message)}",
        )
        return Verdict(why, None, since)
    why, grace = _judge(pod, sentence, claim_events)
    if scaling is not None and grace is not None:
        # The autoscaler has decided already, so there is nothing to wait for.
        message = f"{why.message} The autoscaler adds no node: {quote(scaling.message)}"
        return Verdict(Explanation(why.reason, message, why.hint, why.details), 0.0, since)
    if text(pod, "status", "nominatedNodeName"):
        # Pods of lower priority are being evicted to make room.
        return Verdict(why, None, since)
    return Verdict(why, grace, since)


def _last_refusal(pod: Mapping[str, Any], events: Sequence[Event]) -> tuple[str, float] | None:
    for event in reversed(events):
        if event.reason == "FailedScheduling" and event.component != "karpenter":
            return event.message, event.first
    # Without the right to read events: the pod's own status says the same.
    scheduled = condition(pod, "PodScheduled")
    if text(scheduled, "reason") == "Unschedulable":
        return text(scheduled, "message"), epoch(scheduled, "lastTransitionTime") or 0.0
    return None


def _autoscaler(events: Sequence[Event]) -> Event | None:
    """The last word of an autoscaler on this pod."""
    for event in reversed(events):
        declined = event.reason == "FailedScheduling" and event.component == "karpenter"
        if declined or event.reason in _SCALES_UP | _NO_SCALE_UP:
            return event
    return None


def _judge(
    pod: Mapping[str, Any], sentence: str, claim_events: Sequence[Event]
) -> tuple[Explanation, float | None]:
    on_claims = _judge_claims(pod, sentence, claim_events)
    if on_claims is not None:
        return on_claims
    if "no nodes available to schedule pods" in sentence:
        why = explain(
            Reason.NO_NODES,
            f"The cluster has no node for {name_of(pod)}: {quote(sentence)}",
            "Ask the cluster's administrator.",
        )
        return why, LATER
    filters, _, preemption = sentence.partition("preemption:")
    if not _AVAILABLE.search(filters):
        # A fault of the scheduler's own, or one of another scheduler: it tries again.
        why = explain(
            Reason.UNSCHEDULABLE,
            f"{name_of(pod)} was not given a node: {quote(sentence)}",
            "The scheduler says why; the cluster's administrator can see more.",
        )
        return why, None
    reasons = _node_reasons(filters)
    evicting_helps = "No preemption victims found" in preemption or not _AVAILABLE.search(
        preemption
    )
    return _judge_nodes(pod, sentence, reasons, evicting_helps)


def _node_reasons(filters: str) -> list[str]:
    """The reasons of ``1 Insufficient cpu, 2 node(s) …. no new claims to deallocate,``."""
    said = _AVAILABLE.split(filters, maxsplit=1)[1]
    # What follows the full stop is of other plugins; domains in taints have dots of their own.
    said = re.split(r"\.(?:\s|$)", said, maxsplit=1)[0]
    return [reason for _, reason in _REASON.findall(said)]


# Reasons that other pods are the cause of, so that they may pass.
_IN_USE = re.compile(
    r"Too many pods|anti-affinity|didn't match pod affinity|topology spread|free ports"
    r"|already in-use by another pod|no available disk|max volume count|were unschedulable"
)
_SELECTOR = re.compile(r"node affinity/selector|node selector|requested node name|enforced node")
_VOLUME = re.compile(
    r"volume node affinity|PersistentVolume's node affinity|available volume zone"
    r"|available persistent volumes|enough free storage|non-existent pv"
)


def _judge_nodes(
    pod: Mapping[str, Any], sentence: str, reasons: Sequence[str], evicting_helps: bool
) -> tuple[Explanation, float | None]:
    """The most hopeful of the reasons decides: one node is all that is needed."""
    name, said = name_of(pod), quote(sentence)
    if any(_PASSING_TAINT.search(reason) for reason in reasons):
        why = explain(
            Reason.NODES_NOT_READY,
            f"The nodes that could take {name} are not ready: {said}",
            "The cluster's administrator knows why; they may be starting.",
        )
        return why, None
    lacking = sorted({match[1] for r in reasons if (match := _TOO_SMALL.match(r))})
    asks = _requests(pod)
    if (lacking and evicting_helps) or any(_IN_USE.search(reason) for reason in reasons):
        why = explain(
            Reason.CLUSTER_FULL,
            f"There is no room for {name} now{asks}: {said}",
            "Try again later, delete runners that are not needed, or use a smaller profile.",
            lacking=lacking,
        )
        return why, LATER
    if lacking:
        why = explain(
            Reason.TOO_LARGE_FOR_ANY_NODE,
            f"No node is large enough for {name}{asks}: {said}",
            _smaller(lacking),
            lacking=lacking,
        )
        return why, SOON
    if any(_SELECTOR.search(reason) for reason in reasons):
        why = explain(
            Reason.NO_MATCHING_NODE,
            f"No node is one of those that {name} may run on{_selector(pod)}: {said}",
            "Correct pod.node_selector or pod.affinity in the profile. Where the cluster makes "
            "such nodes only when they are needed, its autoscaler has not done so.",
        )
        return why, SOON
    if any(_VOLUME.search(reason) for reason in reasons):
        why = explain(
            Reason.VOLUME_NOT_ON_ANY_NODE,
            f"A volume of {name} cannot be used on any node that would do: {said}",
            "A volume may be bound to one node or zone: drop what keeps the runner from going "
            "there, or use another volume.",
        )
        return why, SOON
    if any("taint" in reason for reason in reasons):
        why = explain(
            Reason.UNTOLERATED_TAINT,
            f"The nodes are kept for others than {name}, or are away: {said}",
            "Nodes for special use need an entry in pod.tolerations of the profile; the "
            "cluster's administrator knows which.",
        )
        # Newer schedulers do not say which taint: it may be that of a node that is restarting.
        return why, SOON if any("taint {" in reason for reason in reasons) else LATER
    why = explain(
        Reason.UNSCHEDULABLE,
        f"No node takes {name}: {said}",
        "The scheduler says why; the cluster's administrator can see more.",
    )
    return why, LATER


def _smaller(lacking: Sequence[str]) -> str:
    devices = [resource for resource in lacking if "/" in resource]
    if devices:
        return (
            f"No node has enough of {', '.join(devices)}: use a profile without it, or ask the "
            "cluster's administrator which nodes have such devices."
        )
    return "Use a smaller profile, or ask the cluster's administrator for larger nodes."


def _judge_claims(
    pod: Mapping[str, Any], sentence: str, claim_events: Sequence[Event]
) -> tuple[Explanation, float | None] | None:
    found = _CLAIM.search(sentence)
    if found is not None and "waiting for ephemeral volume controller" not in sentence:
        claim = found[1]
        if "not found" in sentence:
            why = explain(
                Reason.CLAIM_MISSING,
                f"The PersistentVolumeClaim {claim!r} does not exist: {quote(sentence)}",
                "Create it in the runners' namespace, or correct pod.volumes in the profile.",
                claim=claim,
            )
            return why, SOON
        why = explain(
            Reason.CLAIM_UNUSABLE,
            f"The PersistentVolumeClaim {claim!r} cannot be used: {quote(sentence)}",
            "Use another claim, or have this one made anew.",
            claim=claim,
        )
        return why, SOON
    if found is None and "unbound immediate PersistentVolumeClaims" not in sentence:
        return None
    claims = ", ".join(claims_of(pod))
    last = claim_events[-1] if claim_events else None
    cause = f": {quote(last.message)}" if last is not None else "."
    why = explain(
        Reason.CLAIM_UNBOUND,
        f"A PersistentVolumeClaim of {name_of(pod)} ({claims}) has no volume{cause} "
        f"The scheduler says: {quote(sentence)}",
        "The claim's storage class must be one that makes volumes, or a volume must fit the "
        "claim: `kubectl describe pvc` tells more.",
        claim=claims,
    )
    if last is None:
        return why, LATER
    if last.reason == "FailedBinding" or "storageclass" in last.message.lower():
        return why, SOON
    # A provisioner that failed tries again; one that is at work is waited for.
    return why, LATER if last.reason == "ProvisioningFailed" else None


def _requests(pod: Mapping[str, Any]) -> str:
    """`` (it asks for cpu 200, memory 2Gi)``."""
    resources = dig(runner_of(pod).spec, "resources")
    asked = dig(resources, "requests") or dig(resources, "limits")
    if not isinstance(asked, Mapping) or not asked:
        return ""
    return f" (it asks for {', '.join(f'{name} {size}' for name, size in sorted(asked.items()))})"


def _selector(pod: Mapping[str, Any]) -> str:
    selector = dig(pod, "spec", "nodeSelector")
    if isinstance(selector, Mapping) and selector:
        wanted = ", ".join(f"{label}={value}" for label, value in sorted(selector.items()))
        return f" (node selector {wanted})"
    terms = mappings(
        pod,
        *("spec", "affinity", "nodeAffinity"),
        *("requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms"),
    )
    return " (by its affinity)" if terms else ""
