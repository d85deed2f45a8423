"""When a runner is called dead: only if the cluster says so."""

from __future__ import annotations

import asyncio
import contextlib
import struct
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


@pytest.mark.parametrize("answer", [400, 403, 426, 501])
@pytest.mark.parametrize(
    "spoken", ["v4.channel.k8s.io", "SPDY/3.1+portforward.k8s.io", "exec"], ids=str.lower
)
async def test_a_runner_is_reached_by_what_the_cluster_speaks(
    tmp_path: Path, spoken: str, answer: int
) -> None:
    asked: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        protocol = request.headers["Sec-WebSocket-Protocol"]
        way = "exec" if request.path.endswith("exec") else protocol
        asked.append(way)
        if way != spoken:
            return web.Response(status=answer)
        socket = web.WebSocketResponse(protocols=(protocol,))
        await socket.prepare(request)
        await socket.receive()
        return socket

    async with cluster_of(handler, tmp_path) as cluster:
        cluster.pods.observe(running())
        dialler = Dialler()
        for _ in range(2):
            transport = await dialler.dial(cluster, RUNNER, asyncio.Protocol)
            transport.abort()

        ways = ["v4.channel.k8s.io", "SPDY/3.1+portforward.k8s.io", "exec"]
        tried = ways[: ways.index(spoken) + 1]
        # Once exec alone was allowed, nothing else is tried.
        again = ["exec"] if (spoken, answer) == ("exec", 403) else tried
        assert asked == [*tried, *again]


async def test_a_way_that_fails_without_a_word_is_followed_by_the_next(tmp_path: Path) -> None:
    asked: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        protocol = request.headers["Sec-WebSocket-Protocol"]
        asked.append("exec" if request.path.endswith("exec") else protocol)
        socket = web.WebSocketResponse(protocols=(protocol,))
        await socket.prepare(request)
        if protocol == "v4.channel.k8s.io":
            for channel in (0, 1):
                await socket.send_bytes(bytes([channel, 1, 0]))
            await socket.send_bytes(b"\1error forwarding port 7117: network namespace is closed")
        else:
            await socket.send_bytes(_SPDY_ERROR)
        return socket

    async with cluster_of(handler, tmp_path) as cluster:
        cluster.pods.observe(running())
        dialler = Dialler()
        for _ in range(3):
            ended = asyncio.get_running_loop().create_future()
            await dialler.dial(cluster, RUNNER, lambda ended=ended: _Ends(ended))
            await asyncio.wait_for(ended, 5.0)

        assert asked == ["v4.channel.k8s.io", "SPDY/3.1+portforward.k8s.io", "exec"]


# DATA of the stream for errors.
_SPDY_ERROR = struct.pack(">II", 1, 9) + b"no such.."


class _Ends(asyncio.Protocol):
    def __init__(self, ended: asyncio.Future[None]) -> None:
        self._ended = ended

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended.set_result(None)
