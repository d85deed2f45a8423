"""A profile's patch of the pod, by the rules of kubectl's strategic merge."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gra_provisioner.backends.kubernetes.strategic_merge import merge
from gra_provisioner.errors import ConfigError

POD: Mapping[str, Any] = {
    "metadata": {"name": "runner-1", "labels": {"a": "1"}, "finalizers": ["x", "y"]},
    "spec": {
        "containers": [
            {
                "name": "runner",
                "args": ["one", "two"],
                "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
                "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
            }
        ],
        "nodeSelector": {"pool": "a"},
        "tolerations": [{"key": "a", "operator": "Exists"}],
        "topologySpreadConstraints": [
            {"topologyKey": "zone", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"},
            {"topologyKey": "zone", "maxSkew": 2, "whenUnsatisfiable": "ScheduleAnyway"},
        ],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    },
}


def _patched(patch: Mapping[str, Any]) -> dict[str, Any]:
    return merge(POD, patch, "pod.patch")


def _container(**patch: Any) -> dict[str, Any]:
    patched = _patched({"spec": {"containers": [{"name": "runner", **patch}]}})
    (container,) = patched["spec"]["containers"]
    assert isinstance(container, dict)
    return container


def test_objects_are_merged_by_key_and_null_removes() -> None:
    labels = _patched({"metadata": {"labels": {"a": None, "b": "2"}}})["metadata"]["labels"]
    assert labels == {"b": "2"}


def test_a_container_is_known_by_its_name() -> None:
    patched = _patched({"spec": {"containers": [{"name": "side", "image": "i"}]}})
    assert [container["name"] for container in patched["spec"]["containers"]] == ["runner", "side"]
    assert _container(image="i")["args"] == ["one", "two"]


def test_lists_in_a_container_have_keys_of_their_own() -> None:
    env = _container(env=[{"name": "B", "value": "3"}, {"name": "C", "value": "4"}])["env"]
    assert [(variable["name"], variable["value"]) for variable in env] == [
        ("A", "1"),
        ("B", "3"),
        ("C", "4"),
    ]
    mounts = _container(volumeMounts=[{"name": "data", "mountPath": "/tmp"}])["volumeMounts"]
    assert mounts == [{"name": "data", "mountPath": "/tmp"}]
    ports = _container(ports=[{"containerPort": 80}])["ports"]
    assert ports == [{"containerPort": 80}]


def test_other_lists_are_replaced() -> None:
    assert _container(args=["three"])["args"] == ["three"]
    tolerations = [{"key": "b"}]
    assert _patched({"spec": {"tolerations": tolerations}})["spec"]["tolerations"] == tolerations


def test_an_entry_is_deleted_by_directive() -> None:
    env = _container(env=[{"name": "A", "$patch": "delete"}])["env"]
    assert env == [{"name": "B", "value": "2"}]


def test_a_list_is_replaced_by_directive() -> None:
    env = _container(env=[{"$patch": "replace"}, {"name": "C", "value": "3"}])["env"]
    assert env == [{"name": "C", "value": "3"}]


def test_an_object_is_replaced_or_emptied_by_directive() -> None:
    replaced = _patched({"spec": {"nodeSelector": {"$patch": "replace", "disk": "fast"}}})
    assert replaced["spec"]["nodeSelector"] == {"disk": "fast"}
    assert _patched({"spec": {"nodeSelector": {"$patch": "delete"}}})["spec"]["nodeSelector"] == {}


def test_keys_can_be_retained_so_that_a_volume_changes_its_kind() -> None:
    claim = {"persistentVolumeClaim": {"claimName": "data"}}
    patch = {"name": "tmp", "$retainKeys": ["name", "persistentVolumeClaim"], **claim}
    patched = _patched({"spec": {"volumes": [patch]}})
    assert patched["spec"]["volumes"] == [{"name": "tmp", **claim}]


def test_a_list_of_plain_values_is_a_set() -> None:
    assert _patched({"metadata": {"finalizers": ["y", "z"]}})["metadata"]["finalizers"] == [
        "x",
        "y",
        "z",
    ]
    removed = _patched({"metadata": {"$deleteFromPrimitiveList/finalizers": ["x"]}})
    assert removed["metadata"]["finalizers"] == ["y"]


def test_entries_of_the_same_key_that_the_patch_does_not_name_stay() -> None:
    patched = _patched({"spec": {"topologySpreadConstraints": [{"topologyKey": "host"}]}})
    assert [c["topologyKey"] for c in patched["spec"]["topologySpreadConstraints"]] == [
        "zone",
        "zone",
        "host",
    ]


def test_what_is_new_has_neither_nulls_nor_directives() -> None:
    context = {"fsGroup": 1, "runAsUser": None, "windowsOptions": {"$patch": "delete"}}
    patched = _patched({"spec": {"securityContext": context}})
    assert patched["spec"]["securityContext"] == {"fsGroup": 1, "windowsOptions": {}}


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        ({"$patch": "merge"}, 'pod.patch.$patch: must be "delete" or "replace"'),
        ({"spec": {"$x": 1}}, "pod.patch.spec.$x: no such directive"),
        ({"spec": {"volumes": [{"emptyDir": {}}]}}, 'pod.patch.spec.volumes[0]: must have "name"'),
        ({"spec": {"volumes": ["tmp"]}}, "pod.patch.spec.volumes[0]: must be a table"),
        ({"spec": {"$retainKeys": "volumes"}}, "pod.patch.spec.$retainKeys: must be a list"),
        (
            {"spec": {"$deleteFromPrimitiveList/volumes": ["tmp"]}},
            "pod.patch.spec.$deleteFromPrimitiveList/volumes: must be a list, and only for",
        ),
        (
            {"spec": {"containers": [{"name": "runner", "env": [{"$patch": "delete"}]}]}},
            'pod.patch.spec.containers[0].env[0]: must have "name"',
        ),
        (
            {"spec": {"volumes": [{"$patch": "replace", "name": "a"}]}},
            "pod.patch.spec.volumes[0]: must have nothing besides",
        ),
    ],
)
def test_a_wrong_patch_is_refused_with_the_field(patch: Mapping[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _patched(patch)
    assert caught.value.message.startswith(message)


# Patches without directives: of each the result can be told.
_PLAIN = st.fixed_dictionaries(
    {},
    optional={
        "labels": st.dictionaries(st.sampled_from("ab"), st.sampled_from(["1", "2"])),
        "annotations": st.dictionaries(st.sampled_from("ab"), st.sampled_from(["1", None])),
    },
)
_PATCHES = st.fixed_dictionaries(
    {},
    optional={
        "metadata": _PLAIN,
        "spec": st.fixed_dictionaries(
            {},
            optional={
                "nodeSelector": st.dictionaries(st.sampled_from(["pool", "x"]), st.just("b")),
                "volumes": st.lists(
                    st.fixed_dictionaries(
                        {"name": st.sampled_from(["tmp", "data"])},
                        optional={"emptyDir": st.just({"medium": "Memory"})},
                    ),
                    max_size=2,
                    unique_by=lambda volume: volume["name"],
                ),
                "tolerations": st.lists(st.just({"key": "b"}), max_size=2),
            },
        ),
    },
)


@given(_PATCHES)
def test_a_patch_applied_twice_changes_no_more(patch: Mapping[str, Any]) -> None:
    once = _patched(patch)
    assert merge(once, patch, "pod.patch") == once


@given(_PATCHES)
def test_neither_pod_nor_patch_is_changed(patch: dict[str, Any]) -> None:
    pod, given_patch = copy.deepcopy(POD), copy.deepcopy(patch)
    result = merge(pod, given_patch, "pod.patch")
    result["spec"]["containers"][0]["args"].append("changed")
    assert (pod, given_patch) == (POD, patch)


def test_an_empty_patch_changes_nothing() -> None:
    assert _patched({}) == POD
