"""Why a runner in a pod ended, or whether it is only away.

The agent's own word (its termination message) comes first: a container's status can mislead, as
when an agent that ended in peace is called OOMKilled since one of its children was.  Only where
the agent does not know who told it to end does the pod know better.
Sources: KEP-3329 (condition ``DisruptionTarget``); kubernetes ``pkg/kubelet/eviction``,
``preemption``, ``nodeshutdown``, ``active_deadline.go``; ``pkg/controller/tainteviction``,
``podgc``, ``pkg/controller/util/node`` (``MarkPodsNotReady``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...runner import RunnerStatus
from .containers import explain_exit, start_failure
from .naming import DELETED_BY
from .podview import (
    condition,
    deleting,
    epoch,
    events_on_pod,
    json_object,
    mappings,
    name_of,
    node_of,
    number,
    runner_of,
    text,
)
from .reasons import Explanation, Reason, explain, quote

_NEW_RUNNER = "Restart the kernel for a new runner."
# The agent knows that it got SIGTERM, and not whose.
_TERMINATED = Reason.TERMINATED.value
# Events by which the kubelet says why it ends a pod.
_VERDICTS = frozenset({"Evicted", "DeadlineExceeded", "Preempting"})
# The record exists, the process does not, and nothing says how that came.
_LOST = frozenset(
    reason.value for reason in (Reason.AGENT_LOST, Reason.AGENT_KILLED, Reason.NODE_LOST)
)


def status_of(pod: Mapping[str, Any] | None) -> tuple[RunnerStatus, Explanation | None]:
    """What a runner is and, unless it runs or starts as it should, why.  For ``gra list``.

    A pod that is gone (``None``) has ended.  One on a node that does not answer is ``UNKNOWN``.
    """
    end = end_of(pod)
    if end is not None:
        return (RunnerStatus.LOST if end.reason in _LOST else RunnerStatus.ENDED), end
    away = node_trouble(pod, ())
    if away is not None:
        return RunnerStatus.UNKNOWN, away
    going = _deletion(pod) if deleting(pod) else None
    if runner_of(pod).running:
        return RunnerStatus.RUNNING, going
    return RunnerStatus.STARTING, going or start_failure(pod or {}, ())


def end_of(
    pod: Mapping[str, Any] | None,
    events: Sequence[Mapping[str, Any]] = (),
    *,
    last: Mapping[str, Any] | None = None,
) -> Explanation | None:
    """Why a runner ended; ``None`` if it has not, as far as is known.

    ``pod`` is ``None`` if it is gone from the cluster, ``last`` then the last state seen of it.
    ``events`` are any: those on other objects are left out.
    """
    if pod is None:
        if last is None:
            return _deletion(None)
        return end_of(last, events) or _disruption(last) or _deletion(last)
    runner = runner_of(pod)
    phase = text(pod, "status", "phase")
    if runner.terminated is None and phase not in ("Succeeded", "Failed"):
        if deleting(pod) and node_trouble(pod, events) is not None:
            # Its node cannot confirm the end, but whenever it is back it does nothing else first.
            return _disruption(pod) or _deletion(pod)
        return None
    said = text(runner.terminated, "message")
    word = _agents_word(said)
    if word is not None and word.reason != _TERMINATED:
        return word
    cause = _pods_word(pod, events) or _disruption(pod)
    if cause is not None:
        return cause
    if deleting(pod) and not _ended_before_deletion(pod):
        return _deletion(pod)
    if runner.terminated is not None:
        return word or explain_exit(pod, runner.terminated)
    why = start_failure(pod, events_on_pod(pod, events))
    if why is not None:
        return why
    return explain(
        Reason.AGENT_LOST,
        f"{name_of(pod)} ended on {node_of(pod)}: "
        f"{quote(text(pod, 'status', 'message') or 'Kubernetes does not say why')}",
        _NEW_RUNNER,
    )


def node_trouble(
    pod: Mapping[str, Any] | None, events: Sequence[Mapping[str, Any]]
) -> Explanation | None:
    """Whether the runner's node does not answer: it is then out of reach, and may live.

    No right to read nodes is needed: the node controller marks the node's pods as not ready while
    their containers, as the kubelet last said, are.
    """
    if pod is None:
        return None
    ready = condition(pod, "Ready")
    marked = (
        text(ready, "status") in ("False", "Unknown")
        and text(condition(pod, "ContainersReady"), "status") == "True"
        and not mappings(pod, "spec", "readinessGates")
    )
    unknown = text(pod, "status", "phase") == "Unknown"
    lately = [e for e in events_on_pod(pod, events) if e.reason in ("NodeNotReady", "NodeReady")]
    told = bool(lately) and lately[-1].reason == "NodeNotReady" and text(ready, "status") != "True"
    if not (marked or unknown or told):
        return None
    return explain(
        Reason.NODE_NOT_READY,
        f"{_capital(node_of(pod))} does not answer, so {name_of(pod)} cannot be reached; it "
        "may still be running.",
        "Wait for the node to come back: the kernel and its variables are kept. The cluster "
        "deletes the runner if the node stays away for long (5 minutes, as a rule).",
        node=text(pod, "spec", "nodeName"),
    )


def _ended_before_deletion(pod: Mapping[str, Any]) -> bool:
    """Whether the runner had ended already when its deletion was asked for."""
    ended = epoch(runner_of(pod).terminated, "finishedAt")
    removal = epoch(pod, "metadata", "deletionTimestamp")
    grace = number(pod, "metadata", "deletionGracePeriodSeconds")
    if ended is None or removal is None or grace is None:
        return False
    # Kubernetes counts whole seconds.
    return ended < removal - grace - 1


def _agents_word(message: str) -> Explanation | None:
    """What the agent wrote before it ended: ``{"reason": "Idle", "message": "…"}``."""
    word = json_object(message)
    reason, sentence = text(word, "reason"), text(word, "message")
    if not reason:
        return None
    return Explanation(reason, f"The runner ended: {quote(sentence or reason)}", text(word, "hint"))


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _pods_word(pod: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> Explanation | None:
    """The kubelet's own verdict on the whole pod: in its status or, failing that, an event.

    A runner that ends in peace when told to makes the pod's phase Succeeded, and the kubelet then
    may leave the reason out.
    """
    reason, said = text(pod, "status", "reason"), text(pod, "status", "message")
    if not reason:
        for event in events_on_pod(pod, events):
            if event.reason in _VERDICTS:
                reason, said = event.reason, event.message
    name, node = name_of(pod), node_of(pod)
    if reason == "Evicted":
        return explain(
            Reason.EVICTED, f"{name} was evicted from {node}: {quote(said)}", _eviction_hint(said)
        )
    if reason == "DeadlineExceeded":
        seconds = number(pod, "spec", "activeDeadlineSeconds")
        after = f" after {seconds} s" if seconds else ""
        return explain(
            Reason.DEADLINE_EXCEEDED,
            f"{name} reached its deadline{after}: {quote(said)}",
            "A longer ttl.lifetime in the profile gives it more time.",
        )
    if reason == "Preempting":
        return explain(
            Reason.PREEMPTED, f"{name} had to make room on {node}: {quote(said)}", _NEW_RUNNER
        )
    if reason in ("Terminated", "Shutdown"):
        return explain(
            Reason.NODE_SHUTDOWN, f"{_capital(node)} was shut down: {quote(said)}", _NEW_RUNNER
        )
    if reason == "NodeLost":
        return explain(Reason.NODE_LOST, f"{_capital(node)} was lost: {quote(said)}", _NEW_RUNNER)
    # What else the kubelet says of a pod that failed is why it did not take it in: "OutOfcpu".
    if reason and runner_of(pod).terminated is None:
        return explain(
            Reason.REJECTED_BY_NODE,
            f"{_capital(node)} sent {name} back ({reason}): {quote(said)}",
            "Try again: the scheduler may find another node.",
            cause=reason,
        )
    return None


def _eviction_hint(said: str) -> str:
    if "ephemeral" in said.lower() or "EmptyDir" in said:
        return (
            "Write less to the runner's disk, use a profile with more ephemeral storage, or keep "
            f"large files on a volume. {_NEW_RUNNER}"
        )
    return f"The node was short of it, not the runner alone. {_NEW_RUNNER}"


_DISRUPTIONS: dict[str, tuple[Reason, str]] = {
    "EvictionByEvictionAPI": (Reason.EVICTED_BY_REQUEST, "{name} was evicted on request"),
    "PreemptionByScheduler": (Reason.PREEMPTED, "{name} had to make room for a pod of more weight"),
    "DeletionByTaintManager": (
        Reason.NODE_LOST,
        "{name} was given up with {node}, which was lost or emptied",
    ),
    "DeletionByPodGC": (Reason.NODE_LOST, "{name} was given up with {node}, which is gone"),
    "TerminationByKubelet": (Reason.EVICTED, "{name} was ended by {node}"),
}


def _disruption(pod: Mapping[str, Any]) -> Explanation | None:
    disrupted = condition(pod, "DisruptionTarget")
    known = _DISRUPTIONS.get(text(disrupted, "reason"))
    if known is None or text(disrupted, "status") != "True":
        return None
    reason, what = known
    return explain(
        reason,
        f"{what.format(name=name_of(pod), node=node_of(pod))}: {quote(text(disrupted, 'message'))}",
        _NEW_RUNNER,
        cause=text(disrupted, "reason"),
    )


def _deletion(pod: Mapping[str, Any] | None) -> Explanation:
    """Who deleted it: gra notes itself on the pod first; who else did only an audit log knows."""
    name = name_of(pod)
    by = text(pod, "metadata", "annotations", DELETED_BY)
    if by:
        return explain(Reason.DELETED, f"{name} was deleted by {by}.", _NEW_RUNNER, by=by)
    return explain(
        Reason.DELETED_OUTSIDE_GRA,
        f"{name} was deleted outside gra: by kubectl, by its namespace's end, or by the cluster.",
        f"The cluster's audit log knows by whom. {_NEW_RUNNER}",
    )


def deletion_of(pod: Mapping[str, Any]) -> Explanation | None:
    """Why a pod is on its way out, or ``None`` if it is not."""
    return (_disruption(pod) or _deletion(pod)) if deleting(pod) else None
