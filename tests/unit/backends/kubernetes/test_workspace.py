"""The claim of a workspace that is kept."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gra_provisioner.backends.kubernetes.workspace import claim_name, workspace_claim
from gra_provisioner.profiles import load_config, resolve
from gra_provisioner.runner import RunnerLabels, Workspace
from tests.support.schemas import validate

SPEC = resolve(load_config({}, []), {})
OWNER = RunnerLabels("ada@example.com")


def test_one_that_is_not_kept_needs_none() -> None:
    assert workspace_claim(SPEC, OWNER) is None


@pytest.mark.parametrize("version", ["1.28", "1.34"])
def test_one_that_is_kept_asks_for_what_the_profile_says(version: str) -> None:
    workspace = Workspace(2 * 2**30, keep=True, storage_class="fast", name="thesis")
    claim = workspace_claim(dataclasses.replace(SPEC, workspace=workspace), OWNER)
    assert claim is not None
    validate(claim, version)
    assert claim["metadata"]["name"].startswith("gra-ada-example-com-")
    assert claim["metadata"]["name"].endswith("-thesis")
    assert claim["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "gra"
    assert claim["metadata"]["annotations"] == {"gra.dev/owner": "ada@example.com"}
    assert claim["spec"]["resources"]["requests"] == {"storage": "2Gi"}
    assert claim["spec"]["storageClassName"] == "fast"


def test_without_a_size_and_a_class_it_is_ten_gibibytes_of_the_default() -> None:
    spec = dataclasses.replace(SPEC, workspace=Workspace(keep=True))
    claim = workspace_claim(spec, OWNER)
    assert claim is not None
    assert claim["spec"]["resources"]["requests"] == {"storage": "10Gi"}
    assert "storageClassName" not in claim["spec"]


def test_owners_that_look_alike_have_workspaces_of_their_own() -> None:
    assert claim_name("ada", "workspace") == "gra-ada-workspace"
    names = {claim_name(owner, "w") for owner in ("ada", "Ada", "a.da", "a da", "a-da", "ä", "")}
    assert len(names) == 7


@given(st.text(max_size=80))
def test_any_owner_has_a_name_that_kubernetes_takes(owner: str) -> None:
    spec = dataclasses.replace(SPEC, workspace=Workspace(keep=True))
    claim = workspace_claim(spec, RunnerLabels(owner))
    assert claim is not None
    validate(claim, "1.34")
    assert len(claim["metadata"]["name"]) <= 253
    assert claim["metadata"]["name"].replace("-", "").isalnum()
