"""A real API server takes the pods that profiles make, and kubectl merges patches as we do."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from gra_provisioner.archive import build_agent_archive
from gra_provisioner.backends.kubernetes.manifest import agent_config_map, pod_manifest
from gra_provisioner.backends.kubernetes.naming import runner_from_pod
from gra_provisioner.backends.kubernetes.strategic_merge import merge
from gra_provisioner.backends.kubernetes.workspace import workspace_claim
from gra_provisioner.profiles import load_config, resolve
from gra_provisioner.runner import Resources, RunnerLabels, RunnerSpec, Ttl
from tests.support.cluster import Cluster
from tests.support.waiting import until
from tests.unit.backends.kubernetes.specs import LABELS, SPECS

OWNER = RunnerLabels("ada@example.com", "an-id", "gra", "work/a b.ipynb", "laptop")
# What the API server looks up at admission must exist: priority class, service account.
PROFILE = """
[profiles.all]
ttl.lifetime = "8h"
resources.gpu = 1
[profiles.all.pod]
image_pull_policy = "Always"
image_pull_secrets = ["pull"]
fs_group = 100
requests = {cpu = "250m", memory = "512Mi", ephemeral_storage = "1Gi"}
node_selector = {"example.com/pool" = "notebooks"}
tolerations = [{key = "gpu", operator = "Exists", effect = "NoSchedule"}]
priority_class = "system-cluster-critical"
scheduler_name = "packer"
service_account = "default"
volumes = [{name = "data", persistentVolumeClaim = {claimName = "data"}}]
volume_mounts = [{name = "data", mountPath = "/srv/data", readOnly = true}]
env = [{name = "TOKEN", valueFrom = {secretKeyRef = {name = "tokens", key = "t"}}}]
env_from = [{configMapRef = {name = "common"}}]
labels = {team = "a"}
annotations = {"example.com/cost" = "some text"}
patch.spec.hostAliases = [{ip = "10.0.0.1", hostnames = ["data"]}]
[[profiles.all.pod.topology_spread]]
maxSkew = 1
topologyKey = "kubernetes.io/hostname"
whenUnsatisfiable = "ScheduleAnyway"
labelSelector = {matchLabels = {"app.kubernetes.io/managed-by" = "gra"}}
[[profiles.all.pod.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution]]
weight = 1
preference = {matchExpressions = [{key = "disk", operator = "In", values = ["fast"]}]}
"""

BUCKETS = """
[profiles.lake]
allow_privileged_sidecar = true
s3_sidecar = {image = "registry.example.com/s3fs:1"}
workspace = {size = "1Gi", keep = true, storage_class = "fast"}
[[profiles.lake.s3]]
bucket = "lake"
prefix = "team/a b/$(HOME)"
mount = "/data/lake"
credentials = {secret = "lake-key"}
ca = {config_map = "ca"}
[[profiles.lake.s3]]
via = "volume"
mount = "/data/other"
csi = {driver = "s3.csi.example.com", volumeAttributes = {bucketName = "other"}}
[[profiles.lake.s3]]
via = "fsspec"
bucket = "tables"
region = "eu-central-1"
credentials = {secret = "tables-key"}
"""

# Each example is a call of kubectl: a few, and no time for making a failing one smaller.
_few = settings(
    max_examples=8,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def _created(
    cluster: Cluster, namespace: str, *objects: Mapping[str, Any], dry_run: str = "server"
) -> list[dict[str, Any]]:
    """What the API server makes of objects; it knows every field of them."""
    manifest = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
    words = ["create", "--filename=-", "--validate=strict", f"--dry-run={dry_run}"]
    written = cluster.kubectl("--namespace", namespace, *words, "--output=json", manifest=manifest)
    # One JSON document after the other.
    decoder, found, at = json.JSONDecoder(), [], 0
    while at < len(written):
        item, end = decoder.raw_decode(written, at)
        found.append(item)
        at = end + 1
    return found


def test_the_api_server_takes_every_preset_in_a_restricted_namespace(
    cluster: Cluster, namespace: str
) -> None:
    config = load_config({}, [])
    pods = [
        pod_manifest(f"runner-{number}", resolve(config, {"profile": name}), OWNER, "gra-agent-0")
        for number, name in enumerate(config.profiles, 1)
    ]
    created = _created(cluster, namespace, agent_config_map(build_agent_archive()), *pods)
    assert [runner_from_pod(pod).profile for pod in created[1:]] == list(config.profiles)
    for pod in created[1:]:
        labels = runner_from_pod(pod).labels
        assert dataclasses.replace(labels, user_labels={}) == OWNER


def test_the_api_server_takes_every_option(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    file = tmp_path / "config.toml"
    file.write_text(PROFILE, encoding="utf-8")
    spec = resolve(load_config({}, [file]), {"profile": "all"})
    pod = pod_manifest("runner-1", spec, OWNER, "gra-agent-0")

    (created,) = _created(cluster, namespace, pod)

    # Nothing was dropped or changed; the server only adds.
    assert _within(pod, created), _difference(pod, created)


def test_the_api_server_takes_a_pod_with_buckets_and_changes_nothing_of_it(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    file = tmp_path / "config.toml"
    file.write_text(BUCKETS, encoding="utf-8")
    spec = resolve(load_config({}, [file]), {"profile": "lake"})
    pod = pod_manifest("runner-1", spec, OWNER, "gra-agent-0")
    claim = workspace_claim(spec, OWNER)
    assert claim is not None
    label = "pod-security.kubernetes.io/enforce=privileged"
    cluster.kubectl("label", "--overwrite", "namespace", namespace, label)

    created, made = _created(cluster, namespace, pod, claim)

    assert _within(pod, created), _difference(pod, created)
    assert _within(claim, made)


@_few
@given(specs=st.lists(st.tuples(SPECS, LABELS), min_size=1, max_size=10))
def test_the_api_server_takes_what_any_configuration_makes(
    cluster: Cluster, namespace: str, specs: list[tuple[RunnerSpec, RunnerLabels]]
) -> None:
    pods = []
    for number, (spec, labels) in enumerate(specs, 1):
        # What would have to exist.
        options = dataclasses.replace(
            spec.pod, priority_class=None, runtime_class=None, service_account=None
        )
        known = dataclasses.replace(spec, pod=options)
        pods.append(pod_manifest(f"runner-{number}", known, labels, "gra-agent-0"))
    created = _created(cluster, namespace, *pods)
    assert [runner_from_pod(pod).labels for pod in created] == [
        dataclasses.replace(labels, user_labels=spec.pod.labels) for spec, labels in specs
    ]


def test_the_agent_runs_in_the_pod_and_says_why_it_ended(cluster: Cluster, namespace: str) -> None:
    spec = RunnerSpec(
        "small", Resources(0.1, 2**27, 2**28), image=cluster.image("python"), ttl=Ttl(orphan=1.0)
    )
    config_map = agent_config_map(build_agent_archive())
    pod = pod_manifest("runner-1", spec, OWNER, config_map["metadata"]["name"])
    _created(cluster, namespace, config_map, pod, dry_run="none")

    def ended() -> Any:
        found = cluster.kubectl_json("--namespace", namespace, "get", "pod", "runner-1")
        status = found["status"]
        return status if status["phase"] in ("Succeeded", "Failed") else None

    status = until(ended, "the end of the runner by its orphan TTL", 60.0)

    assert status["phase"] == "Succeeded", status
    word = json.loads(status["containerStatuses"][0]["state"]["terminated"]["message"])
    assert word["reason"] == "Orphaned"


# -- patches --------------------------------------------------------------------------------


# Directives and nulls only where there is something: kubectl leaves them as they are in what is
# new, and the API server then refuses the variable without a name that they make.
_ENTRY = st.fixed_dictionaries(
    {"name": st.sampled_from(["tmp", "HOME", "data", "NEW"])},
    optional={"value": st.sampled_from(["1", "2"]), "$patch": st.just("delete")},
)
_ENTRIES = st.lists(_ENTRY, max_size=3, unique_by=lambda entry: entry["name"])
_REPLACED = _ENTRIES.map(
    lambda entries: [{"$patch": "replace"}, *(e for e in entries if "$patch" not in e)]
)
_MAPS = st.dictionaries(
    st.sampled_from(["a", "b", "$patch"]), st.sampled_from(["replace", "delete"])
).map(
    # Only a directive may have these values, and null removes.
    lambda table: {
        key: value if key == "$patch" else {"replace": "x", "delete": None}[value]
        for key, value in table.items()
    }
)
_SIDE = st.just({"name": "side", "image": "other", "env": [{"name": "A", "value": "1"}]})
_RUNNER = st.fixed_dictionaries(
    {"name": st.just("runner")},
    optional={
        "image": st.just("other"),
        "args": st.lists(st.just("x"), max_size=2),
        "env": _ENTRIES | _REPLACED,
        "volumeMounts": st.lists(
            st.fixed_dictionaries(
                {"mountPath": st.sampled_from(["/tmp", "/srv"]), "name": st.just("data")}
            ),
            max_size=2,
            unique_by=lambda mount: mount["mountPath"],
        ),
    },
)
_PATCHES = st.fixed_dictionaries(
    {},
    optional={
        "metadata": st.fixed_dictionaries(
            {},
            optional={
                "labels": _MAPS,
                "finalizers": st.lists(st.sampled_from(["a.b/c", "a.b/d"]), unique=True),
            },
        ),
        "spec": st.fixed_dictionaries(
            {},
            optional={
                "containers": st.lists(
                    _RUNNER | _SIDE, max_size=2, unique_by=lambda container: container["name"]
                ),
                "volumes": st.lists(
                    st.sampled_from(
                        [
                            {"name": "tmp", "$patch": "delete"},
                            {"name": "work", "emptyDir": {"medium": "Memory"}},
                            {"name": "home", "emptyDir": None, "hostPath": {"path": "/srv"}},
                            {
                                "name": "gra-run",
                                "$retainKeys": ["name", "csi"],
                                "csi": {"driver": "d"},
                            },
                            {"name": "data", "emptyDir": {}},
                        ]
                    ),
                    max_size=3,
                    unique_by=lambda volume: volume["name"],
                ),
                "tolerations": st.lists(st.just({"key": "b"}), max_size=1),
                "securityContext": st.sampled_from([None, {"fsGroup": 3, "runAsUser": None}]),
                "imagePullSecrets": st.just([{"name": "pull"}]),
            },
        ),
    },
)


@settings(_few, max_examples=25)
@given(patch=_PATCHES)
@example(patch={"metadata": {"labels": {"a": None, "$patch": "replace"}}})
def test_a_patch_does_what_kubectl_does(cluster: Cluster, patch: dict[str, Any]) -> None:
    spec = resolve(load_config({}, []), {})
    pod = pod_manifest("runner-1", spec, OWNER, "gra-agent-0")
    pod["metadata"]["labels"].update(a="1", b="2")

    ours = merge(pod, patch, "pod.patch")

    assert _ordered(_local(cluster, ours, {})) == _ordered(_local(cluster, pod, patch))


def _local(cluster: Cluster, pod: Mapping[str, Any], patch: Mapping[str, Any]) -> Any:
    """The pod as kubectl has it in its own types, patched by kubectl."""
    words = ["patch", "--local", "--filename=-", "--type=strategic"]
    return cluster.kubectl_json(*words, f"--patch={json.dumps(patch)}", manifest=pod)


def _ordered(value: Any) -> Any:
    """A copy with every list of objects in an order of its own: merging leaves that open."""
    if isinstance(value, dict):
        ordered = {key: _ordered(inner) for key, inner in value.items()}
        # kubectl leaves a null where the map is new, and what then is empty stays.
        return {key: inner for key, inner in ordered.items() if inner not in (None, {}, [])}
    if isinstance(value, list) and all(isinstance(entry, dict) for entry in value):
        return sorted(map(_ordered, value), key=lambda entry: json.dumps(entry, sort_keys=True))
    return copy.deepcopy(value)


def _within(asked: Any, given: Any) -> bool:
    """Whether all that was asked for was given."""
    if isinstance(asked, dict):
        return isinstance(given, dict) and all(
            _within(value, given.get(key)) for key, value in asked.items()
        )
    if isinstance(asked, list):
        return isinstance(given, list) and all(
            any(_within(entry, other) for other in given) for entry in asked
        )
    return bool(asked == given)


def _difference(asked: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """The fields of the spec that the server changed."""
    return {
        key: (value, given["spec"].get(key))
        for key, value in asked["spec"].items()
        if not _within(value, given["spec"].get(key))
    }
