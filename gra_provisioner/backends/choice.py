"""Which backend is used, and why.  Pure; the sentence is shown wherever runners are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ..profiles import Config


@dataclass(frozen=True)
class Choice:
    """A backend's name, and which setting decided for it, as a sentence without a full stop."""

    backend: Literal["local", "kubernetes"]
    reason: str


def choose(config: Config, environ: Mapping[str, str], in_cluster: bool) -> Choice:
    """The backend of this process.

    ``auto`` is Kubernetes only where somebody has chosen a cluster for gra: by naming a context
    or a namespace in its configuration, or by running this process in one (``in_cluster``: it
    has a service account).  A kubeconfig is no choice: it lies on many laptops whose owners would
    not have their notebooks run on whatever cluster was used last.  ``environ`` only adds to the
    reason that this is so.
    """
    if config.backend != "auto":
        return Choice(
            config.backend, f'{config.origin("backend")} sets backend to "{config.backend}"'
        )
    for field, value in (
        ("context", config.kubernetes.context),
        ("namespace", config.kubernetes.namespace),
    ):
        if value:
            origin = config.origin(f"kubernetes.{field}")
            return Choice("kubernetes", f"{origin} names the {field} {value!r}")
    if in_cluster:
        return Choice("kubernetes", "this process runs in a cluster")
    return Choice("local", _no_cluster(config, environ))


def _no_cluster(config: Config, environ: Mapping[str, str]) -> str:
    reason = "no cluster is configured for gra: name a context or namespace to use one"
    if config.kubernetes.kubeconfig:
        return f"{reason}; {config.origin('kubernetes.kubeconfig')} names only a kubeconfig"
    if environ.get("KUBECONFIG"):
        return f"{reason}; KUBECONFIG alone chooses none"
    return reason
