"""From a profile to a pod: what Kubernetes is given for what was written."""

from __future__ import annotations

import base64
import dataclasses
import io
import zipfile
from pathlib import Path
from typing import Any

import pytest

from gra_provisioner.agent.main import parse
from gra_provisioner.archive import archive_digest, build_agent_archive
from gra_provisioner.backends.kubernetes.manifest import (
    AGENT_PATH,
    AGENT_PORT,
    agent_config_map,
    pod_manifest,
)
from gra_provisioner.errors import ConfigError
from gra_provisioner.profiles import load_config, resolve
from gra_provisioner.runner import RunnerLabels, RunnerSpec
from tests.support.schemas import validate

VERSIONS = ("1.28", "1.29", "1.30", "1.31", "1.32", "1.33", "1.34", "1.35")
LABELS = RunnerLabels("ada", "an-id", "gra", "work/a.ipynb", "laptop")


def _spec(folder: Path, text: str = "") -> RunnerSpec:
    """The spec of the profile that has these lines."""
    file = folder / "config.toml"
    file.write_text(f"[profiles.mine]\n{text}", encoding="utf-8")
    environ = {"HERE": "a secret of the client"}
    return resolve(load_config(environ, [file]), {"profile": "mine"})


def _pod(folder: Path, text: str = "") -> dict[str, Any]:
    return pod_manifest("runner-3", _spec(folder, text), LABELS, "gra-agent-0123")


def _container(folder: Path, text: str = "") -> dict[str, Any]:
    (container,) = _pod(folder, text)["spec"]["containers"]
    assert isinstance(container, dict)
    return container


EVERYTHING = """
image = "registry.example.com/team/notebook:1"
start_timeout = "5m"
resources = {cpu = 1.5, memory = "1Gi", ephemeral_storage = "4G", gpu = 2}
ttl = {orphan = "30m", idle = "2h", lifetime = "8h"}
env = {SECRET = {from_env = "HERE"}}

[profiles.mine.pod]
python = "/opt/conda/bin/python"
image_pull_policy = "Always"
image_pull_secrets = ["pull"]
user = 2000
group = 0
fs_group = 100
requests = {cpu = "250m", memory = "512Mi", ephemeral_storage = "1Gi"}
gpu_resource = "amd.com/gpu"
node_selector = {"example.com/pool" = "notebooks"}
tolerations = [{key = "gpu", operator = "Exists", effect = "NoSchedule"}]
priority_class = "low"
runtime_class = "gvisor"
scheduler_name = "packer"
service_account = "notebooks"
service_account_token = true
volumes = [{name = "data", persistentVolumeClaim = {claimName = "data"}}]
volume_mounts = [{name = "data", mountPath = "/srv/data", readOnly = true}]
env = [{name = "TOKEN", valueFrom = {secretKeyRef = {name = "tokens", key = "t"}}}]
env_from = [{configMapRef = {name = "common"}}]
labels = {team = "a"}
annotations = {"example.com/cost" = "some text"}
termination_grace = "30s"

[[profiles.mine.pod.topology_spread]]
maxSkew = 1
topologyKey = "kubernetes.io/hostname"
whenUnsatisfiable = "ScheduleAnyway"
labelSelector = {matchLabels = {"app.kubernetes.io/managed-by" = "gra"}}

[[profiles.mine.pod.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution]]
weight = 1
preference = {matchExpressions = [{key = "disk", operator = "In", values = ["fast"]}]}

[profiles.mine.pod.patch.spec]
dnsPolicy = "Default"
"""


# -- what Kubernetes takes ------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("text", ["", EVERYTHING], ids=["defaults", "everything"])
def test_the_pod_is_valid_in_every_version(tmp_path: Path, version: str, text: str) -> None:
    validate(_pod(tmp_path, text), version)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_config_map_is_valid_in_every_version(version: str) -> None:
    validate(agent_config_map(b"an archive"), version)


def test_every_option_reaches_the_pod(tmp_path: Path) -> None:
    pod = _pod(tmp_path, EVERYTHING)
    metadata, spec = pod["metadata"], pod["spec"]
    (container,) = spec["containers"]

    assert container["image"] == "registry.example.com/team/notebook:1"
    assert container["command"] == ["/opt/conda/bin/python", "-I", "-S", AGENT_PATH]
    assert container["imagePullPolicy"] == "Always"
    assert container["resources"] == {
        "limits": {
            "cpu": "1500m",
            "memory": "1Gi",
            "ephemeral-storage": "4G",
            "amd.com/gpu": "2",
        },
        "requests": {
            "cpu": "250m",
            "memory": "512Mi",
            "ephemeral-storage": "1Gi",
            "amd.com/gpu": "2",
        },
    }
    assert {"name": "data", "mountPath": "/srv/data", "readOnly": True} in container["volumeMounts"]
    assert container["env"][-1]["valueFrom"] == {"secretKeyRef": {"name": "tokens", "key": "t"}}
    assert container["envFrom"] == [{"configMapRef": {"name": "common"}}]
    assert spec["imagePullSecrets"] == [{"name": "pull"}]
    security = spec["securityContext"]
    assert (security["runAsUser"], security["runAsGroup"], security["fsGroup"]) == (2000, 0, 100)
    assert spec["nodeSelector"] == {"example.com/pool": "notebooks"}
    assert spec["tolerations"] == [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert spec["topologySpreadConstraints"][0]["topologyKey"] == "kubernetes.io/hostname"
    assert "nodeAffinity" in spec["affinity"]
    assert spec["priorityClassName"] == "low"
    assert spec["runtimeClassName"] == "gvisor"
    assert spec["schedulerName"] == "packer"
    assert spec["serviceAccountName"] == "notebooks"
    assert spec["automountServiceAccountToken"] is True
    assert spec["terminationGracePeriodSeconds"] == 30
    claim = {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}
    assert claim in spec["volumes"]
    assert metadata["labels"]["team"] == "a"
    assert metadata["annotations"]["example.com/cost"] == "some text"
    assert spec["dnsPolicy"] == "Default"


def test_requests_are_the_limits_unless_said_otherwise(tmp_path: Path) -> None:
    resources = _container(tmp_path)["resources"]
    assert resources["limits"] == {"cpu": "2", "memory": "2Gi", "ephemeral-storage": "40Gi"}
    assert resources["requests"] == resources["limits"]
    resources = _container(tmp_path, "pod.requests.cpu = 0.1")["resources"]
    assert resources["requests"] == {**resources["limits"], "cpu": "100m"}


def test_the_preset_gpu_asks_for_one(tmp_path: Path) -> None:
    text = 'extends = "gpu"\npod.gpu_resource = "amd.com/gpu"'
    assert _container(tmp_path, text)["resources"]["limits"]["amd.com/gpu"] == "1"


# -- what the agent needs -------------------------------------------------------------------


def test_the_agent_understands_its_arguments(tmp_path: Path) -> None:
    text = 'ttl = {orphan = 90, idle = "never", lifetime = 0.5}\nbuffers = {memory = 1, spill = 0}'
    container = _container(tmp_path, text)

    options = parse(container["args"])

    assert (options.orphan_ttl, options.idle_ttl, options.lifetime) == (90, None, 0.5)
    assert (options.memory, options.spill, options.scope) == (1, 0, "cgroup")
    assert (options.port, options.uid) == (AGENT_PORT, "$(GRA_RUNNER_UID)")
    assert options.last_word == container["terminationMessagePath"]
    uid = {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.uid"}}
    assert {"name": "GRA_RUNNER_UID", "valueFrom": uid} in container["env"]


def test_all_that_is_written_to_is_a_volume_and_the_agent_is_read_only(tmp_path: Path) -> None:
    pod = _pod(tmp_path)
    mounts = {mount["mountPath"]: mount for mount in pod["spec"]["containers"][0]["volumeMounts"]}
    assert mounts.keys() == {"/opt/gra", "/tmp", "/home/runner", "/workspace", "/run/gra"}
    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    assert volumes.keys() == {mount["name"] for mount in mounts.values()}
    assert mounts["/opt/gra"]["readOnly"] is True
    assert volumes[mounts["/opt/gra"]["name"]]["configMap"] == {"name": "gra-agent-0123"}


def test_kernels_start_in_the_workspace_unless_told_otherwise(tmp_path: Path) -> None:
    container = _container(tmp_path)
    assert container["workingDir"] == "/workspace"
    assert {"name": "work", "mountPath": "/workspace"} in container["volumeMounts"]


def test_the_agents_archive_is_in_a_config_map_named_by_its_content() -> None:
    archive = build_agent_archive()

    config_map = agent_config_map(archive)

    assert config_map["metadata"]["name"] == f"gra-agent-{archive_digest(archive)}"
    assert config_map["immutable"] is True
    content = base64.b64decode(config_map["binaryData"]["agent.pyz"])
    assert "__main__.py" in zipfile.ZipFile(io.BytesIO(content)).namelist()
    # https://kubernetes.io/docs/concepts/configuration/configmap/: at most 1 MiB.
    assert len(config_map["binaryData"]["agent.pyz"]) < 2**20


def test_the_agent_ends_a_runner_before_kubernetes_does(tmp_path: Path) -> None:
    assert "activeDeadlineSeconds" not in _pod(tmp_path)["spec"]
    pod = _pod(tmp_path, 'ttl.lifetime = "1h"\nstart_timeout = 100')
    assert pod["spec"]["activeDeadlineSeconds"] == 3600 + 100 + 60
    pod = _pod(tmp_path, 'ttl.lifetime = "36000d"')
    assert pod["spec"]["activeDeadlineSeconds"] == 2**31 - 1


def test_no_value_of_the_kernels_environment_is_in_the_pod(tmp_path: Path) -> None:
    pod = _pod(tmp_path, 'env = {SECRET = {from_env = "HERE"}, PLAIN = "a plain value"}')
    for absent in ("SECRET", "a secret of the client", "PLAIN", "a plain value"):
        assert absent not in str(pod)


# -- a profile's own volumes and variables --------------------------------------------------


def test_the_workspace_can_be_a_volume_of_the_profile(tmp_path: Path) -> None:
    text = """
    pod.volumes = [{name = "mine", persistentVolumeClaim = {claimName = "w"}}]
    pod.volume_mounts = [{name = "mine", mountPath = "/workspace/"}]
    """
    spec = _pod(tmp_path, text)["spec"]
    assert "work" not in [volume["name"] for volume in spec["volumes"]]
    paths = [mount["mountPath"] for mount in spec["containers"][0]["volumeMounts"]]
    assert "/workspace" not in paths


def test_a_volume_named_as_one_of_gras_takes_its_place(tmp_path: Path) -> None:
    text = 'pod.volumes = [{name = "tmp", emptyDir = {medium = "Memory"}}]'
    spec = _pod(tmp_path, text)["spec"]
    named = [volume for volume in spec["volumes"] if volume["name"] == "tmp"]
    assert named == [{"name": "tmp", "emptyDir": {"medium": "Memory"}}]
    mounts = spec["containers"][0]["volumeMounts"]
    assert {"name": "tmp", "mountPath": "/tmp"} in mounts


def test_home_can_be_set(tmp_path: Path) -> None:
    env = _container(tmp_path, 'pod.env = [{name = "HOME", value = "/srv"}]')["env"]
    assert [v["value"] for v in env if v["name"] == "HOME"] == ["/srv"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('volumes = [{name = "gra-run"}]', 'volumes[0]: the name "gra-run" is gra\'s own'),
        (
            'volume_mounts = [{name = "a", mountPath = "/srv/../run/gra/x"}]',
            'volume_mounts[0]: the mountPath "/run/gra/x" is in /run/gra, which is the agent\'s',
        ),
        ('env = [{name = "GRA_RUNNER", value = "x"}]', "env[0]: GRA_RUNNER is set by gra"),
        ('labels = {"gra.dev/owner" = "x"}', "labels.gra.dev/owner: is set by gra"),
        ('annotations = {"gra.dev/x" = "x"}', "annotations.gra.dev/x: is set by gra"),
        (
            'labels = {"app.kubernetes.io/managed-by" = "x"}',
            "labels.app.kubernetes.io/managed-by: is set by gra",
        ),
    ],
)
def test_what_gra_needs_is_not_taken_from_it(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _pod(tmp_path, f"pod.{text}")
    assert caught.value.message.startswith(f"profile 'mine': pod.{message}")


# -- patches --------------------------------------------------------------------------------


def test_the_patch_comes_last(tmp_path: Path) -> None:
    text = """
    image = "one"
    pod.patch.spec.containers = [{name = "runner", image = "two", workingDir = "/srv"}]
    """
    container = _container(tmp_path, text)
    assert (container["image"], container["workingDir"]) == ("two", "/srv")
    assert container["command"][-1] == AGENT_PATH


@pytest.mark.parametrize(
    ("patch", "field"),
    [
        ({"kind": "Job"}, "kind"),
        ({"metadata": {"name": "other"}}, "metadata.name"),
        ({"metadata": {"namespace": "other"}}, "metadata.namespace"),
        ({"metadata": None}, "metadata.name"),
        ({"metadata": {"labels": {"gra.dev/owner": "x"}}}, "metadata.labels.gra.dev/owner"),
        ({"metadata": {"labels": "x"}}, "metadata.labels.app.kubernetes.io/managed-by"),
        ({"metadata": {"annotations": {"gra.dev/agent": None}}}, "metadata.annotations.gra.dev/a"),
        ({"spec": None}, "spec.containers"),
        ({"spec": {"containers": [{"name": "runner", "$patch": "delete"}]}}, "spec.containers"),
        ({"spec": {"containers": [{"$patch": "replace"}, {"name": "x"}]}}, "spec.containers"),
    ],
)
def test_a_patch_that_takes_the_runner_away_is_refused(
    tmp_path: Path, patch: dict[str, Any], field: str
) -> None:
    spec = _spec(tmp_path)
    spec = dataclasses.replace(spec, pod=dataclasses.replace(spec.pod, patch=patch))
    with pytest.raises(ConfigError) as caught:
        pod_manifest("runner-1", spec, LABELS, "a")
    assert caught.value.message.startswith(f"profile 'mine': pod.patch.{field}")
