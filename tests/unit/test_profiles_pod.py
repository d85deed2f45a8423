"""What a profile says about pods and the cluster: taken over, merged, or refused by its field."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gra_provisioner.errors import ConfigError
from gra_provisioner.pod_schema import Pod, Requests
from gra_provisioner.profiles import Config, KubernetesConfig, load_config, resolve
from gra_provisioner.runner import DEFAULT_IMAGE, PodOptions, RunnerSpec
from gra_provisioner.runner import Requests as RunnerRequests
from gra_provisioner.schema import Settings


def _load(folder: Path, *texts: str, **environ: str) -> Config:
    paths = []
    for number, text in enumerate(texts):
        paths.append(folder / f"{number}.toml")
        paths[-1].write_text(text, encoding="utf-8")
    return load_config(environ, paths)


def _profile(folder: Path, text: str, **overrides: Any) -> RunnerSpec:
    return resolve(_load(folder, f"[profiles.q]\n{text}"), {"profile": "q", **overrides})


# What is taken over.


def test_the_tables_have_the_fields_and_defaults_of_what_they_become() -> None:
    assert set(Pod.model_fields) == {field.name for field in dataclasses.fields(PodOptions)}
    assert set(Requests.model_fields) == {f.name for f in dataclasses.fields(RunnerRequests)}
    spec = resolve(load_config({}, []), {})
    assert spec.pod == PodOptions()
    assert (spec.image, spec.start_timeout) == (DEFAULT_IMAGE, 600)


def test_the_preset_gpu_is_medium_and_a_gpu(tmp_path: Path) -> None:
    config = _load(tmp_path)
    medium, gpu = (resolve(config, {"profile": name}) for name in ("medium", "gpu"))
    assert gpu.resources == dataclasses.replace(medium.resources, gpu=1)
    assert gpu.pod.gpu_resource == "nvidia.com/gpu"


def test_runner_image_beats_every_profile_and_is_beaten_by_kernelspec_and_launch(
    tmp_path: Path,
) -> None:
    text = '[profiles.q]\nextends = "large"\nimage = "profile"'
    assert resolve(_load(tmp_path, text), {"profile": "q"}).image == "profile"
    config = _load(tmp_path, text, RUNNER_IMAGE="variable")
    assert resolve(config, {}).image == "variable"
    assert resolve(config, {"profile": "q"}).image == "variable"
    assert resolve(config, {"profile": "q", "image": "kernelspec"}).image == "kernelspec"
    spec = resolve(config, {"image": "kernelspec"}, launch={"image": "launch"})
    assert spec.image == "launch"
    assert resolve(_load(tmp_path, text, RUNNER_IMAGE=""), {"profile": "q"}).image == "profile"


def test_the_cluster_is_named_by_files_and_variables(tmp_path: Path) -> None:
    text = 'kubernetes = {context = "a", namespace = "b", kubeconfig = "/c:/d"}'
    assert _load(tmp_path, text).kubernetes == KubernetesConfig("a", "b", "/c:/d")
    config = _load(tmp_path, text, GRA_CONTEXT="x", GRA_NAMESPACE="y", GRA_KUBECONFIG="/z")
    assert config.kubernetes == KubernetesConfig("x", "y", "/z")
    assert config.origin("kubernetes.context") == "environment variable GRA_CONTEXT"
    assert _load(tmp_path).kubernetes == KubernetesConfig()


def test_an_empty_text_takes_back_what_was_said_before(tmp_path: Path) -> None:
    config = _load(tmp_path, 'kubernetes.context = "a"', 'kubernetes.context = ""')
    assert config.kubernetes.context is None
    spec = _profile(tmp_path, 'pod.runtime_class = "gvisor"', pod={"runtime_class": ""})
    assert spec.pod.runtime_class is None


def test_a_spec_as_json_shows_no_value_of_a_variable(tmp_path: Path) -> None:
    text = """
    pod.env = [{name = "A", value = "hidden"}]
    pod.patch.spec.containers = [{name = "runner", env = [{name = "B", value = "hidden"}]}]
    """
    spec = _profile(tmp_path, text)
    shown = json.dumps(spec.public())
    assert "hidden" not in shown + repr(spec)
    assert spec.public()["pod"]["env"] == ["A"]
    assert '"env": ["B"]' in shown


# Merging.


def test_tables_of_names_are_merged_and_kubernetes_own_objects_replaced(tmp_path: Path) -> None:
    text = """
    [profiles.base.pod]
    labels = {a = "1", b = "1"}
    node_selector = {pool = "one"}
    affinity = {podAffinity = {}}
    patch = {spec = {dnsPolicy = "Default"}}
    requests = {cpu = 1}
    [profiles.q]
    extends = "base"
    [profiles.q.pod]
    labels = {b = "2"}
    affinity = {nodeAffinity = {}}
    patch = {spec = {hostname = "x"}}
    requests = {memory = "1Gi"}
    """
    pod = resolve(_load(tmp_path, text), {"profile": "q"}).pod
    assert pod.labels == {"a": "1", "b": "2"}
    assert pod.node_selector == {"pool": "one"}
    assert pod.affinity == {"nodeAffinity": {}}
    assert pod.patch == {"spec": {"hostname": "x"}}
    assert pod.requests == RunnerRequests(cpu=1, memory=2**30)


_NAMED = st.dictionaries(st.sampled_from("ab"), st.sampled_from(["1", "2"]))
_PODS = st.fixed_dictionaries(
    {},
    optional={
        "labels": _NAMED,
        "patch": st.dictionaries(st.sampled_from(["spec", "metadata"]), _NAMED),
        "affinity": st.dictionaries(st.sampled_from(["nodeAffinity"]), _NAMED),
        "volumes": st.lists(st.just({"name": "a"}), max_size=1),
        "requests": st.fixed_dictionaries({}, optional={"cpu": st.integers(1, 2)}),
        "runtime_class": st.sampled_from(["", "a"]),
    },
)
_LAYERS = st.fixed_dictionaries({}, optional={"pod": _PODS}).map(Settings.model_validate)


@given(_LAYERS, _LAYERS, _LAYERS)
def test_merging_is_associative(a: Settings, b: Settings, c: Settings) -> None:
    left, right = a.merged(b).merged(c), a.merged(b.merged(c))
    assert left == right
    assert left.model_dump(exclude_unset=True) == right.model_dump(exclude_unset=True)


@given(_LAYERS)
def test_merging_with_nothing_or_itself_changes_nothing(a: Settings) -> None:
    assert Settings().merged(a) == a.merged(Settings()) == a.merged(a) == a


# What is refused.


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('image = ""', 'image is "", must be the name of an image'),
        ('image = "a b"', 'image is "a b", must be the name of an image'),
        ('start_timeout = "never"', 'start_timeout is "never", must be a duration above 0: sec'),
        ('pod.pyton = "x"', "pod.pyton: unknown field; allowed: affinity, annotations, env, "),
        ('pod.python = "./x"', 'pod.python is "./x", must be a command in the image or its abs'),
        ("pod.user = 0", "pod.user is 0, must be a number, 1 to 2147483647"),
        ("pod.group = -1", "pod.group is -1, must be a number, 0 to 2147483647"),
        ("pod.fs_group = true", "pod.fs_group is true, must be a number, 0 to"),
        ('pod.image_pull_policy = "always"', 'pod.image_pull_policy is "always", must be "Alwa'),
        ('pod.image_pull_secrets = ["A"]', 'pod.image_pull_secrets[0] is "A", must be a name of'),
        ('pod.requests.memory = "2GB"', 'pod.requests.memory is "2GB", must be a size'),
        ("pod.requests.gpu = 1", "pod.requests.gpu: unknown field; allowed: cpu, ephemeral_st"),
        ('pod.gpu_resource = "gpu"', 'pod.gpu_resource is "gpu", must be a resource with a dom'),
        ("pod.node_selector.a = 1", "pod.node_selector.a is 1, must be a text in quotes"),
        ('pod.node_selector."a b" = "x"', "pod.node_selector.a b: must be a name of at most 63"),
        ('pod.labels.a = "x y"', 'pod.labels.a is "x y", must be a label\'s value: at most 63'),
        ('pod.annotations."A/b" = "x"', "pod.annotations.A/b: must be a name of at most 63"),
        ("pod.tolerations = {}", "pod.tolerations: must be a list"),
        ("pod.tolerations = [3]", "pod.tolerations[0] is 3, must be a table"),
        ("pod.affinity = {a = nan}", "pod.affinity: must hold texts, numbers, true, false, "),
        ("pod.patch = {a = 2026-01-01}", "pod.patch: must hold texts, numbers, true, false, "),
        ('pod.priority_class = "A_"', 'pod.priority_class is "A_", must be a name of lower-case'),
        ('pod.service_account_token = "x"', 'pod.service_account_token is "x", must be true or'),
        ('pod.volumes = [{nam = "a"}]', 'pod.volumes[0]: must have "name", of at most 63'),
        ('pod.volumes = [{name = "a"}, {name = "a"}]', "pod.volumes: must not have two with the"),
        ('pod.volume_mounts = [{mountPath = "/a"}]', 'pod.volume_mounts[0]: must have "name", '),
        (
            'pod.volume_mounts = [{name = "a", mountPath = "a"}]',
            'pod.volume_mounts[0]: must have "mountPath", an absolute path',
        ),
        ('pod.env = [{name = "A=B"}]', 'pod.env[0]: must have "name", the name of a variable'),
        ('pod.env = [{name = "A", value = 1}]', "pod.env[0]: must have a text in quotes as its"),
        (
            'pod.env = [{name = "A", value = "1", valueFrom = {}}]',
            'pod.env[0]: must have either "value" or "valueFrom"',
        ),
        ("pod.termination_grace = false", "pod.termination_grace is false, must be a duration"),
    ],
)
def test_a_wrong_field_is_named_with_what_is_allowed(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        _profile(tmp_path, text)
    assert caught.value.message.startswith(f"{tmp_path / '0.toml'}: profiles.q.{message}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pod.requests.cpu = 4", "pod.requests.cpu is 4, must be at most resources.cpu, which is"),
        ('pod.requests.memory = "3Gi"', "pod.requests.memory is 3 GiB, must be at most resources"),
    ],
)
def test_a_request_for_more_than_the_limit_is_refused(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        _profile(tmp_path, text)
    assert caught.value.message.startswith(f"profile 'q': {message}")


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"GRA_NAMESPACE": "A"}, 'environment variable GRA_NAMESPACE is "A", must be a name of'),
        ({"GRA_KUBECONFIG": "x:/y"}, 'environment variable GRA_KUBECONFIG is "x:/y", must be an'),
        ({"RUNNER_IMAGE": "a b"}, 'environment variable RUNNER_IMAGE is "a b", must be the name'),
    ],
)
def test_a_wrong_variable_is_named_once(environ: Mapping[str, str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(environ, [])
    assert caught.value.message.startswith(message)
    assert "\n" not in caught.value.message


def test_a_wrong_value_of_a_variable_is_not_shown(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        _profile(tmp_path, 'pod.env = [{name = "A", value = "hidden", valueFrom = "hidden"}]')
    assert "hidden" not in str(caught.value)
