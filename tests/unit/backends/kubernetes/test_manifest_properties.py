"""Of every spec that configuration can make, the pod is one that Kubernetes takes."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from hypothesis import given, settings

from gra_provisioner.backends.kubernetes.manifest import pod_manifest
from gra_provisioner.runner import RunnerLabels, RunnerSpec
from tests.support.schemas import validate
from tests.unit.backends.kubernetes.specs import LABELS, SPECS


@settings(max_examples=60, deadline=None)
@given(SPECS, LABELS)
def test_every_pod_is_valid_and_restricted(spec: RunnerSpec, labels: RunnerLabels) -> None:
    pod = pod_manifest("runner-1", spec, labels, "gra-agent-0")
    for version in ("1.28", "1.34"):
        validate(pod, version)
    _assert_restricted(pod)


@settings(max_examples=60, deadline=None)
@given(SPECS, LABELS)
def test_the_same_spec_makes_the_same_pod_and_is_not_changed(
    spec: RunnerSpec, labels: RunnerLabels
) -> None:
    before = copy.deepcopy(spec)
    one, other = (pod_manifest("runner-1", spec, labels, "a") for _ in range(2))
    assert one == other
    # What is done to one pod is not seen in the next.
    one["spec"]["volumes"].clear()
    one["metadata"]["annotations"]["gra.dev/launch"] = "x"
    assert pod_manifest("runner-1", spec, labels, "a") == other
    assert spec == before


def _assert_restricted(pod: Mapping[str, Any]) -> None:
    """The controls of the Pod Security Standard ``restricted``, one by one.

    Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/
    """
    spec = pod["spec"]
    security = spec["securityContext"]
    # Baseline.
    assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
    assert not {"sysctls", "seLinuxOptions", "appArmorProfile", "windowsOptions"} & security.keys()
    assert not any("hostPath" in volume for volume in spec["volumes"])
    # Restricted.
    allowed = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral"}
    allowed |= {"persistentVolumeClaim", "projected", "secret"}
    assert all(volume.keys() - {"name"} <= allowed for volume in spec["volumes"])
    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] != 0
    assert security["seccompProfile"]["type"] in ("RuntimeDefault", "Localhost")
    for container in [*spec["containers"], *spec.get("initContainers", ())]:
        own = container["securityContext"]
        assert "privileged" not in own
        assert "procMount" not in own
        assert "runAsUser" not in own
        assert own["allowPrivilegeEscalation"] is False
        assert own["capabilities"] == {"drop": ["ALL"]}
        assert not any("hostPort" in port for port in container.get("ports", ()))
        # Beyond the standard.
        assert own["readOnlyRootFilesystem"] is True
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert spec["restartPolicy"] == "Never"
