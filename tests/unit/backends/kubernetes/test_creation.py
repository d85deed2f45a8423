"""Pods whose making is answered late, never, or no longer waited for: one for each launch."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from gra_provisioner.backends.kubernetes.cluster import Cluster
from gra_provisioner.backends.kubernetes.creation import create_pod
from gra_provisioner.backends.kubernetes.reflector import Reflector
from gra_provisioner.errors import ClusterUnreachable, RunnerStartError
from gra_provisioner.profiles import load_config, resolve
from gra_provisioner.runner import RunnerLabels
from tests.unit.backends.kubernetes.fake_api import client_of, status

Reply = Callable[[web.Request, dict[str, Any]], Awaitable[web.StreamResponse]]
SPEC = resolve(load_config({}), {}, "the test")
LABELS = RunnerLabels("alice")


class Pods:
    """A namespace's pods.  ``replies`` answer to the first attempts to make one."""

    def __init__(self, *replies: Reply) -> None:
        self.pods: dict[str, dict[str, Any]] = {}
        self.replies = list(replies)
        self.posted = asyncio.Event()

    def make(self, body: dict[str, Any]) -> web.Response:
        """Create one, as the API server does."""
        name = body["metadata"]["name"]
        if name in self.pods:
            return status(409, "AlreadyExists", f'pods "{name}" already exists')
        version = str(len(self.pods) + 1)
        meta = {**body["metadata"], "uid": f"uid of {name}", "resourceVersion": version}
        self.pods[name] = {**body, "metadata": meta}
        return web.json_response(self.pods[name], status=201)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer a request."""
        name = request.path.rpartition("/")[2]
        if request.method == "POST":
            body = await request.json()
            self.posted.set()
            return await self.replies.pop(0)(request, body) if self.replies else self.make(body)
        if name not in self.pods:
            return status(404, "NotFound", f'pods "{name}" not found')
        if request.method == "DELETE":
            return web.json_response(self.pods.pop(name))
        return web.json_response(self.pods[name])


@contextlib.asynccontextmanager
async def cluster_of(pods: Pods, folder: Path) -> AsyncIterator[Cluster]:
    async with client_of(pods.handle, folder) as client:
        await client.open()
        yield Cluster(client, Reflector(client, "pods", "x=y"))


def _drop(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def test_a_pod_whose_answer_was_lost_is_found_again_though_the_list_has_it_by_then(
    tmp_path: Path,
) -> None:
    async def made_but_lost(request: web.Request, body: dict[str, Any]) -> web.Response:
        pods.make(body)
        cluster.pods.observe(pods.pods["runner-1"])
        return _drop(request)

    pods = Pods(made_but_lost)
    async with cluster_of(pods, tmp_path) as cluster:
        pod = await create_pod(cluster, SPEC, LABELS, "agent")
    assert pod["metadata"]["name"] == "runner-1"
    assert list(pods.pods) == ["runner-1"]
    assert cluster.claimed == set()


async def test_a_name_that_somebody_else_took_while_an_answer_was_lost_is_theirs(
    tmp_path: Path,
) -> None:
    async def lost(request: web.Request, body: dict[str, Any]) -> web.Response:
        theirs = {**body, "metadata": {**body["metadata"], "annotations": {}}}
        pods.make(theirs)
        return _drop(request)

    pods = Pods(lost)
    async with cluster_of(pods, tmp_path) as cluster:
        pod = await create_pod(cluster, SPEC, LABELS, "agent")
    assert pod["metadata"]["name"] == "runner-2"
    assert list(pods.pods) == ["runner-1", "runner-2"]


async def test_a_launch_cancelled_while_its_pod_is_made_leaves_none(tmp_path: Path) -> None:
    go = asyncio.Event()

    async def slow(request: web.Request, body: dict[str, Any]) -> web.Response:
        await go.wait()
        return pods.make(body)

    pods = Pods(slow)
    async with cluster_of(pods, tmp_path) as cluster:
        launch = asyncio.ensure_future(create_pod(cluster, SPEC, LABELS, "agent"))
        await pods.posted.wait()
        launch.cancel()
        await asyncio.sleep(0.05)
        assert not launch.done()
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await launch
    assert pods.pods == {}
    assert cluster.claimed == set()


async def test_a_launch_cancelled_before_it_tries_again_takes_the_lost_pod_back(
    tmp_path: Path,
) -> None:
    async def made_but_lost(request: web.Request, body: dict[str, Any]) -> web.Response:
        pods.make(body)
        return status(504, "Timeout")

    pods = Pods(made_but_lost)
    async with cluster_of(pods, tmp_path) as cluster:
        launch = asyncio.ensure_future(create_pod(cluster, SPEC, LABELS, "agent"))
        await pods.posted.wait()
        await asyncio.sleep(0.05)
        launch.cancel()
        with pytest.raises(asyncio.CancelledError):
            await launch
    assert pods.pods == {}


async def test_a_launch_that_is_given_up_takes_the_lost_pod_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "gra_provisioner.backends.kubernetes.creation._UNREACHABLE_WITHIN", float("-inf")
    )

    async def made_but_lost(request: web.Request, body: dict[str, Any]) -> web.Response:
        pods.make(body)
        return _drop(request)

    pods = Pods(made_but_lost)
    async with cluster_of(pods, tmp_path) as cluster:
        with pytest.raises(ClusterUnreachable):
            await create_pod(cluster, SPEC, LABELS, "agent")
    assert pods.pods == {}


async def test_a_refusal_after_a_lost_answer_takes_the_lost_pod_back(tmp_path: Path) -> None:
    async def made_but_lost(request: web.Request, body: dict[str, Any]) -> web.Response:
        pods.make(body)
        return status(503, "ServiceUnavailable")

    async def forbidden(request: web.Request, body: dict[str, Any]) -> web.Response:
        return status(403, "Forbidden", "exceeded quota: small, requested: pods=1")

    pods = Pods(made_but_lost, forbidden)
    async with cluster_of(pods, tmp_path) as cluster:
        with pytest.raises(RunnerStartError):
            await create_pod(cluster, SPEC, LABELS, "agent")
    assert pods.pods == {}
