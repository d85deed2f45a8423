"""Reading Kubernetes' JSON: pods, their containers, and the events on them.

Objects are plain dictionaries as the API server sends them.  Nothing here raises, whatever the
object lacks: a field that is absent or of another type reads as empty, so that what is known can
still be told.
Source: https://kubernetes.io/docs/reference/generated/kubernetes-api/v1.34/
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

# The container with the agent in it.
RUNNER = "runner"
# The container that mounts buckets, where there is one.
S3_SIDECAR = "gra-s3"

_FIELD_PATH = re.compile(r"spec\.(?:init|ephemeral)?[cC]ontainers\{([^}]*)\}")
# An event's name ends so.
_MADE = re.compile(r"[.]([0-9a-f]{16})$", re.ASCII)
# Kubernetes writes up to nine digits after the second, Python's own parser takes six.
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d{1,9})?Z")


def dig(value: Any, *path: str) -> Any:
    """The value at ``path`` in nested mappings, or ``None``."""
    for key in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value


def text(value: Any, *path: str) -> str:
    """The string at ``path``, or ``""``."""
    found = dig(value, *path)
    return found if isinstance(found, str) else ""


def mappings(value: Any, *path: str) -> list[Mapping[str, Any]]:
    """The objects in the list at ``path``."""
    found = dig(value, *path)
    return [item for item in found if isinstance(item, Mapping)] if isinstance(found, list) else []


def number(value: Any, *path: str) -> int | None:
    """The integer at ``path``, or ``None``."""
    found = dig(value, *path)
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def epoch(value: Any, *path: str) -> float | None:
    """The point in time at ``path`` (RFC 3339, UTC) in seconds since the epoch, or ``None``."""
    match = _TIME.fullmatch(text(value, *path))
    if match is None:
        return None
    try:
        whole = datetime.datetime.fromisoformat(match[1]).replace(tzinfo=datetime.timezone.utc)
    except ValueError:
        return None
    return whole.timestamp() + float(match[2] or 0.0)


@dataclass(frozen=True)
class Event:
    """An event on an object.  ``container`` is the one that it is about, or ``""``.

    ``type`` is ``Normal`` or ``Warning``, as Kubernetes has it.  ``made`` is when it was first
    reported, as its name has it, or 0: other times may be whole seconds.
    """

    reason: str
    message: str
    component: str = ""
    container: str = ""
    first: float = 0.0
    last: float = 0.0
    count: int = 1
    type: str = ""
    made: float = 0.0


def events_on(kind: str, names: Iterable[str], uid: str, events: Iterable[Any]) -> list[Event]:
    """The events on these objects, the oldest first.

    Those on an earlier object of the same name (another ``uid``; ``""`` is any) are left out.
    """
    wanted = set(names)
    found = []
    for event in events:
        about = dig(event, "involvedObject")
        of = text(about, "uid")
        if text(about, "kind") not in (kind, "") or (uid and of and of != uid):
            continue
        if text(about, "name") in wanted:
            # An event's name ends with the time of its making in nanoseconds: it orders those of
            # the same second.
            found.append((_event(event, about), text(event, "metadata", "name")))
    found.sort(key=lambda item: (item[0].last, item[1]))
    return [event for event, _ in found]


def events_on_pod(pod: Any, events: Iterable[Any]) -> list[Event]:
    """The events on this very pod, the oldest first."""
    name, uid = text(pod, "metadata", "name"), text(pod, "metadata", "uid")
    return events_on("Pod", [name], uid, events)


def _event(event: Any, about: Any) -> Event:
    # The scheduler's events have eventTime and a series, the kubelet's timestamps and a count.
    created = epoch(event, "metadata", "creationTimestamp")
    times = (epoch(event, "firstTimestamp"), epoch(event, "eventTime"), created)
    first = next((time for time in times if time is not None), 0.0)
    last = epoch(event, "series", "lastObservedTime") or epoch(event, "lastTimestamp") or first
    container = _FIELD_PATH.match(text(about, "fieldPath"))
    nanoseconds = _MADE.search(text(event, "metadata", "name"))
    return Event(
        reason=text(event, "reason"),
        message=text(event, "message"),
        component=text(event, "reportingComponent") or text(event, "source", "component"),
        container=container[1] if container else "",
        first=first,
        last=max(first, last),
        count=number(event, "series", "count") or number(event, "count") or 1,
        type=text(event, "type"),
        made=int(nanoseconds[1], 16) / 1e9 if nanoseconds else 0.0,
    )


@dataclass(frozen=True)
class Container:
    """A container of a pod: what was asked for, and its state.

    ``waiting`` and ``terminated`` are Kubernetes' own objects, or ``None``.
    """

    name: str
    init: bool
    spec: Mapping[str, Any] = field(default_factory=dict)
    waiting: Mapping[str, Any] | None = None
    terminated: Mapping[str, Any] | None = None
    previous: Mapping[str, Any] | None = None
    running: bool = False
    ready: bool = False

    @property
    def image(self) -> str:
        """The image as the pod's spec names it."""
        return text(self.spec, "image")

    @property
    def described(self) -> str:
        """The image for a sentence: of which container, too, unless it is the runner's."""
        whose = "" if self.name == RUNNER else f" of the container {self.name!r}"
        return f"{self.image!r}{whose}"

    @property
    def image_setting(self) -> str:
        """What names the image, for a hint."""
        if self.name == S3_SIDECAR:
            return "`s3_sidecar.image` in the profile, or RUNNER_S3_IMAGE"
        if self.name == RUNNER:
            return "`image` in the profile, or RUNNER_IMAGE"
        return f"the image of the container {self.name!r} in the profile's pod.patch"

    @property
    def command(self) -> str:
        """The first word of its command, or ``""`` for the image's own."""
        words = dig(self.spec, "command")
        return words[0] if isinstance(words, list) and words and isinstance(words[0], str) else ""


def containers(pod: Any) -> list[Container]:
    """The containers of a pod, those that run before the others first."""
    found = []
    for specs, statuses, init in (
        ("initContainers", "initContainerStatuses", True),
        ("containers", "containerStatuses", False),
    ):
        by_name = {text(status, "name"): status for status in mappings(pod, "status", statuses)}
        for spec in mappings(pod, "spec", specs):
            name = text(spec, "name")
            found.append(_container(name, init, spec, by_name.pop(name, {})))
        found += [_container(name, init, {}, status) for name, status in by_name.items()]
    return found


def _container(name: str, init: bool, spec: Any, status: Mapping[str, Any]) -> Container:
    state = dig(status, "state")
    waiting, terminated = dig(state, "waiting"), dig(state, "terminated")
    previous = dig(status, "lastState", "terminated")
    return Container(
        name=name,
        init=init,
        spec=spec,
        waiting=waiting if isinstance(waiting, Mapping) else None,
        terminated=terminated if isinstance(terminated, Mapping) else None,
        previous=previous if isinstance(previous, Mapping) else None,
        running=isinstance(dig(state, "running"), Mapping),
        ready=dig(status, "ready") is True,
    )


def runner_of(pod: Any) -> Container:
    """The container with the agent in it."""
    for container in containers(pod):
        if container.name == RUNNER and not container.init:
            return container
    return Container(RUNNER, False)


def condition(pod: Any, kind: str) -> Mapping[str, Any]:
    """The pod's condition of this type, or an empty object."""
    found = mappings(pod, "status", "conditions")
    return next((item for item in found if text(item, "type") == kind), {})


def name_of(pod: Any) -> str:
    """The pod's name for a sentence."""
    return text(pod, "metadata", "name") or "the runner"


def node_of(pod: Any) -> str:
    """The node's name for a sentence."""
    name = text(pod, "spec", "nodeName")
    return f"node {name}" if name else "its node"


def deleting(pod: Any) -> bool:
    """Whether somebody has asked for the pod's deletion."""
    return bool(text(pod, "metadata", "deletionTimestamp"))


def claims_of(pod: Any) -> tuple[str, ...]:
    """The names of the PersistentVolumeClaims that the pod uses.

    That of a generic ephemeral volume is made of the pod's name and the volume's.
    Source: https://kubernetes.io/docs/concepts/storage/ephemeral-volumes/#persistentvolumeclaim-naming
    """
    names = []
    for volume in mappings(pod, "spec", "volumes"):
        claim = text(volume, "persistentVolumeClaim", "claimName")
        if not claim and isinstance(dig(volume, "ephemeral"), Mapping):
            claim = f"{text(pod, 'metadata', 'name')}-{text(volume, 'name')}"
        if claim and claim not in names:
            names.append(claim)
    return tuple(names)


def json_object(raw: str) -> Mapping[str, Any]:
    """The JSON object that ``raw`` is, or an empty one."""
    try:
        value = json.loads(raw)
    except (TypeError, ValueError, RecursionError):
        # No JSON, or, from a caller that has no text, nothing of the kind.
        return {}
    return value if isinstance(value, dict) else {}
