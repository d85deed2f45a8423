"""Pods and events as the API server writes them, reduced to what a test is about."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# What a real cluster (Kubernetes 1.34) answered, trimmed: {"pod", "events", "claim_events"}, or
# {"status", "body", "verb", "resource"} of a refused request.
DATA = Path(__file__).parent / "data"
# When the pods of these tests were created, in seconds since the epoch.
CREATED = 1_700_000_000.0
IMAGE = "registry.example/team/notebook:1"


def recorded(name: str) -> dict[str, Any]:
    """One of the files in ``data``."""
    found: dict[str, Any] = json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))
    return found


def stamp(seconds: float) -> str:
    """A point in time, ``seconds`` after the creation, as Kubernetes writes it."""
    at = datetime.datetime.fromtimestamp(CREATED + seconds, datetime.timezone.utc)
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def make_pod(
    *,
    node: str = "node-1",
    phase: str = "Pending",
    state: Mapping[str, Any] | None = None,
    ready: bool = False,
    conditions: Mapping[str, Mapping[str, Any]] | None = None,
    metadata: Mapping[str, Any] | None = None,
    spec: Mapping[str, Any] | None = None,
    status: Mapping[str, Any] | None = None,
    container: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A runner's pod.  ``state`` is that of its container, ``conditions`` are by type."""
    runner = {"name": "runner", "image": IMAGE, "command": ["python3"], **(container or {})}
    statuses = [{"name": "runner", "state": state, "ready": ready}] if state is not None else []
    return {
        "metadata": {
            "name": "runner-1",
            "namespace": "team",
            "uid": "uid-1",
            "creationTimestamp": stamp(0),
            **(metadata or {}),
        },
        "spec": {
            **({"nodeName": node} if node else {}),
            "containers": [runner],
            **(spec or {}),
        },
        "status": {
            "phase": phase,
            "conditions": [{"type": kind, **rest} for kind, rest in (conditions or {}).items()],
            "containerStatuses": statuses,
            **(status or {}),
        },
    }


def make_event(
    reason: str,
    message: str = "",
    *,
    at: float = 1.0,
    container: str = "",
    component: str = "kubelet",
    count: int = 1,
    about: str = "runner-1",
    kind: str = "Pod",
    uid: str = "uid-1",
) -> dict[str, Any]:
    """An event on a runner's pod, ``at`` seconds after its creation."""
    path = {"fieldPath": f"spec.containers{{{container}}}"} if container else {}
    return {
        "metadata": {"name": f"{about}.{int(at * 1e9):016x}"},
        "involvedObject": {"kind": kind, "name": about, "uid": uid, **path},
        "reason": reason,
        "message": message,
        "reportingComponent": component,
        "firstTimestamp": stamp(at),
        "lastTimestamp": stamp(at),
        "count": count,
    }
