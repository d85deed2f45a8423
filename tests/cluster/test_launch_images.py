"""Images that cannot be had, or only slowly, from a registry that the test plays."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from gra_provisioner.backends.kubernetes.phases import Phase
from tests.cluster import images
from tests.cluster.layout import Layout
from tests.support.cli import gra
from tests.support.cluster import Cluster
from tests.support.launches import PROMPT, Site, limited_user
from tests.support.registry import Registry, forgotten, running

pytestmark = pytest.mark.gra_only

_SLOW = 3.0
_START_TIMEOUT = 6.0


@pytest.fixture
def registry(cluster: Cluster) -> Iterator[Registry]:
    """A registry that the node reaches.  What was pulled from it is removed from the node."""
    # Another cluster's nodes are on other hosts.
    assert cluster.parts
    with running() as registry, forgotten(registry):
        yield registry


def test_an_image_that_the_registry_does_not_have_is_not_found(
    site: Site, registry: Registry
) -> None:
    image = registry.name("nobody/nothing")

    failure = site.fails_promptly("ImageNotFound", image=image)

    failure.says(f"There is no image '{image}'", f"{image}: not found", "RUNNER_IMAGE")
    assert failure.phases()[-1] == "pulling"


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [(401, "UNAUTHORIZED", "401 Unauthorized"), (403, "DENIED", "403 Forbidden")],
    ids=["unauthorized", "denied"],
)
def test_an_image_that_the_registry_does_not_give_away_needs_a_pull_secret(
    site: Site, registry: Registry, status: int, code: str, said: str
) -> None:
    image = registry.refusing("private/kernel", status, code, "log in first")

    failure = site.fails_promptly("ImagePullDenied", image=image)

    failure.says(image, said, "pod.image_pull_secrets")


def test_a_missing_image_is_explained_without_the_right_to_read_events(
    site: Site, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    may = ("get,list,watch,create,delete,patch pods", "create configmaps")
    monkeypatch.setenv("GRA_KUBECONFIG", str(limited_user(site, *may)))
    image = registry.name("nobody/nothing")

    failure = site.fails_promptly("ImageNotFound", image=image)

    failure.says(f"{image}: not found")


def test_a_name_that_no_image_can_have_is_refused(site: Site) -> None:
    failure = site.fails_promptly("InvalidImageName", image="Registry.Example/UPPER:1")

    failure.says("Registry.Example/UPPER:1", "must be lowercase", "RUNNER_IMAGE")


def test_an_image_that_may_not_be_pulled_must_be_on_the_node(site: Site) -> None:
    failure = site.fails_promptly(
        "ImageNotOnNode", image="localhost/not/there:1", pod={"image_pull_policy": "Never"}
    )

    failure.says("not present with pull policy of Never", "pod.image_pull_policy")


def test_a_registry_that_never_answers_is_waited_for_until_start_timeout(
    site: Site, registry: Registry
) -> None:
    image = registry.keeping_silent("mute/kernel")

    failure = site.fails("StartTimeout", image=image, start_timeout=_START_TIMEOUT)

    assert registry.asked.is_set()
    assert _START_TIMEOUT <= failure.ended - failure.begun <= _START_TIMEOUT + PROMPT
    assert failure.phases()[-1] == Phase.PULLING.value
    failure.says("start_timeout", f"pulling {image}", "its image had not arrived", "registry")


def test_an_image_that_comes_slowly_is_waited_for(
    site: Site, registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="gra_provisioner")
    archive = images.built(Layout.of_user().cache) / "images.tar"
    base = f"{images.PREFIX}/python:1"
    image = registry.serving("slow/kernel", archive, base, _SLOW)

    site.runs(image=image)

    said = [record.getMessage() for record in caplog.records]
    assert any(f"pulling {image}" in line for line in said)


def test_gra_create_says_that_there_is_no_such_image(site: Site, registry: Registry) -> None:
    image = registry.name("nobody/nothing")
    site.configure(missing={"image": image})

    result = gra("create", "--profile", "missing", "--json")

    assert (result.returncode, result.stdout) == (5, "")
    error = json.loads(result.stderr)
    assert error["reason"] == "ImageNotFound"
    assert f"{image}: not found" in error["message"]
    assert error["details"]["image"] == image
