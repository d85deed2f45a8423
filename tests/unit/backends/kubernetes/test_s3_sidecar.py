"""What buckets of S3 add to a pod, and that the kernel's container stays as restricted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gra_provisioner.agent.main import parse
from gra_provisioner.agent.s3 import mount as agents
from gra_provisioner.agent.s3 import sidecar as agents_sidecar
from gra_provisioner.agent.s3.sidecar import _parse
from gra_provisioner.backends.kubernetes.manifest import pod_manifest
from gra_provisioner.backends.kubernetes.s3_sidecar import (
    CACHE_FOLDER,
    MOUNTS_VARIABLE,
    SECRETS_FOLDER,
    SOCKET,
)
from gra_provisioner.errors import ConfigError
from gra_provisioner.profiles import load_config, resolve
from gra_provisioner.runner import RunnerLabels, RunnerSpec
from gra_provisioner.s3_schema import OPTIONS
from tests.support.schemas import validate

LABELS = RunnerLabels("ada", "an-id", "gra", "work/a.ipynb", "laptop")
ALLOWED = """
allow_privileged_sidecar = true
s3_sidecar = {image = "registry.example.com/s3fs:1", memory = "512Mi", cpu = 0.5, cache = "128Mi"}
"""
LAKE = """
[[profiles.mine.s3]]
bucket = "lake"
prefix = "team/a"
mount = "/data/lake"
endpoint = "https://s3.example.com"
region = "eu-central-1"
"""
FSSPEC = '[[profiles.mine.s3]]\nvia = "fsspec"\nbucket = "lake"\n'


def _spec(folder: Path, text: str) -> RunnerSpec:
    file = folder / "config.toml"
    file.write_text(f"[profiles.mine]\n{text}", encoding="utf-8")
    return resolve(load_config({}, [file]), {"profile": "mine"})


def _pod(folder: Path, text: str) -> dict[str, Any]:
    return pod_manifest("runner-3", _spec(folder, text), LABELS, "gra-agent-0123")


def _parts(folder: Path, text: str) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The sidecar, the runner's container and the volumes by name."""
    spec = _pod(folder, text)["spec"]
    (sidecar,), (runner,) = spec["initContainers"], spec["containers"]
    return sidecar, runner, {volume["name"]: volume for volume in spec["volumes"]}


def _mounts(container: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {mount["mountPath"]: mount for mount in container["volumeMounts"]}


def _variables(container: dict[str, Any]) -> dict[str, Any]:
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container["env"]}


# -- s3fs -------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["1.29", "1.31", "1.34", "1.35"])
def test_a_pod_with_buckets_is_valid(tmp_path: Path, version: str) -> None:
    text = f'{ALLOWED}{LAKE}credentials = {{secret = "k"}}\nca = {{config_map = "c"}}\n'
    validate(_pod(tmp_path, text), version)


def test_a_pod_without_buckets_has_no_sidecar(tmp_path: Path) -> None:
    spec = _pod(tmp_path, ALLOWED)["spec"]
    assert "initContainers" not in spec
    assert not any(volume["name"].startswith("gra-s3") for volume in spec["volumes"])


def test_the_kernels_container_is_as_restricted_as_without(tmp_path: Path) -> None:
    _, runner, _ = _parts(tmp_path, ALLOWED + LAKE)
    (without,) = _pod(tmp_path, "")["spec"]["containers"]
    assert runner["securityContext"] == without["securityContext"]
    pod = _pod(tmp_path, ALLOWED + LAKE)["spec"]
    assert pod["securityContext"] == _pod(tmp_path, "")["spec"]["securityContext"]
    assert not {"hostPID", "hostIPC", "hostNetwork", "shareProcessNamespace"} & pod.keys()


def test_nothing_is_shared_with_the_node(tmp_path: Path) -> None:
    text = f'{ALLOWED}{LAKE}credentials = {{secret = "k"}}\n'
    pod = _pod(tmp_path, text)["spec"]
    assert "mountPropagation" not in json.dumps(pod)
    assert "hostPath" not in json.dumps(pod)
    sidecar, _, _ = _parts(tmp_path, text)
    assert sidecar["restartPolicy"] == "Always"
    assert sidecar["securityContext"] == {
        "privileged": True,
        "runAsUser": 0,
        "runAsGroup": 0,
        "runAsNonRoot": False,
        "readOnlyRootFilesystem": True,
    }


def test_the_bare_folder_and_the_socket_cannot_be_written_to_by_the_kernel(tmp_path: Path) -> None:
    sidecar, runner, volumes = _parts(tmp_path, ALLOWED + LAKE)
    assert _mounts(runner)["/data/lake"]["readOnly"] is True
    assert volumes[_mounts(runner)["/data/lake"]["name"]]["emptyDir"] == {}
    assert _mounts(runner)["/run/gra-s3"]["readOnly"] is True
    assert "readOnly" not in _mounts(sidecar)["/run/gra-s3"]
    assert "/data/lake" not in _mounts(sidecar)


def test_memory_and_cache_are_bounded(tmp_path: Path) -> None:
    sidecar, runner, volumes = _parts(tmp_path, ALLOWED + LAKE)
    assert sidecar["resources"]["limits"] == {
        "cpu": "500m",
        "memory": "512Mi",
        "ephemeral-storage": "64Mi",
    }
    cache = volumes[_mounts(sidecar)[CACHE_FOLDER]["name"]]
    assert cache["emptyDir"] == {"medium": "Memory", "sizeLimit": "128Mi"}
    assert CACHE_FOLDER not in _mounts(runner)


def test_the_agents_archive_takes_what_both_containers_are_told(tmp_path: Path) -> None:
    sidecar, runner, _ = _parts(tmp_path, ALLOWED + LAKE)
    assert parse(runner["args"]).s3_socket == SOCKET
    assert sidecar["command"][-2:] == ["/opt/gra/agent.pyz", "s3-sidecar"]
    options = _parse(sidecar["args"])
    assert (options.socket, options.user, options.cache_size) == (SOCKET, 1000, 128 * 2**20)
    assert (options.secrets, options.cache) == (SECRETS_FOLDER, CACHE_FOLDER)
    assert options.grace == 10.0
    assert MOUNTS_VARIABLE == agents_sidecar.MOUNTS_VARIABLE
    (mount,) = agents.parse_all(json.loads(_variables(sidecar)[MOUNTS_VARIABLE]))
    assert (mount.source, mount.path, mount.credentials) == (
        "s3://lake/team/a",
        "/data/lake",
        "own",
    )


def test_no_option_that_a_profile_may_name_is_refused_by_the_agent() -> None:
    assert not OPTIONS & agents.REFUSED_OPTIONS


def test_a_secrets_keys_are_files_of_the_sidecar_alone(tmp_path: Path) -> None:
    text = f'{ALLOWED}{LAKE}credentials = {{secret = "lake-key", access_key = "id"}}\n'
    sidecar, runner, volumes = _parts(tmp_path, text)
    place = _mounts(sidecar)[f"{SECRETS_FOLDER}/0"]
    assert place["readOnly"] is True
    needed, token = volumes[place["name"]]["projected"]["sources"]
    assert needed["secret"] == {
        "name": "lake-key",
        "items": [
            {"key": "id", "path": "access_key"},
            {"key": "AWS_SECRET_ACCESS_KEY", "path": "secret_key"},
        ],
    }
    assert token["secret"]["optional"] is True
    assert place["name"] not in {mount["name"] for mount in runner["volumeMounts"]}
    assert "lake-key" not in json.dumps(runner)


def test_certificates_of_a_config_map_are_where_s3fs_is_told(tmp_path: Path) -> None:
    text = f'{ALLOWED}{LAKE}ca = {{config_map = "team", key = "root.pem"}}\n'
    sidecar, _, volumes = _parts(tmp_path, text)
    place = _mounts(sidecar)["/run/gra-s3-ca/0"]
    assert volumes[place["name"]]["configMap"] == {
        "name": "team",
        "items": [{"key": "root.pem", "path": "ca.crt"}],
    }
    (told,) = json.loads(_variables(sidecar)[MOUNTS_VARIABLE])
    assert told["ca"] == "/run/gra-s3-ca/0/ca.crt"


def test_a_name_with_a_dollar_reaches_the_sidecar_as_it_is(tmp_path: Path) -> None:
    text = f"{ALLOWED}{LAKE}".replace("team/a", "$(HOME)/a$b")
    sidecar, _, _ = _parts(tmp_path, text)
    # Kubernetes makes one of two.
    value = _variables(sidecar)[MOUNTS_VARIABLE].replace("$$", "$")
    assert json.loads(value)[0]["prefix"] == "$(HOME)/a$b"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LAKE, "s3[0] (s3://lake/team/a at /data/lake): in a pod, s3fs needs a privileged"),
        (f"allow_privileged_sidecar = true\n{LAKE}", "s3_sidecar.image: must be given where"),
        (
            f'{ALLOWED}pod.volumes = [{{name = "gra-s3-0"}}]\n{LAKE}',
            'pod.volumes: the name "gra-s3-0" is gra\'s own',
        ),
        (
            f'{ALLOWED}pod.volume_mounts = [{{name = "a", mountPath = "/data/lake/"}}]\n{LAKE}',
            "s3[0].mount: pod.volume_mounts has something at /data/lake, too",
        ),
    ],
)
def test_what_a_pod_cannot_have_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _pod(tmp_path, text)
    assert caught.value.message.startswith("profile 'mine': ")
    assert message in caught.value.message


@pytest.mark.parametrize("text", [LAKE, f"allow_privileged_sidecar = true\n{LAKE}"])
def test_a_refused_sidecars_hint_has_the_two_other_ways(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _pod(tmp_path, text)
    for way in ('via = "volume"', 'via = "fsspec"'):
        assert way in caught.value.hint


# -- volumes and fsspec -----------------------------------------------------------------------


def test_a_claim_is_mounted_as_it_is_asked_for(tmp_path: Path) -> None:
    text = """
    [[profiles.mine.s3]]
    via = "volume"
    mount = "/data/lake"
    prefix = "team/a"
    read_only = true
    claim = "lake"
    """
    spec = _pod(tmp_path, text)["spec"]
    assert "initContainers" not in spec
    claim = {"claimName": "lake"}
    assert {"name": "gra-s3-0", "persistentVolumeClaim": claim} in spec["volumes"]
    assert _mounts(spec["containers"][0])["/data/lake"] == {
        "name": "gra-s3-0",
        "mountPath": "/data/lake",
        "readOnly": True,
        "subPath": "team/a",
    }


def test_fsspec_is_a_few_variables_and_a_secret_by_reference(tmp_path: Path) -> None:
    text = f'{FSSPEC}endpoint = "http://10.0.0.1:7070"\ncredentials = {{secret = "lake-key"}}\n'
    spec = _pod(tmp_path, text)["spec"]
    assert "initContainers" not in spec
    variables = _variables(spec["containers"][0])
    assert variables["AWS_ENDPOINT_URL_S3"] == "http://10.0.0.1:7070"
    assert json.loads(variables["FSSPEC_S3"])["endpoint_url"] == "http://10.0.0.1:7070"
    assert variables["AWS_SECRET_ACCESS_KEY"] == {
        "secretKeyRef": {"name": "lake-key", "key": "AWS_SECRET_ACCESS_KEY"}
    }
    assert variables["AWS_SESSION_TOKEN"]["secretKeyRef"]["optional"] is True


def test_own_credentials_for_fsspec_are_not_in_the_pod(tmp_path: Path) -> None:
    variables = _variables(_pod(tmp_path, FSSPEC)["spec"]["containers"][0])
    assert not any(name.startswith("AWS_") for name in variables)


def test_a_variable_of_the_profiles_own_takes_the_place_of_ours(tmp_path: Path) -> None:
    text = f'pod.env = [{{name = "AWS_REGION", value = "mine"}}]\n{FSSPEC}region = "theirs"\n'
    env = _pod(tmp_path, text)["spec"]["containers"][0]["env"]
    assert [entry["value"] for entry in env if entry["name"] == "AWS_REGION"] == ["mine"]


# -- the workspace ----------------------------------------------------------------------------


def _workspace(folder: Path, text: str) -> dict[str, Any]:
    volumes = _pod(folder, text)["spec"]["volumes"]
    (found,) = [volume for volume in volumes if volume["name"] == "work"]
    return dict(found)


def test_a_workspace_goes_with_the_pod_unless_it_is_kept(tmp_path: Path) -> None:
    assert _workspace(tmp_path, "")["emptyDir"] == {}
    assert _workspace(tmp_path, 'workspace.size = "1Gi"')["emptyDir"] == {"sizeLimit": "1Gi"}
    kept = _workspace(tmp_path, "workspace.keep = true")
    assert kept["persistentVolumeClaim"] == {"claimName": "gra-ada-workspace"}


def test_a_kept_workspace_belongs_to_the_runners_group(tmp_path: Path) -> None:
    security = _pod(tmp_path, "workspace.keep = true")["spec"]["securityContext"]
    assert security["fsGroup"] == 1000
    text = "workspace.keep = true\npod.fs_group = 7"
    assert _pod(tmp_path, text)["spec"]["securityContext"]["fsGroup"] == 7


@pytest.mark.parametrize(
    "text",
    [
        'volumes = [{name = "work", emptyDir = {}}]',
        'volume_mounts = [{name = "a", mountPath = "/workspace"}]',
    ],
)
def test_a_workspace_is_said_once(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="workspace says what"):
        _pod(tmp_path, f"workspace.keep = true\npod.{text}")
