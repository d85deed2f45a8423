"""How far the launch of a runner in a pod has come, and whether it can still succeed.

Pure: from the pod, the events on it and on its claims, all as Kubernetes' JSON, to what is said to
the user.  :mod:`.launch` asks again whenever one of them changes.  A phase lasts from what begins
it to what begins the next:

===========  ======================================================================
queued       the pod exists
scheduling   the scheduler has looked at it and found no node yet
mounting     it has a node, which makes its volumes and network ready
pulling      an image is being downloaded
starting     the images are there; the container is made and started
ready        the container runs
===========  ======================================================================
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .containers import agent_missing, mount_failure, start_failure
from .deaths import deletion_of, end_of, node_trouble
from .podview import (
    RUNNER,
    Event,
    claims_of,
    condition,
    containers,
    deleting,
    epoch,
    events_on,
    events_on_pod,
    name_of,
    runner_of,
    text,
)
from .reasons import Explanation, Reason, explain, quote
from .scheduling import Verdict, refused

__all__ = [
    "Explanation",
    "Phase",
    "Progress",
    "Reason",
    "claims_of",
    "launch_progress",
    "overdue",
]


class Phase(str, enum.Enum):
    """Where a launch is."""

    QUEUED = "queued"
    SCHEDULING = "scheduling"
    PULLING = "pulling"
    MOUNTING = "mounting"
    STARTING = "starting"
    READY = "ready"


@dataclass(frozen=True)
class Progress:
    """How far a launch has come.

    ``started``: the runner's container was started, so the agent can be dialled.
    ``failure``: the launch can not succeed any more.
    ``missing_agent``: the pod waits for the ConfigMap with the agent, which is to be created.
    ``again``: after how many seconds the same objects may mean a failure; ``None``: never.
    """

    phase: Phase
    message: str
    started: bool = False
    failure: Explanation | None = None
    missing_agent: bool = False
    again: float | None = None


def launch_progress(
    pod: Mapping[str, Any],
    events: Sequence[Mapping[str, Any]] = (),
    claim_events: Sequence[Mapping[str, Any]] = (),
    *,
    now: float | None = None,
    patience: float = 0.0,
) -> Progress:
    """Where the launch of this pod is.  Never raises, whatever the objects lack.

    ``events`` on other objects are left out.  ``now`` is in seconds since the epoch and as the
    cluster's clock has it; without it, the time of what happened last is taken.  ``patience`` is
    how long, in seconds, a node is waited for at least where none could take the pod.
    """
    seen = events_on_pod(pod, events)
    scheduled = _scheduled(pod, seen)
    started = _started(pod, seen)
    verdict = None
    if not scheduled:
        claims = events_on("PersistentVolumeClaim", claims_of(pod), "", claim_events)
        verdict = refused(pod, seen, claims)
    mount = None if started else mount_failure(pod, seen)
    failure = end_of(pod, events) or deletion_of(pod)
    again = None
    if failure is None and not started:
        failure = start_failure(pod, seen)
        if failure is None and mount is not None and mount.terminal:
            failure = mount
        if failure is None and verdict is not None:
            failure, again = _given_up(pod, seen, verdict, now, patience)
    phase = _phase(pod, seen, scheduled, started, verdict)
    message = _message(pod, seen, phase, verdict, mount)
    trouble = node_trouble(pod, events)
    if trouble is not None:
        message = trouble.message
    missing = phase is Phase.MOUNTING and agent_missing(seen)
    return Progress(phase, message, started and failure is None, failure, missing, again)


def overdue(progress: Progress, waited: float, bound: float, api_trouble: str = "") -> Explanation:
    """What was expected and never happened, once a launch has taken longer than it may.

    ``waited`` and ``bound`` are seconds; ``api_trouble`` says why the API server could not be
    asked lately, if so.
    """
    expected, hint = _EXPECTED[progress.phase]
    message = (
        f"Within the {bound:g} s that it was given (start_timeout), {expected}. "
        f"Last seen ({progress.phase.value}): {quote(progress.message)}"
    )
    if api_trouble:
        message += f" This may be out of date: {quote(api_trouble)}"
    return explain(
        Reason.START_TIMEOUT, message, hint, phase=progress.phase.value, waited=round(waited, 1)
    )


_EXPECTED: dict[Phase, tuple[str, str]] = {
    Phase.QUEUED: (
        "no scheduler had looked at it",
        "Is the cluster's scheduler running, and pod.scheduler_name right?",
    ),
    Phase.SCHEDULING: (
        "no node had been found for it",
        "Use a smaller profile, or a longer start_timeout where nodes are added on demand.",
    ),
    Phase.MOUNTING: (
        "its volumes and network were not ready",
        "The events on the pod tell more; a volume's server or driver may be out of order.",
    ),
    Phase.PULLING: (
        "its image had not arrived",
        (
            "Use a smaller image or one that the nodes have already, or a longer start_timeout. "
            "If it is small, its registry may not be answering."
        ),
    ),
    Phase.STARTING: (
        "its agent had not answered",
        "The runner's log may say why: `kubectl logs` with the runner's name.",
    ),
    Phase.READY: (
        "its agent had not answered",
        "The runner's log may say why: `kubectl logs` with the runner's name.",
    ),
}


def _given_up(
    pod: Mapping[str, Any],
    seen: Sequence[Event],
    verdict: Verdict,
    now: float | None,
    patience: float,
) -> tuple[Explanation | None, float | None]:
    if verdict.grace is None:
        return None, None
    if now is None:
        created = epoch(pod, "metadata", "creationTimestamp") or 0.0
        now = max([created, verdict.since, *(event.last for event in seen)])
    left = verdict.since + max(verdict.grace, patience) - now
    return (None, left) if left > 0 else (verdict.explanation, None)


def _scheduled(pod: Mapping[str, Any], seen: Sequence[Event]) -> bool:
    return bool(
        text(pod, "spec", "nodeName")
        or text(condition(pod, "PodScheduled"), "status") == "True"
        or any(event.reason == "Scheduled" for event in seen)
    )


def _started(pod: Mapping[str, Any], seen: Sequence[Event]) -> bool:
    # The event comes up to a second before the status.
    return runner_of(pod).running or any(
        event.reason == "Started" and event.container == RUNNER for event in seen
    )


def _pulling(seen: Sequence[Event]) -> Event | None:
    """The download that goes on, if any."""
    arrived = {event.container for event in seen if event.reason in ("Pulled", "Started")}
    for event in reversed(seen):
        if event.reason == "Pulling" and event.container not in arrived:
            return event
    return None


def _phase(
    pod: Mapping[str, Any],
    seen: Sequence[Event],
    scheduled: bool,
    started: bool,
    verdict: Verdict | None,
) -> Phase:
    runner = runner_of(pod)
    if runner.running and runner.ready and not deleting(pod):
        return Phase.READY
    if started or runner.terminated is not None:
        return Phase.STARTING
    if not scheduled:
        gated = text(condition(pod, "PodScheduled"), "status") == "False"
        return Phase.SCHEDULING if verdict is not None or gated else Phase.QUEUED
    if _pulling(seen) is not None or _waits_for_image(pod):
        return Phase.PULLING
    pulled = {"Pulled", "Created"}
    if any(event.reason in pulled and event.container in ("", RUNNER) for event in seen):
        return Phase.STARTING
    return Phase.MOUNTING


def _waits_for_image(pod: Mapping[str, Any]) -> bool:
    reasons = {text(container.waiting, "reason") for container in containers(pod)}
    return bool(reasons & {"ErrImagePull", "ImagePullBackOff", "RegistryUnavailable"})


def _message(
    pod: Mapping[str, Any],
    seen: Sequence[Event],
    phase: Phase,
    verdict: Verdict | None,
    mount: Explanation | None,
) -> str:
    node = text(pod, "spec", "nodeName")
    on_node = f" on {node}" if node else ""
    if phase is Phase.QUEUED:
        return "created, waiting for the scheduler"
    if phase is Phase.SCHEDULING:
        if verdict is not None:
            return verdict.explanation.message
        said = text(condition(pod, "PodScheduled"), "message")
        return f"waiting for a node: {said}" if said else "waiting for a node"
    if phase is Phase.MOUNTING:
        if mount is not None:
            return mount.message
        sandbox = [event.message for event in seen if event.reason == "FailedCreatePodSandBox"]
        return sandbox[-1] if sandbox else f"preparing volumes and network{on_node}"
    if phase is Phase.PULLING:
        pulling = _pulling(seen)
        failed = [e.message for e in seen if e.reason == "Failed" and "pull" in e.message]
        if failed:
            return f"trying again: {failed[-1]}"
        image = next(
            (c.image for c in containers(pod) if pulling and c.name == pulling.container),
            runner_of(pod).image,
        )
        return f"pulling {image}{on_node}"
    if phase is Phase.STARTING:
        return f"starting the container of {name_of(pod)}{on_node}"
    return f"running{on_node}"
