"""What a namespace allows: what ``gra doctor`` makes of the API server's answers.

Above all which ways to S3 there are, and whether a workspace can be kept.  Pure.

A question is a pod that the API server is asked to take without making it (a *dry run*:
https://kubernetes.io/docs/reference/using-api/api-concepts/#dry-run), by which admission says the
same as to a real one.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from ...diagnosis import Finding, bad, good, of_error
from ...errors import GraError
from ...runner import S3Mount
from .reasons import Reason

#: Of the volume and the container that are asked about.
NAME = "gra-doctor"

_OTHER_WAYS = (
    'In the profile, via = "volume" names a claim or a CSI volume that mounts the bucket, and '
    'via = "fsspec" mounts nothing'
)
# What refuses a privileged container, and not any pod.
_POLICIES = frozenset({Reason.POD_SECURITY_VIOLATED.value, Reason.POLICY_DENIED.value})


def with_sidecar(pod: Mapping[str, Any], image: str) -> dict[str, Any]:
    """The pod with a privileged sidecar, for a profile that has none of its own."""
    asked: dict[str, Any] = copy.deepcopy(dict(pod))
    asked["spec"].setdefault("initContainers", []).append(
        {
            "name": NAME,
            "image": image,
            "restartPolicy": "Always",
            # Sizes of its own: a quota may demand them of every container.
            "resources": {
                "limits": {"cpu": "1", "memory": "768Mi", "ephemeral-storage": "64Mi"},
                "requests": {"cpu": "10m", "memory": "64Mi", "ephemeral-storage": "64Mi"},
            },
            "securityContext": {"privileged": True, "runAsUser": 0, "runAsNonRoot": False},
        }
    )
    return asked


def with_claim(pod: Mapping[str, Any]) -> dict[str, Any]:
    """The pod with a volume that is a claim; admission does not ask whether there is one."""
    asked: dict[str, Any] = copy.deepcopy(dict(pod))
    claim = {"name": NAME, "persistentVolumeClaim": {"claimName": NAME}}
    asked["spec"].setdefault("volumes", []).append(claim)
    return asked


def runner_pod(error: GraError | None, profile: str, namespace: str) -> Finding:
    """Whether the namespace takes runners of the profile at all."""
    name = "runner-pod"
    if error is not None:
        return of_error(name, error)
    return good(name, f"The namespace {namespace!r} takes runners of the profile {profile!r}.")


def sidecar(
    error: GraError | None, namespace: str, *, wanted: bool = False, told: bool = True
) -> Finding:
    """Whether s3fs may run in a privileged sidecar: what ``via = "s3fs"`` needs.

    ``told`` is whether the same pod is taken without the sidecar.
    """
    name = "s3-sidecar"
    if error is None:
        return good(
            name,
            f"The namespace {namespace!r} takes the privileged sidecar that mounts S3 "
            '(via = "s3fs"). Whether its nodes have FUSE is known once it runs.',
        )
    if not told:
        return _not_told(name, "the privileged sidecar", wanted)
    found = of_error(name, error, wanted=wanted)
    if error.code not in _POLICIES:
        return found
    hint = f"{_OTHER_WAYS}."
    if error.code == Reason.POD_SECURITY_VIOLATED.value:
        hint += (
            " To allow it, the cluster's administrator sets the namespace's level: kubectl label "
            f"namespace {namespace} pod-security.kubernetes.io/enforce=privileged --overwrite"
        )
    message = f'The privileged sidecar of via = "s3fs" is not allowed. {error.message}'
    return Finding(name, found.status, message, hint, error.code)


def volume(
    error: GraError | None,
    namespace: str,
    seen: Mapping[str, Sequence[str] | None],
    *,
    wanted: bool = False,
    told: bool = True,
) -> Finding:
    """Whether a runner may have a volume that somebody else mounts: ``via = "volume"``.

    ``seen`` has the names of what there is: ``claims``, ``storage classes``, ``CSI drivers``;
    ``None`` for what may not be read.
    """
    name = "s3-volume"
    if error is not None:
        if not told:
            return _not_told(name, "claims as volumes", wanted)
        return of_error(name, error, wanted=wanted)
    parts = [
        f"{what}: {', '.join(names)}" if names else f"no {what}"
        for what, names in seen.items()
        if names is not None
    ]
    hidden = [what for what, names in seen.items() if names is None]
    about = f" There are {'; '.join(parts)}." if parts else ""
    if hidden:
        about += f" These credentials may not list {' and '.join(hidden)}."
    message = f'The namespace {namespace!r} takes claims and CSI volumes (via = "volume").{about}'
    return good(
        name,
        message,
        "A claim that a CSI driver for S3 provides is made by the cluster's administrator, as a "
        "rule.",
    )


def missing_claims(
    mounts: Sequence[S3Mount], claims: Sequence[str] | None, namespace: str
) -> list[Finding]:
    """The claims that a profile names and the namespace lacks; none where they are not known."""
    named = [mount.volume.get("persistentVolumeClaim", {}).get("claimName") for mount in mounts]
    return [
        bad(
            f"s3[{index}].claim",
            f"There is no claim {claim!r} in the namespace {namespace!r}.",
            "Create it, or correct its name in the profile; `kubectl get persistentvolumeclaims` "
            "shows those there are.",
        )
        for index, claim in enumerate(named)
        if claim is not None and claims is not None and claim not in claims
    ]


def workspace(
    error: GraError | None, claim: str, wanted_class: str | None, classes: Sequence[str] | None
) -> Finding:
    """Whether the claim of a workspace that is kept is there, or would be made.

    ``classes`` are the cluster's storage classes, ``None`` if they may not be listed.
    """
    name = "workspace"
    if error is not None and error.code == Reason.ALREADY_EXISTS.value:
        return good(name, f"The workspace is kept in the claim {claim!r}, which is there.")
    if error is not None:
        return of_error(name, error)
    if wanted_class is not None and classes is not None and wanted_class not in classes:
        return bad(
            name,
            f"The workspace is to be kept on storage of the class {wanted_class!r}, and the "
            f"cluster has {', '.join(classes) or 'none'}.",
            "Correct workspace.storage_class in the profile.",
        )
    return good(
        name, f"The workspace is kept in the claim {claim!r}, which the first runner makes."
    )


def fsspec(image: str, *, wanted: bool = False) -> Finding:
    """``via = "fsspec"`` needs nothing of the cluster, but something of the image."""
    return good(
        "s3-fsspec",
        f'via = "fsspec" needs no mount and is always allowed. Whether the image {image} has '
        "Python's s3fs is known only once it runs.",
        "In a runner, `gra exec NAME -- python -c 'import s3fs'` tells." if wanted else "",
    )


def _not_told(name: str, what: str, wanted: bool) -> Finding:
    return bad(
        name,
        f"Whether {what} would be allowed cannot be told while the runner's own pod is refused.",
        "Mend that first.",
        wanted=wanted,
    )
