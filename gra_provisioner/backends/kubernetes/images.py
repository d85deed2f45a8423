"""Why an image could not be pulled, from the kubelet's and the container runtime's own words.

Kubernetes itself knows only that a pull failed: the cause stands in the text, which is that of
containerd, CRI-O or Docker and of the registry.
Sources: kubernetes ``pkg/kubelet/images`` (waiting reasons), ``cri-api/pkg/errors``; containerd
``core/remotes/docker`` (texts); the error codes of https://github.com/opencontainers/distribution-spec.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from .podview import Container, Event, text
from .reasons import Explanation, Reason, explain, quote

# What a container waits for (state.waiting.reason) while its image cannot be had.
_RETRIED = frozenset(
    {"ErrImagePull", "RegistryUnavailable", "ImageInspectError", "ImagePullBackOff"}
)
_BACK_OFF = "ImagePullBackOff"
_PULL_FAILED = "Failed to pull image"


def _cause(reason: Reason, pattern: str) -> tuple[Reason, re.Pattern[str]]:
    return reason, re.compile(pattern, re.IGNORECASE)


# Texts in the order in which they are looked for: "pull access denied, repository does not exist"
# is what a registry says of a private image, so refusals come before images that are missing.
# A network fault on the way to a token server also speaks of authorization: it comes first.
_CAUSES = (
    _cause(Reason.NODE_DISK_FULL, r"no space left on device|disk quota exceeded"),
    _cause(Reason.IMAGE_WRONG_PLATFORM, r"no match for platform|no matching manifest for"),
    _cause(Reason.IMAGE_UNTRUSTED, r"SignatureValidationFailed|signature validation failed"),
    _cause(Reason.REGISTRY_RATE_LIMIT, r"toomanyrequests|429 too many requests|rate limit"),
    _cause(
        Reason.REGISTRY_UNREACHABLE,
        r"dial tcp|i/o timeout|no such host|connection (?:refused|reset)|no route to host"
        r"|TLS handshake|x509:|HTTP response to HTTPS client|unexpected EOF|: EOF$"
        r"|deadline exceeded|Client\.Timeout|registry is unavailable"
        r"|unexpected status[^:]*: 5\d\d|5\d\d (?:Bad Gateway|Service Unavailable)",
    ),
    _cause(
        Reason.IMAGE_PULL_DENIED,
        r"pull access denied|\bdenied\b|unauthorized|authorization failed"
        r"|authentication required|insufficient_scope|no basic auth credentials"
        r"|401 Unauthorized|403 Forbidden|status code \[?40[13]|permission_denied",
    ),
    _cause(
        Reason.IMAGE_NOT_FOUND,
        r"code = NotFound|: not found|manifest unknown|manifest for .* not found"
        r"|name unknown|404 Not Found|no such image|repository .* not found",
    ),
)
# These are what the registry itself said of the image: asking again changes nothing.
_AT_ONCE = frozenset(
    {
        Reason.IMAGE_WRONG_PLATFORM,
        Reason.IMAGE_UNTRUSTED,
        Reason.IMAGE_PULL_DENIED,
        Reason.IMAGE_NOT_FOUND,
    }
)


class _Words(NamedTuple):
    """What is said of a cause, and what to do about it."""

    what: str
    hint: str


_WORDS: dict[Reason, _Words] = {
    Reason.NODE_DISK_FULL: _Words(
        "The node has no room for the image {image}",
        "Try again: another node may have room. An administrator can free the node's disk.",
    ),
    Reason.IMAGE_WRONG_PLATFORM: _Words(
        "The image {image} is not made for the node's kind of machine",
        "Build it for that architecture too, or choose other nodes with pod.node_selector "
        "(kubernetes.io/arch).",
    ),
    Reason.IMAGE_UNTRUSTED: _Words(
        "The cluster does not trust the signature of the image {image}",
        "Use an image that is signed as the cluster's administrator demands.",
    ),
    Reason.REGISTRY_RATE_LIMIT: _Words(
        "The registry allows no more downloads for now, so the image {image} cannot be pulled",
        "Wait, or log in to the registry with a Secret named in pod.image_pull_secrets.",
    ),
    Reason.REGISTRY_UNREACHABLE: _Words(
        "The registry of the image {image} could not be reached from the node",
        "Check the registry's name in the image. If it is right, the cluster's administrator "
        "knows whether nodes can reach it and trust its certificate.",
    ),
    Reason.IMAGE_PULL_DENIED: _Words(
        "The registry does not let this cluster pull the image {image}",
        "Check the name: registries say the same of images that do not exist. A private image "
        "needs a Secret of type kubernetes.io/dockerconfigjson, named in pod.image_pull_secrets.",
    ),
    Reason.IMAGE_NOT_FOUND: _Words(
        "There is no image {image}",
        "Correct the name or the tag: {setting}.",
    ),
    Reason.IMAGE_PULL_FAILED: _Words(
        "The image {image} could not be pulled",
        "The container runtime of the node says why; the cluster's administrator can see more.",
    ),
}


def pull_failure(container: Container, events: Sequence[Event]) -> Explanation | None:
    """Why this container's image cannot be had, or ``None`` while it still may be.

    ``events`` are those on its pod.  An event is known up to a second before the container's
    state says the same, so either is enough.
    """
    about = [event for event in events if event.container in ("", container.name)]
    waiting = text(container.waiting, "reason")
    said = text(container.waiting, "message")
    for event in about:
        if event.reason == "ErrImageNeverPull" and not waiting.startswith("ErrImageNeverPull"):
            waiting, said = "ErrImageNeverPull", event.message
        elif event.reason == "InspectFailed" and "Failed to apply default image tag" in (
            event.message
        ):
            waiting, said = "InvalidImageName", event.message
    image = container.described
    if waiting == "ErrImageNeverPull":
        return explain(
            Reason.IMAGE_NOT_ON_NODE,
            f"The node does not have the image {image}, and may not pull it: {quote(said)}",
            "Set pod.image_pull_policy to IfNotPresent, or have the image put on the nodes.",
            image=container.image,
        )
    if waiting == "InvalidImageName":
        return explain(
            Reason.INVALID_IMAGE_NAME,
            f"{image} is not the name of an image: {quote(said)}",
            "Names have small letters: registry/repository:tag. Correct "
            f"{container.image_setting}.",
            image=container.image,
        )
    return _failed_pull(container, about, waiting, said)


def _failed_pull(
    container: Container, events: Sequence[Event], waiting: str, said: str
) -> Explanation | None:
    failures = [e for e in events if e.reason == "Failed" and _PULL_FAILED in e.message]
    if not failures and waiting not in _RETRIED and waiting != "SignatureValidationFailed":
        return None
    # The state of a back-off repeats the cause only from Kubernetes 1.32 on, the event always has
    # it; without the right to read events there is the state alone.
    sentence = failures[-1].message if failures else said
    found = (reason for reason, pattern in _CAUSES if pattern.search(f"{sentence}\n{said}"))
    reason = next(found, Reason.IMAGE_PULL_FAILED)
    again = waiting == _BACK_OFF or sum(event.count for event in failures) > 1
    if reason not in _AT_ONCE and not again:
        return None
    what, hint = _WORDS[reason]
    hint = hint.format(setting=container.image_setting)
    for event in events:
        if reason is Reason.IMAGE_PULL_DENIED and event.reason == "FailedToRetrieveImagePullSecret":
            hint = f"{quote(event.message)} {hint}"
    return explain(
        reason,
        f"{what.format(image=container.described)}: {quote(sentence)}",
        hint,
        image=container.image,
    )
