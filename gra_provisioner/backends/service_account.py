"""The service account that Kubernetes mounts into pods: where it is, and whether there is one.

See https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


def in_cluster(environ: Mapping[str, str], account: Path = SERVICE_ACCOUNT) -> bool:
    """Whether this process runs in a pod that has a service account's token."""
    return bool(environ.get("KUBERNETES_SERVICE_HOST")) and (account / "token").is_file()
