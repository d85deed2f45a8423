"""A namespace with more runners than a page of the API has, and what a look at them costs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gra_provisioner.backends.kubernetes.backend import KubernetesBackend
from gra_provisioner.backends.kubernetes.kubeconfig import Target
from gra_provisioner.runner import ChangeKind
from gra_provisioner.selection import Selection
from gra_provisioner.service import RunnerService
from tests.support.api_requests import RequestCounter, counted_requests
from tests.support.cli import GRA, gra
from tests.support.cluster import Cluster
from tests.support.fake_pods import api_client, make_fake_pods, remove_all_pods

# Above one page of 500.
_COUNT = 520
_OTHERS = 20
_BOUND = 60.0


@pytest.fixture(scope="module")
def many(cluster: Cluster, module_namespace: str) -> Iterator[str]:
    """A namespace with runners 1 to 520 of Ada's and 521 to 540 of Bob's."""

    async def make() -> None:
        async with api_client(cluster.kubeconfig, module_namespace) as client:
            await make_fake_pods(client, range(1, _COUNT + 1), "ada")
            await make_fake_pods(client, range(_COUNT + 1, _COUNT + _OTHERS + 1), "Bob B.")

    async def remove() -> None:
        async with api_client(cluster.kubeconfig, module_namespace) as client:
            await remove_all_pods(client)

    asyncio.run(make())
    yield module_namespace
    asyncio.run(remove())


@pytest.fixture(scope="module")
def module_namespace(cluster: Cluster) -> Iterator[str]:
    with cluster.namespace("gra-many") as name:
        yield name


@pytest.fixture
def counter(
    cluster: Cluster, many: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[RequestCounter]:
    """All requests of gra in the namespace go through it."""
    with counted_requests(cluster, cluster.kubeconfig) as counter:
        context = {"cluster": "counted", "user": "nobody", "namespace": many}
        kubeconfig = {
            "clusters": [{"name": "counted", "cluster": {"server": counter.url}}],
            "contexts": [{"name": "counted", "context": context}],
            "users": [{"name": "nobody", "user": {}}],
            "current-context": "counted",
        }
        (tmp_path / "kubeconfig").write_text(json.dumps(kubeconfig))
        monkeypatch.setenv("GRA_KUBECONFIG", str(tmp_path / "kubeconfig"))
        monkeypatch.setenv("GRA_NAMESPACE", many)
        monkeypatch.setenv("JUPYTER_NO_CONFIG", "1")
        monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(tmp_path))
        yield counter


def _list(*options: str, owner: str = "ada") -> list[dict[str, object]]:
    done = subprocess.run(
        [*GRA, "list", "--json", *options],
        env={**os.environ, "GRA_OWNER": owner},
        capture_output=True,
        text=True,
        timeout=_BOUND,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: list[dict[str, object]] = json.loads(done.stdout)
    return found


def test_all_of_many_runners_are_listed_once(counter: RequestCounter) -> None:
    everybody = _list("--all")
    assert len({runner["name"] for runner in everybody}) == len(everybody) == _COUNT + _OTHERS
    in_pages = list(counter.requests)
    assert len(in_pages) == 2, in_pages
    assert not any("watch" in path for path in in_pages)

    # Of one owner's, only these come over the line.
    assert len(_list("--no-inspect", owner="Bob B.")) == _OTHERS
    assert len(counter.requests) == 3
    assert _list(owner="nobody") == []
    assert len(counter.requests) == 4

    last, *_ = _list("--reverse", "--limit", "5")
    assert last["name"] == f"runner-{_COUNT}"


def test_who_asks_about_one_runner_does_not_ask_for_all(counter: RequestCounter) -> None:
    done = gra("get", "runner-77", "--json", timeout=_BOUND)
    assert json.loads(done.stdout)["name"] == "runner-77"
    assert not [path for path in counter.requests if "/pods?" in path], counter.requests


async def test_one_watch_serves_all_who_list_and_watch(counter: RequestCounter, many: str) -> None:
    def service() -> RunnerService:
        target = Target("", many, os.environ["GRA_KUBECONFIG"])
        return RunnerService(KubernetesBackend(target, {}), "", "ada")

    async with service() as one, service() as other:
        assert len(await one.list(inspect=False)) == _COUNT + _OTHERS
        assert len(await other.list(Selection(owner="Bob B."), inspect=False)) == _OTHERS

        async def told(owner: str) -> int:
            async with contextlib.aclosing(other.watch(Selection(owner=owner))) as changes:
                count = 0
                async for change in changes:
                    if change.kind is ChangeKind.SYNCED:
                        return count
                    count += 1
            raise AssertionError("the watch ended")

        assert await told("ada") == _COUNT
        assert await told("Bob B.") == _OTHERS
    watches = [path for path in counter.requests if "watch=true" in path]
    assert len(watches) == len(counter.requests) == 1, counter.requests
