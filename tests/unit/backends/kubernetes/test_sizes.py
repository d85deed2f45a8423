"""What a pod asked for is read back as it was meant."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from gra_provisioner.backends.kubernetes.manifest import pod_manifest
from gra_provisioner.backends.kubernetes.sizes import known_resources
from gra_provisioner.runner import (
    KnownResources,
    PodOptions,
    Resources,
    RunnerLabels,
    RunnerSpec,
)

_SIZES = Resources(cpu=0.5, memory=2 * 2**30, ephemeral_storage=40 * 2**30)


def _pod(spec: RunnerSpec) -> dict[str, Any]:
    return pod_manifest("runner-1", spec, RunnerLabels("me"), "gra-agent-1")


@pytest.mark.parametrize("gpu_resource", ["nvidia.com/gpu", "example.com/accelerator"])
@pytest.mark.parametrize("gpu", [0, 2])
def test_sizes_are_those_of_the_profile(gpu: int, gpu_resource: str) -> None:
    resources = dataclasses.replace(_SIZES, gpu=gpu)
    spec = RunnerSpec("a", resources, pod=PodOptions(gpu_resource=gpu_resource))
    assert known_resources(_pod(spec)) == KnownResources(**dataclasses.asdict(resources))


def test_what_a_patch_or_a_policy_made_of_them_counts() -> None:
    patch = {
        "spec": {
            "containers": [
                {
                    "name": "runner",
                    "resources": {"limits": {"cpu": None, "memory": "4G"}, "requests": {"cpu": 1}},
                }
            ]
        }
    }
    known = known_resources(_pod(RunnerSpec("a", _SIZES, pod=PodOptions(patch=patch))))
    assert (known.cpu, known.memory) == (1.0, 4 * 10**9)


@pytest.mark.parametrize(
    "limits", [None, [], {"cpu": [], "memory": "100m", "ephemeral-storage": "lots"}]
)
def test_what_cannot_be_read_is_not_known(limits: Any) -> None:
    container = {"name": "runner", "resources": {"limits": limits}}
    pod = {"spec": {"containers": [container]}}
    assert known_resources(pod) == KnownResources(gpu=0)
    assert known_resources({}) == KnownResources()
