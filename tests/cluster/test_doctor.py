"""``gra doctor`` on a real API server: what admission says, without anything being made."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.cli import gra
from tests.support.launches import Site, limited_user

pytestmark = pytest.mark.gra_only


def _diagnosis(*options: str, exit_code: int = 0) -> dict[str, dict[str, Any]]:
    result = gra("doctor", "--json", *options)
    assert result.returncode == exit_code, result.stderr
    return {finding["name"]: finding for finding in json.loads(result.stdout)["findings"]}


def test_a_restricted_namespace_takes_no_privileged_sidecar_and_says_why(site: Site) -> None:
    found = _diagnosis()

    assert found["runner-pod"]["status"] == "ok"
    assert found["s3-volume"]["status"] == found["s3-fsspec"]["status"] == "ok"
    sidecar = found["s3-sidecar"]
    assert (sidecar["status"], sidecar["reason"]) == ("warning", "PodSecurityViolated")
    # Kubernetes' own words.
    assert "must not set securityContext.privileged=true" in sidecar["message"]
    assert f"kubectl label namespace {site.namespace}" in sidecar["hint"]
    assert site.cluster.kubectl("--namespace", site.namespace, "get", "pods", "-o", "name") == ""


def test_a_namespace_that_was_labelled_as_the_hint_says_takes_it(site: Site) -> None:
    words = _diagnosis()["s3-sidecar"]["hint"].partition("kubectl ")[2].split()
    site.cluster.kubectl(*words)

    assert _diagnosis()["s3-sidecar"]["status"] == "ok"


def test_claims_are_named_where_they_may_be_listed(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    resources = {"requests": {"storage": "1Gi"}}
    spec = {"accessModes": ["ReadOnlyMany"], "resources": resources, "storageClassName": "none"}
    site.apply("PersistentVolumeClaim", "penguins", spec)
    assert "penguins" in _diagnosis()["s3-volume"]["message"]

    rights = limited_user(site, "create,get,list,watch pods")
    monkeypatch.setenv("GRA_KUBECONFIG", str(rights))
    volume = _diagnosis()["s3-volume"]
    assert volume["status"] == "ok"
    assert "may not list claims and storage classes and CSI drivers" in volume["message"]


def test_what_a_profile_needs_and_cannot_have_is_a_failure(site: Site) -> None:
    bucket = {"bucket": "lake", "mount": "/data/lake", "endpoint": "http://127.0.0.1:1"}
    secret = {"credentials": {"secret": "lake-key"}}
    claim = {"via": "volume", "mount": "/data/claim", "claim": "missing"}
    image = {"image": "registry.example.com/gra/s3fs-sidecar:1"}
    site.configure(
        bare={"s3": [{**bucket, **secret}]},
        whole={
            "s3": [{**bucket, **secret}, claim],
            "allow_privileged_sidecar": True,
            "s3_sidecar": image,
            "workspace": {"keep": True, "storage_class": "nonesuch"},
        },
    )

    bare = _diagnosis("--profile", "bare", exit_code=1)
    assert bare["s3-sidecar"]["status"] == "failure"
    assert "allow_privileged_sidecar" in bare["s3-sidecar"]["hint"]

    whole = _diagnosis("--profile", "whole", exit_code=1)
    assert (whole["s3-sidecar"]["status"], whole["s3-sidecar"]["reason"]) == (
        "failure",
        "PodSecurityViolated",
    )
    assert whole["s3[0].credentials"]["status"] == "ok"
    # Pods may reach what cannot be reached from here.
    assert whole["s3[0].server"]["status"] == "warning"
    assert whole["s3[1].claim"]["status"] == "failure"
    assert whole["workspace"]["status"] == "failure"
    assert "nonesuch" in whole["workspace"]["message"]
    names = site.cluster.kubectl("--namespace", site.namespace, "get", "pvc", "-o", "name")
    assert names == ""


def test_where_no_pods_may_be_made_that_is_what_fails(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRA_KUBECONFIG", str(limited_user(site, "list,watch pods")))

    found = _diagnosis(exit_code=1)

    assert found["backend"]["status"] == "ok"
    assert (found["runner-pod"]["status"], found["runner-pod"]["reason"]) == (
        "failure",
        "Forbidden",
    )
    assert "cannot be told" in found["s3-sidecar"]["message"]


def test_a_cluster_that_does_not_answer_is_a_finding(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRA_KUBECONFIG", str(site.places.root / "nonesuch.conf"))

    found = _diagnosis(exit_code=1)

    assert list(found) == ["backend"]
    assert found["backend"]["reason"] == "KubeconfigMissing"
