"""The folder in which a pod's kernels start, and the claim of one that is kept.  Pure.

Source: https://kubernetes.io/docs/concepts/storage/persistent-volumes/
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

from ...runner import RunnerLabels, RunnerSpec, Workspace
from ...units import size_quantity
from .naming import MANAGED_BY, OWNER, PREFIX, label_value

#: The label of a claim that has the workspace's name.
WORKSPACE = f"{PREFIX}workspace"

_LONGEST_OWNER = 40
# Of one that is kept and says nothing of its size.
_CLAIMED = 10 * 2**30


def workspace_volume(workspace: Workspace, owner: str) -> dict[str, Any]:
    """The source of the volume, in Kubernetes' words."""
    if workspace.keep:
        return {"persistentVolumeClaim": {"claimName": claim_name(owner, workspace.name)}}
    # Without a size it counts as the runner's ephemeral storage, which is bounded anyway.
    limit = {} if workspace.size is None else {"sizeLimit": size_quantity(workspace.size)}
    return {"emptyDir": limit}


def workspace_claim(spec: RunnerSpec, labels: RunnerLabels) -> dict[str, Any] | None:
    """The claim that a runner's workspace needs; ``None`` where it goes with the runner.

    Whoever launches makes it if it is missing.  Nobody deletes it, and one that is there is taken
    as it is, whatever its size.
    """
    workspace = spec.workspace
    if not workspace.keep:
        return None
    managed_by, gra = MANAGED_BY
    claim: dict[str, Any] = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": size_quantity(workspace.size or _CLAIMED)}},
    }
    if workspace.storage_class is not None:
        claim["storageClassName"] = workspace.storage_class
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": claim_name(labels.owner, workspace.name),
            "labels": {
                managed_by: gra,
                OWNER: label_value(labels.owner),
                WORKSPACE: workspace.name,
            },
            # A name that is no UTF-8 has lone surrogates in it, which no JSON document can hold.
            "annotations": {OWNER: labels.owner.encode("utf-8", "replace").decode("utf-8")},
        },
        "spec": claim,
    }


def claim_name(owner: str, name: str) -> str:
    """The name of an owner's claim: ``gra-ada-workspace``.

    An owner whose name can be no part of it is made fit, with a hash that keeps such apart.
    """
    fit = re.sub(r"[^a-z0-9]+", "-", owner.lower())[:_LONGEST_OWNER].strip("-")
    if fit != owner:
        digest = hashlib.sha256(owner.encode("utf-8", "surrogatepass")).hexdigest()[:8]
        fit = f"{fit}-{digest}".lstrip("-")
    return f"gra-{fit}-{name}"
