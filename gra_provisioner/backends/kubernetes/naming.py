"""The labels and annotations that gra's pods carry, and what is read back from them.

A label selects, but takes 63 characters of a small alphabet; an annotation takes any text.  So
what may be selected by is a label made fit by :func:`label_value`, and where the text may be any,
an annotation of the same key has it in full.
Source: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from ...runner import RunnerLabels
from .podview import dig, epoch, text

#: The label, and its value, of everything that gra makes.
MANAGED_BY = ("app.kubernetes.io/managed-by", "gra")

#: What the keys of gra's own labels and annotations begin with.
PREFIX = "gra.dev/"

#: The name of the pod, so that a Service or a policy can select one runner.
RUNNER = "gra.dev/runner"
PROFILE = "gra.dev/profile"
#: A label, and an annotation with the full text.
OWNER = "gra.dev/owner"
#: A label, and an annotation with the full text.
KERNEL_ID = "gra.dev/kernel-id"

#: Annotations from here on.
KERNEL_NAME = "gra.dev/kernel-name"
NOTEBOOK = "gra.dev/notebook"
CLIENT_HOST = "gra.dev/client-host"
#: The name of the ConfigMap that the agent came from, which ends with the digest of its archive.
AGENT = "gra.dev/agent"
#: Seconds from the pod's creation in which its agent should have answered.
START_TIMEOUT = "gra.dev/start-timeout"
#: The extended resource that the pod's GPUs are, where it has any.
GPU_RESOURCE = "gra.dev/gpu-resource"
#: A random word of the launch that made the pod, by which it knows its own again.
LAUNCH = "gra.dev/launch"
#: Who asked for the deletion, where gra did it.
DELETED_BY = "gra.dev/deleted-by"

_LABEL_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?", re.ASCII)
_LABEL_LENGTH = 63


class PodRunner(NamedTuple):
    """What a pod's metadata say about the runner.  ``created`` in seconds since the epoch."""

    name: str
    uid: str
    profile: str
    labels: RunnerLabels
    created: float


def is_label_value(value: str) -> bool:
    """Whether the text can be the value of a label as it is."""
    return _LABEL_VALUE.fullmatch(value) is not None


def label_value(value: str) -> str:
    """The text as the value of a label: itself if it can be one, else what is left and a hash.

    The hash keeps texts apart that look the same once made fit (``a b@c`` and ``a-b-c``).
    """
    if is_label_value(value):
        return value
    digest = hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    fit = re.sub(r"[^A-Za-z0-9._-]+", "-", value)[: _LABEL_LENGTH - len(digest) - 1]
    return f"{fit.strip('._-')}-{digest}".lstrip("-")


def runner_labels(name: str, profile: str, labels: RunnerLabels) -> dict[str, str]:
    """The labels of a runner's pod."""
    managed_by, gra = MANAGED_BY
    values = {
        managed_by: gra,
        RUNNER: name,
        PROFILE: label_value(profile),
        OWNER: label_value(labels.owner),
    }
    if labels.kernel_id is not None:
        values[KERNEL_ID] = label_value(labels.kernel_id)
    return values


def runner_annotations(labels: RunnerLabels) -> dict[str, str]:
    """The annotations that say who and what a runner is for."""
    values = {
        OWNER: labels.owner,
        KERNEL_ID: labels.kernel_id,
        KERNEL_NAME: labels.kernel_name,
        NOTEBOOK: labels.notebook,
        CLIENT_HOST: labels.client_host,
    }
    # A path that is no UTF-8 has lone surrogates in it, which no JSON document can hold.
    return {
        key: value.encode("utf-8", "replace").decode("utf-8")
        for key, value in values.items()
        if value is not None
    }


def runner_from_pod(pod: Mapping[str, Any]) -> PodRunner:
    """What :func:`runner_labels` and :func:`runner_annotations` wrote, read back.

    Never raises: a pod that others have labelled may lack anything but its name.
    """
    metadata = dig(pod, "metadata")

    def noted(key: str) -> str | None:
        found = (dig(metadata, kind, key) for kind in ("annotations", "labels"))
        return next((value for value in found if isinstance(value, str)), None)

    return PodRunner(
        name=text(metadata, "name"),
        uid=text(metadata, "uid"),
        profile=noted(PROFILE) or "",
        labels=RunnerLabels(
            owner=noted(OWNER) or "",
            kernel_id=noted(KERNEL_ID),
            kernel_name=noted(KERNEL_NAME),
            notebook=noted(NOTEBOOK),
            client_host=noted(CLIENT_HOST),
            user_labels=_user_labels(dig(metadata, "labels")),
        ),
        created=epoch(metadata, "creationTimestamp") or 0.0,
    )


def _user_labels(labels: Any) -> dict[str, str]:
    """The labels that are not gra's own: the profile's, the launch's, or a stranger's."""
    if not isinstance(labels, Mapping):
        return {}
    return {
        name: value
        for name, value in labels.items()
        if isinstance(value, str) and not name.startswith(PREFIX) and name != MANAGED_BY[0]
    }
