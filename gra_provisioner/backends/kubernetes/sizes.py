"""What a pod asked for, read back from its spec.  Pure.

Of each resource the limit is meant, and where there is none the request: a pod that a policy of
the cluster has changed says so.
Source: https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ...runner import KnownResources, PodOptions
from ...units import parse_cpu, parse_size
from .naming import GPU_RESOURCE
from .podview import dig, runner_of, text

T = TypeVar("T")


def known_resources(pod: Any) -> KnownResources:
    """The resources of the container with the agent in it.  Never raises."""
    spec = runner_of(pod).spec
    gpu_resource = text(pod, "metadata", "annotations", GPU_RESOURCE) or PodOptions.gpu_resource
    gpu = _read(spec, gpu_resource, parse_size)
    return KnownResources(
        cpu=_read(spec, "cpu", parse_cpu),
        memory=_read(spec, "memory", parse_size),
        ephemeral_storage=_read(spec, "ephemeral-storage", parse_size),
        # One that asks for none does not name them.
        gpu=0 if gpu is None and spec else gpu,
    )


def _read(spec: Any, name: str, parse: Callable[[object], T]) -> T | None:
    for kind in ("limits", "requests"):
        value = dig(spec, "resources", kind, name)
        if value is not None:
            try:
                return parse(value)
            except ValueError:
                # Not as people write sizes, which Kubernetes takes too: 100m bytes.
                return None
    return None
