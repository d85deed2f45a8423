"""When a runner is called dead: only if the cluster says so."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from gra_provisioner.backends.kubernetes.cluster import Cluster
from gra_provisioner.backends.kubernetes.dialling import Dialler, alive_pod
from gra_provisioner.backends.kubernetes.reflector import Reflector
from gra_provisioner.errors import GraError, RunnerEnded, RunnerNotFound, Unreachable
from gra_provisioner.runner import Runner, RunnerLabels, RunnerStatus
from tests.unit.backends.kubernetes.fake_api import client_of, status
from tests.unit.backends.kubernetes.kubejson import make_pod

RUNNER = Runner(
    name="runner-1",
    uid="uid-1",
    backend="kubernetes",
    profile="small",
    labels=RunnerLabels("alice"),
    created=0.0,
    status=RunnerStatus.RUNNING,
)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def running(uid: str = "uid-1", version: int = 1) -> dict[str, Any]:
    return make_pod(
        phase="Running",
        state={"running": {}},
        metadata={"uid": uid, "resourceVersion": str(version)},
    )


@contextlib.asynccontextmanager
async def cluster_of(handler: Handler, folder: Path) -> AsyncIterator[Cluster]:
    async with client_of(handler, folder) as client:
        await client.open()
        yield Cluster(client, Reflector(client, "pods", "x=y"))


async def test_a_runner_that_another_process_has_just_made_is_asked_for(tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.json_response(running())

    async with cluster_of(handler, tmp_path) as cluster:
        assert (await alive_pod(cluster, RUNNER))["metadata"]["uid"] == "uid-1"


async def test_a_runner_that_the_cluster_does_not_know_is_not_found(tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.Response:
        return status(404, "NotFound")

    async with cluster_of(handler, tmp_path) as cluster:
        with pytest.raises(RunnerNotFound):
            await alive_pod(cluster, RUNNER)


@pytest.mark.parametrize("code", [429, 500, 503])
async def test_an_overloaded_cluster_says_nothing_of_a_runner(tmp_path: Path, code: int) -> None:
    async def handler(request: web.Request) -> web.Response:
        return status(code, "InternalError")

    async with cluster_of(handler, tmp_path) as cluster:
        with pytest.raises(Unreachable):
            await alive_pod(cluster, RUNNER)
        cluster.pods.observe(running())
        with pytest.raises(Unreachable):
            await Dialler().dial(cluster, RUNNER, lambda: pytest.fail("there is no connection"))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda: status(404, "NotFound"), RunnerEnded),
        (lambda: web.json_response(running("uid-2", 2)), RunnerEnded),
        (lambda: web.json_response(running()), Unreachable),
    ],
)
async def test_a_runner_that_cannot_be_dialled_is_dead_only_if_its_pod_is_gone_or_another(
    tmp_path: Path, answer: Callable[[], web.Response], said: type[GraError]
) -> None:
    async def handler(request: web.Request) -> web.Response:
        if request.path.endswith("portforward"):
            return status(404, "NotFound")
        if request.path.endswith("events"):
            return web.json_response({"items": []})
        return answer()

    async with cluster_of(handler, tmp_path) as cluster:
        cluster.pods.observe(running())
        with pytest.raises(said):
            await Dialler().dial(cluster, RUNNER, lambda: pytest.fail("there is no connection"))
