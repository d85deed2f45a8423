"""What ``gra doctor`` says of a namespace, from the API server's answers."""

from __future__ import annotations

import pytest

from gra_provisioner.backends.kubernetes import s3_ways
from gra_provisioner.backends.kubernetes.manifest import pod_manifest
from gra_provisioner.diagnosis import Finding, FindingStatus
from gra_provisioner.errors import ClusterRefused
from gra_provisioner.runner import Resources, RunnerLabels, RunnerSpec, S3Mount

POD = pod_manifest("a", RunnerSpec("small", Resources(1.0, 1, 1)), RunnerLabels("me"), "agent")
VIOLATED = ClusterRefused(
    'violates PodSecurity "restricted:latest": privileged', reason="PodSecurityViolated"
)
QUOTA = ClusterRefused("The quota is used up.", hint="Delete some.", reason="QuotaExceeded")


def test_questions_are_the_runners_pod_and_one_thing_more() -> None:
    before = repr(POD)
    asked = s3_ways.with_sidecar(POD, "an/image")["spec"]
    (sidecar,) = asked.pop("initContainers")
    assert sidecar["securityContext"]["privileged"]
    assert sidecar["restartPolicy"] == "Always"
    assert sidecar["image"] == "an/image"
    assert asked == POD["spec"]
    *volumes, claim = s3_ways.with_claim(POD)["spec"]["volumes"]
    assert volumes == POD["spec"]["volumes"]
    assert "persistentVolumeClaim" in claim
    assert repr(POD) == before


def test_what_is_taken_is_well() -> None:
    seen = {"claims": ["data"], "storage classes": [], "CSI drivers": None}
    found = [
        s3_ways.runner_pod(None, "small", "team"),
        s3_ways.sidecar(None, "team", wanted=True),
        s3_ways.volume(None, "team", seen, wanted=True),
        s3_ways.fsspec("an/image", wanted=True),
    ]
    assert {finding.status for finding in found} == {FindingStatus.OK}
    assert "There are claims: data; no storage classes." in found[2].message
    assert "may not list CSI drivers" in found[2].message


def _says(found: Finding, *words: str) -> None:
    for word in words:
        assert word in f"{found.message} {found.hint}", word


@pytest.mark.parametrize("wanted", [True, False])
def test_a_sidecar_that_is_refused_leads_to_the_other_ways(wanted: bool) -> None:
    found = s3_ways.sidecar(VIOLATED, "team", wanted=wanted)
    assert found.status is (FindingStatus.FAILURE if wanted else FindingStatus.WARNING)
    assert found.reason == "PodSecurityViolated"
    _says(found, 'via = "volume"', 'via = "fsspec"', "kubectl label namespace team")
    _says(found, 'violates PodSecurity "restricted:latest"')


def test_a_policys_refusal_has_no_label_that_helps() -> None:
    error = ClusterRefused("A webhook says no.", reason="PolicyDenied")
    found = s3_ways.sidecar(error, "team")
    assert "kubectl label" not in found.hint
    _says(found, 'via = "fsspec"')


def test_another_refusal_is_told_as_it_is() -> None:
    found = s3_ways.sidecar(QUOTA, "team", wanted=True)
    assert (found.message, found.hint, found.reason) == (
        "The quota is used up.",
        "Delete some.",
        "QuotaExceeded",
    )
    assert s3_ways.volume(QUOTA, "team", {}, wanted=True).reason == "QuotaExceeded"


def test_a_claim_that_a_profile_names_and_nobody_has_made_is_a_failure() -> None:
    mounts = [
        S3Mount("", path, "", via="volume", volume={"persistentVolumeClaim": {"claimName": name}})
        for path, name in (("/a", "there"), ("/b", "missing"))
    ]
    mounts.append(S3Mount("lake", "/c", "https://s3.example.com"))
    (found,) = s3_ways.missing_claims(mounts, ["there"], "team")
    assert (found.name, found.status) == ("s3[1].claim", FindingStatus.FAILURE)
    _says(found, "'missing'", "'team'")
    # Who may not list them is told nothing.
    assert s3_ways.missing_claims(mounts, None, "team") == []


def test_a_workspace_is_kept_in_a_claim_that_is_there_or_would_be_made() -> None:
    there = ClusterRefused("The name is taken.", reason="AlreadyExists")
    for error, words in ((None, "the first runner makes"), (there, "which is there")):
        found = s3_ways.workspace(error, "gra-ada-workspace", "fast", ["fast"])
        assert found.status is FindingStatus.OK
        _says(found, "'gra-ada-workspace'", words)
    assert s3_ways.workspace(QUOTA, "gra-ada-workspace", None, []).reason == "QuotaExceeded"
    found = s3_ways.workspace(None, "gra-ada-workspace", "fast", ["slow"])
    assert found.status is FindingStatus.FAILURE
    _says(found, "'fast'", "slow", "workspace.storage_class")
    # Who may not list them is told nothing.
    found = s3_ways.workspace(None, "gra-ada-workspace", "fast", None)
    assert found.status is FindingStatus.OK


def test_where_no_runner_is_taken_nothing_is_said_of_what_it_could_do() -> None:
    assert s3_ways.runner_pod(QUOTA, "small", "team").status is FindingStatus.FAILURE
    for found in (
        s3_ways.sidecar(QUOTA, "team", told=False),
        s3_ways.volume(QUOTA, "team", {}, told=False),
    ):
        assert found.status is FindingStatus.WARNING
        _says(found, "cannot be told while the runner's own pod is refused")
