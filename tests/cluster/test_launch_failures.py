"""Runners that Kubernetes accepts and cannot start, and kernels that do not start in them."""

from __future__ import annotations

import json

import nbformat
import pytest
from nbclient import NotebookClient

from gra_provisioner.errors import GraError
from tests.support.cli import gra
from tests.support.launches import PROMPT, Site

pytestmark = pytest.mark.gra_only

_NO_NODE = {"node_selector": {"gra.test/colour": "none"}}


def _mounting(**source: object) -> dict[str, object]:
    return {
        "volumes": [{"name": "data", **source}],
        "volume_mounts": [{"name": "data", "mountPath": "/data"}],
    }


# -- no node --------------------------------------------------------------------------------------


def test_more_cpu_than_any_node_has_is_said_to_be_too_much(site: Site) -> None:
    failure = site.fails_promptly(
        "TooLargeForAnyNode", resources={"cpu": 200}, pod={"requests": {"cpu": 200}}
    )

    failure.says("Insufficient cpu", "cpu 200", "smaller profile")
    assert failure.phases()[-1] == "scheduling"


def test_a_selector_that_matches_no_node_is_named(site: Site) -> None:
    failure = site.fails_promptly("NoMatchingNode", pod=_NO_NODE)

    failure.says("node affinity/selector", "gra.test/colour=none", "pod.node_selector")


def test_a_claim_without_a_storage_class_is_said_to_have_no_volume(site: Site) -> None:
    site.apply(
        "PersistentVolumeClaim",
        "data",
        {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    )

    failure = site.fails_promptly(
        "ClaimUnbound", pod=_mounting(persistentVolumeClaim={"claimName": "data"})
    )

    failure.says("data", "no storage class is set", "unbound immediate PersistentVolumeClaims")


def test_a_claim_that_is_not_there_is_named(site: Site) -> None:
    failure = site.fails_promptly(
        "ClaimMissing", pod=_mounting(persistentVolumeClaim={"claimName": "absent"})
    )

    failure.says('persistentvolumeclaim "absent" not found', "pod.volumes")


# -- volumes and the container --------------------------------------------------------------------


def test_a_secret_that_is_missing_for_a_volume_is_named(site: Site) -> None:
    failure = site.fails_promptly("SecretMissing", pod=_mounting(secret={"secretName": "absent"}))

    failure.says('secret "absent" not found', "Create the Secret", "pod.volumes")


def test_a_secret_that_is_missing_for_the_environment_is_named(site: Site) -> None:
    failure = site.fails_promptly(
        "SecretMissing", pod={"env_from": [{"secretRef": {"name": "absent"}}]}
    )

    failure.says('secret "absent" not found', "Create the Secret", "pod.env_from")


def test_an_image_without_python_says_so(site: Site) -> None:
    image = site.cluster.image("nopython")

    failure = site.fails_promptly("NoPython", image=image)

    failure.says(image, "python3", "executable file not found", "pod.python")


def test_a_command_that_crashes_is_explained_by_its_last_line(site: Site) -> None:
    script = "#!/bin/sh\necho 'no licence found' >&2\nexit 3\n"
    site.create("configmap", "crash", f"--from-literal=python={script}")
    pod = {
        **_mounting(configMap={"name": "crash", "defaultMode": 0o755}),
        "python": "/data/python",
    }

    failure = site.fails_promptly("AgentCrashed", pod=pod)

    failure.says("exited with code 3", "no licence found")


# -- the kernel -----------------------------------------------------------------------------------


def test_an_image_without_ipykernel_is_told_the_line_that_installs_it(site: Site) -> None:
    failure = site.fails("KernelStartFailed", image=site.cluster.image("noipykernel"))

    failure.says("No module named ipykernel", "RUN python3 -m pip install ipykernel")
    kernel = failure.error.details["phases"][-1]
    assert kernel["phase"] == "kernel"
    assert kernel["seconds"] <= PROMPT


def test_a_working_directory_that_is_not_there_is_named(site: Site) -> None:
    failure = site.fails("WorkingDirectoryMissing", working_dir="/not/there")

    failure.says("/not/there", "Correct working_dir in the profile")


@pytest.mark.parametrize("pod", [{}, {"python": "/opt/conda/bin/python"}], ids=["path", "named"])
def test_a_kernel_runs_in_an_image_with_conda(site: Site, pod: dict[str, str]) -> None:
    site.runs(image=site.cluster.image("conda"), pod=pod)


# -- other faces ----------------------------------------------------------------------------------


def test_nbclient_raises_the_reason(site: Site) -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")])

    with pytest.raises(GraError, match="node affinity/selector") as raised:
        NotebookClient(notebook, kernel_name=site.kernelspec({"pod": _NO_NODE})).execute()

    assert raised.value.code == "NoMatchingNode"


def test_gra_create_shows_phases_reason_and_hint(site: Site) -> None:
    site.configure(nowhere={"pod": _NO_NODE})

    result = gra("create", "--profile", "nowhere")

    assert (result.returncode, result.stdout) == (5, "")
    lines = result.stderr.splitlines()
    assert lines[0].startswith("Backend: kubernetes (")
    assert any(line.startswith("runner-1: No node is one of those") for line in lines)
    assert any("node affinity/selector" in line for line in lines if line.startswith("Error: "))
    assert "Reason: NoMatchingNode" in lines
    assert any(line.startswith("Phases: queued ") for line in lines)
    assert any("pod.node_selector" in line for line in lines if line.startswith("Hint: "))


def test_gra_create_prints_the_reason_as_json(site: Site) -> None:
    site.configure(nowhere={"pod": _NO_NODE})

    result = gra("create", "--profile", "nowhere", "--json")

    assert (result.returncode, result.stdout) == (5, "")
    error = json.loads(result.stderr)
    assert error["reason"] == "NoMatchingNode"
    assert "node affinity/selector" in error["message"]
    assert error["hint"]
    assert error["details"]["runner"] == "runner-1"
    assert error["details"]["phase"] == "scheduling"
