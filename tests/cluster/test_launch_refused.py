"""What the API server says no to: the namespace's rules, and the user's rights."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.cli import gra
from tests.support.launches import Site, limited_user
from tests.support.waiting import until

pytestmark = pytest.mark.gra_only

# What gra asks for, by verb and resource.
_PODS = "get,list,watch,create,delete,patch pods"
_CONFIG_MAPS = "create configmaps"
_EVENTS = "list,watch events"
_FORWARD = "get,create pods/portforward"
_EXEC = "get,create pods/exec"

_PRIVILEGED = {"privileged": True, "allowPrivilegeEscalation": True}


# -- the namespace's rules ------------------------------------------------------------------------


def test_a_quota_that_is_used_up_is_named(site: Site) -> None:
    site.create("quota", "team", "--hard=pods=0")
    words = ("--namespace", site.namespace, "get", "quota", "team")
    until(
        lambda: site.cluster.kubectl_json(*words)["status"].get("hard"), "the quota to be in force"
    )

    failure = site.refused("QuotaExceeded")

    failure.says("exceeded quota: team", "limited: pods=0", "smaller profile")


def test_a_runner_larger_than_a_limit_range_allows_is_refused(site: Site) -> None:
    site.apply("LimitRange", "sizes", {"limits": [{"type": "Container", "max": {"cpu": "1"}}]})

    failure = site.refused("LimitRangeViolated")

    failure.says("maximum cpu usage per Container is 1", "resources")


def test_a_privileged_runner_violates_the_namespaces_pod_security(site: Site) -> None:
    patch = {"spec": {"containers": [{"name": "runner", "securityContext": _PRIVILEGED}]}}

    failure = site.refused("PodSecurityViolated", pod={"patch": patch})

    failure.says(
        "restricted", 'violates PodSecurity "restricted:latest"', "privileged", "pod.patch"
    )


@pytest.mark.parametrize(
    ("field", "reason", "said"),
    [
        ("service_account", "ServiceAccountMissing", 'serviceaccount "absent" not found'),
        ("priority_class", "PriorityClassMissing", "no PriorityClass with name absent was found"),
        ("runtime_class", "RuntimeClassMissing", 'RuntimeClass "absent" not found'),
    ],
)
def test_what_the_profile_names_and_the_cluster_does_not_have_is_named(
    site: Site, field: str, reason: str, said: str
) -> None:
    failure = site.refused(reason, pod={field: "absent"})

    failure.says(said, f"pod.{field}")


def test_a_field_that_is_wrong_is_named(site: Site) -> None:
    failure = site.refused("InvalidPod", pod={"patch": {"spec": {"dnsPolicy": "Sometimes"}}})

    failure.says("spec.dnsPolicy", "Sometimes", "pod.patch")


def test_a_namespace_that_is_not_there_is_named(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRA_NAMESPACE", "not-there")

    failure = site.refused("NamespaceMissing")

    failure.says('namespaces "not-there" not found', "GRA_NAMESPACE", "kubectl create namespace")


# -- the user's rights ----------------------------------------------------------------------------


def _as_user(site: Site, monkeypatch: pytest.MonkeyPatch, *rules: str) -> str:
    """Launch from now on as a user with these rights alone; the user's name."""
    monkeypatch.setenv("GRA_KUBECONFIG", str(limited_user(site, *rules)))
    return f"system:serviceaccount:{site.namespace}:limited"


def _allows(hint: str) -> tuple[str, str, str]:
    """Kind, resource and verb of the Role in a hint."""
    role: dict[str, Any] = {}
    for line in hint.splitlines():
        key, colon, value = line.strip().removeprefix("- ").partition(": ")
        if colon:
            role[key] = value
    return role["kind"], json.loads(role["resources"])[0], json.loads(role["verbs"])[0]


def test_a_user_without_any_right_is_told_what_is_missing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = _as_user(site, monkeypatch)

    failure = site.refused("Forbidden")

    failure.says(user, f"in the namespace {site.namespace!r}", 'cannot watch resource "pods"')
    assert _allows(failure.error.hint) == ("Role", "pods", "watch")


def test_a_user_who_may_not_create_pods_is_shown_the_role_that_allows_it(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = _as_user(site, monkeypatch, "get,list,watch pods", _CONFIG_MAPS, _EVENTS)

    failure = site.refused("Forbidden")

    failure.says(f"The user {user!r} may not create pods in the namespace {site.namespace!r}")
    failure.says(f'User "{user}" cannot create resource "pods"', f"namespace: {site.namespace}")
    assert _allows(failure.error.hint) == ("Role", "pods", "create")


def test_gra_create_names_the_right_that_is_missing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    _as_user(site, monkeypatch, "get,list,watch pods", _CONFIG_MAPS, _EVENTS)

    result = gra("create")

    assert (result.returncode, result.stdout) == (5, "")
    lines = result.stderr.splitlines()
    assert "Reason: Forbidden" in lines
    assert '  resources: ["pods"]' in lines
    assert '  verbs: ["create"]' in lines


def test_a_kernel_starts_without_the_right_to_read_events(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    _as_user(site, monkeypatch, _PODS, _CONFIG_MAPS, _FORWARD)

    site.runs()


def test_a_kernel_is_reached_by_exec_without_the_right_to_forward_ports(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    _as_user(site, monkeypatch, _PODS, _CONFIG_MAPS, _EVENTS, _EXEC)

    site.runs()


def test_without_the_right_to_forward_ports_and_to_exec_both_are_told(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    _as_user(site, monkeypatch, _PODS, _CONFIG_MAPS, _EVENTS)

    failure = site.fails("Forbidden")

    failure.says("pods/exec", 'verbs: ["get", "create"]')
