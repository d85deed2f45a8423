"""What a list of many runners costs through the REST API: nothing, once they are known."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.api_requests import RequestCounter, counted_requests
from tests.support.cluster import Cluster
from tests.support.cluster_lab import lab_on
from tests.support.fake_pods import fake_runners
from tests.support.places import Places
from tests.support.rest import rest_server

# More than are asked one by one.
_COUNT = 120


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch) -> Iterator[Places]:
    """Folders of the test's own for Jupyter and gra, set in the environment."""
    here = Places(Path(tempfile.mkdtemp(prefix="gra-")))
    here.make()
    for name in list(os.environ):
        if name.startswith(("GRA_", "JUPYTER_", "KUBE")) and not name.startswith("GRA_TEST_"):
            monkeypatch.delenv(name)
    for name, value in here.environment().items():
        monkeypatch.setenv(name, value)
    yield here
    shutil.rmtree(here.root, ignore_errors=True)


@pytest.fixture
def many(cluster: Cluster, namespace: str) -> Iterator[str]:
    """A namespace with runners 1 to 120 of Ada's."""
    with fake_runners(cluster.kubeconfig, namespace, _COUNT):
        yield namespace


def test_who_lists_and_watches_runners_asks_the_cluster_for_nothing(
    cluster: Cluster, many: str, places: Places
) -> None:
    with counted_requests(cluster, cluster.kubeconfig) as counter:
        (places.root / "kubeconfig").write_text(_kubeconfig(counter))
        places.write_profiles(
            f'owner = "ada"\n[kubernetes]\nkubeconfig = "{places.root}/kubeconfig"\n'
            f'namespace = "{many}"\n'
        )
        with rest_server(places) as rest:
            names = [f"runner-{number}" for number in range(1, _COUNT + 1)]
            assert rest.names() == names
            (watch,) = counter.requests
            assert "watch=true" in watch

            for _ in range(5):
                assert rest.names() == names
            assert rest.names("sort=age&limit=3&inspect=false")
            some = "name=runner-9&name=runner-7&name=runner-999"
            assert rest.names(f"{some}&inspect=false") == ["runner-7", "runner-9"]
            assert rest.ok("GET", "ready")
            assert rest.ok("GET", "runners/runner-7?inspect=false")["mine"]
            for _ in range(2):
                with rest.stream("GET", "runners/watch") as stream:
                    told = [stream.next("added").json()["name"] for _ in names]
                    assert sorted(told) == sorted(names)
                    assert stream.next().name == "synced"
            assert counter.requests == [watch]


def test_who_looks_at_some_runners_again_and_again_connects_once(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    with counted_requests(cluster, cluster.kubeconfig) as counter:
        kubeconfig = tmp_path / "kubeconfig"
        kubeconfig.write_text(_kubeconfig(counter))
        with (
            lab_on(cluster, namespace, kubeconfig=kubeconfig) as lab,
            rest_server(lab.places) as rest,
            rest.runner() as name,
        ):
            shown = rest.ok("GET", f"runners/{name}")
            assert shown["kernel"] == "none"
            before = len(counter.requests)
            for _ in range(5):
                (listed,) = rest.ok("GET", f"runners?name={name}&inspect=true")["runners"]
                assert listed["usage"]["memory"]
                assert rest.ok("GET", f"runners/{name}")["usage"]["memory"]
            assert counter.requests[before:] == []
            assert "portforward" in counter.requests[before - 1]


def _kubeconfig(counter: RequestCounter) -> str:
    """A kubeconfig by which requests go past the counter."""
    return json.dumps(
        {
            "clusters": [{"name": "counted", "cluster": {"server": counter.url}}],
            "contexts": [{"name": "c", "context": {"cluster": "counted", "user": "nobody"}}],
            "users": [{"name": "nobody", "user": {}}],
            "current-context": "c",
        }
    )
