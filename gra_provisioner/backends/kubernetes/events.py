"""What the cluster says about one runner: events, and the last lines of its containers.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ...runner import RunnerEvent
from .containers import NEVER_RAN
from .podview import Event, containers, events_on, json_object, text

_CLAIM = "PersistentVolumeClaim"
_MOST_LINES = 50


def runner_events(
    name: str, uid: str, claims: Iterable[str], events: Sequence[Mapping[str, Any]]
) -> list[RunnerEvent]:
    """Those of ``events`` that are about this pod or one of its claims, the newest last.

    Kubernetes forgets events after an hour, as a rule.
    """
    told = [
        RunnerEvent(
            time=_time(event),
            type=event.type,
            reason=event.reason,
            message=event.message,
            count=event.count,
            source=event.component,
            about=f"{kind}/{about}",
        )
        for kind, about, of in (("Pod", name, uid), *((_CLAIM, claim, "") for claim in claims))
        for event in events_on(kind, [about], of, events)
    ]
    # Which keeps the order of those of the same time.
    return sorted(told, key=lambda event: event.time)


def _time(event: Event) -> float:
    """When it was last said, which was not before it was made: that keeps order in a second."""
    return event.made if 0 <= event.made - event.last < 1 else event.last


def last_words(pod: Any) -> list[str]:
    """The last lines of the pod's containers that have ended.

    The kubelet has taken them from their logs (``terminationMessagePolicy``), so no request and no
    right to read logs is needed.
    """
    found: list[str] = []
    for container in containers(pod):
        end = container.terminated or container.previous
        message = text(end, "message")
        # What the runtime says of one that never ran, or the agent in JSON, is told by the error.
        if text(end, "reason") not in NEVER_RAN and not json_object(message):
            found += [line.rstrip() for line in message.splitlines() if line.strip()]
    return found[-_MOST_LINES:]


def claim_selector(claim: str) -> str:
    """The field selector of the events on a PersistentVolumeClaim."""
    return f"involvedObject.kind={_CLAIM},involvedObject.name={claim}"


def pod_selector(uid: str) -> str:
    """The field selector of the events on the pod of this uid."""
    return f"involvedObject.uid={uid}"
