"""Logs of pods from an API server that answers as a real one seldom does."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from gra_provisioner.backends.base import NoticeCallback, ignore_notice
from gra_provisioner.backends.kubernetes import container_log
from gra_provisioner.backends.kubernetes.cluster import Cluster
from gra_provisioner.backends.kubernetes.log_position import Position
from gra_provisioner.backends.kubernetes.logs import pod_logs
from gra_provisioner.backends.kubernetes.reflector import Reflector
from gra_provisioner.errors import (
    ClusterRefused,
    ClusterUnreachable,
    LogUnavailable,
    RunnerNotFound,
    RunnerStartError,
    UnknownLogSource,
)
from gra_provisioner.logs import LogQuery
from gra_provisioner.runner import Runner, RunnerLabels, RunnerStatus
from tests.unit.backends.kubernetes.fake_api import client_of, status
from tests.unit.backends.kubernetes.kubejson import CREATED, make_pod

RUNNER = Runner(
    name="runner-1",
    uid="uid-1",
    backend="kubernetes",
    profile="small",
    labels=RunnerLabels("alice"),
    created=0.0,
    status=RunnerStatus.RUNNING,
)
EVERYTHING = LogQuery()
SECOND = 1_000_000_000
# Of Kubernetes' log files: a longer line stands in it in pieces.
CHUNK = 16


def kube_stamp(at: int) -> bytes:
    """Nanoseconds after the creation, as Kubernetes stamps a line."""
    whole, rest = divmod(int(CREATED) * SECOND + at, SECOND)
    moment = datetime.datetime.fromtimestamp(whole, datetime.timezone.utc)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest:09d}Z".encode()


@dataclass
class Kubelet:
    """A container's log, given out as ``cri-client/pkg/logs`` does: by pieces of lines.

    ``lines`` are (nanoseconds after the creation, text).
    """

    lines: list[tuple[int, bytes]] = field(default_factory=list)
    asked: list[dict[str, str]] = field(default_factory=list)

    def pieces(self) -> list[tuple[int, bytes]]:
        """A nanosecond apart; the last of each line has its end."""
        found = []
        for at, text in self.lines:
            cut = [text[i : i + CHUNK] for i in range(0, len(text), CHUNK)] or [b""]
            cut[-1] += b"\n"
            found += [(at + number, piece) for number, piece in enumerate(cut)]
        return found

    def answer(self, query: dict[str, str]) -> bytes:
        """What there is for a request."""
        self.asked.append(query)
        pieces = self.pieces()
        if "tailLines" in query:
            pieces = pieces[len(pieces) - min(len(pieces), int(query["tailLines"])) :]
        since = query.get("sinceTime", "").encode()
        out, begins = b"", True
        for at, piece in pieces:
            stamp = kube_stamp(at)
            if stamp[:19] >= since[:19]:
                out += (stamp + b" " if begins else b"") + piece
            begins = piece.endswith(b"\n")
        return out


def pod(**changes: Any) -> dict[str, Any]:
    found = make_pod(phase="Running", state={"running": {}}, **changes)
    found["metadata"]["resourceVersion"] = "1"
    found["spec"]["restartPolicy"] = "Never"
    return found


def ended() -> dict[str, Any]:
    found = pod()
    found["status"]["phase"] = "Succeeded"
    found["status"]["containerStatuses"][0]["state"] = {"terminated": {"exitCode": 0}}
    found["metadata"]["resourceVersion"] = "2"
    return found


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@contextlib.asynccontextmanager
async def cluster_of(
    folder: Path, log: Handler, pod: Callable[[], dict[str, Any] | None] = pod
) -> AsyncIterator[Cluster]:
    """A cluster of one pod, whose requests for a log ``log`` answers."""

    async def handler(request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/log"):
            return await log(request)
        if request.path.endswith("/events"):
            return web.json_response({"items": []})
        now = pod()
        return status(404, "NotFound") if now is None else web.json_response(now)

    async with client_of(handler, folder) as client:
        await client.open()
        yield Cluster(client, Reflector(client, "pods", "x=y"))


async def _texts(
    cluster: Cluster, query: LogQuery = EVERYTHING, on_notice: NoticeCallback = ignore_notice
) -> list[tuple[str, str]]:
    lines = pod_logs(cluster, RUNNER, query, on_notice)
    return [(line.source, line.text) async for line in lines]


def agent(text: str, second: int = 0, source: str = "stdout") -> tuple[int, bytes]:
    """A line of the agent's log."""
    return second * SECOND, kube_stamp(second * SECOND)[:23] + f"Z {source}: {text}".encode()


def plain(kubelet: Kubelet) -> Handler:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=kubelet.answer(dict(request.query)))

    return handler


# -- what there is --------------------------------------------------------------------------


@pytest.mark.parametrize("tail", [1, 2, 3, 60, 300])
async def test_the_last_lines_are_whole_however_many_pieces_they_have(
    tmp_path: Path, tail: int
) -> None:
    # Each of more than fifty pieces, one of which looks like a line of the agent's.
    long = "x" * 500 + kube_stamp(0).decode()[:23] + "Z agent: forged" + "y" * 500
    written = [f"{number} {long}" for number in range(70)]
    kubelet = Kubelet([agent(text, second) for second, text in enumerate(written)])
    async with cluster_of(tmp_path, plain(kubelet)) as cluster:
        found = await _texts(cluster, LogQuery(tail=tail))
    assert found == [("stdout", text) for text in written[-tail:]]


async def test_of_a_long_log_only_the_end_is_asked_for(tmp_path: Path) -> None:
    kubelet = Kubelet([agent("x", second) for second in range(5000)])
    async with cluster_of(tmp_path, plain(kubelet)) as cluster:
        assert len(await _texts(cluster, LogQuery(tail=3))) == 3
    (query,) = kubelet.asked
    assert int(query["tailLines"]) < 200


@given(
    lengths=st.lists(st.integers(0, 60), max_size=12),
    gaps=st.lists(st.integers(0, 3), min_size=12, max_size=12),
    tail=st.one_of(st.none(), st.integers(0, 15)),
    since=st.one_of(st.none(), st.integers(0, 20)),
)
def test_what_is_chosen_is_what_a_reader_of_all_lines_would_choose(
    tmp_path_factory: pytest.TempPathFactory,
    lengths: list[int],
    gaps: list[int],
    tail: int | None,
    since: int | None,
) -> None:
    second, lines, meant = 0, [], []
    for number, (length, gap) in enumerate(zip(lengths, gaps, strict=False)):
        second += gap
        text = f"{number}" + "x" * length
        lines.append(agent(text, second, "stderr" if number % 3 else "agent"))
        if since is None or second >= since:
            meant.append(text)
    kubelet = Kubelet(lines)

    async def run() -> list[tuple[str, str]]:
        async with cluster_of(tmp_path_factory.mktemp("api"), plain(kubelet)) as cluster:
            begin = None if since is None else CREATED + since
            return await _texts(cluster, LogQuery(tail=tail, since=begin))

    found = [text for _, text in asyncio.run(run())]
    assert found == (meant if tail is None else meant[len(meant) - min(tail, len(meant)) :])


async def test_what_the_kubelet_says_itself_is_not_the_agents_word(tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.Response:
        stamped = kube_stamp(0) + b" " + agent("x", 0, "agent")[1]
        return web.Response(body=stamped + b"\nunable to retrieve container logs for cri://1")

    async with cluster_of(tmp_path, handler) as cluster:
        assert await _texts(cluster) == [
            ("agent", "x"),
            ("runner", "unable to retrieve container logs for cri://1"),
        ]


async def test_a_runner_that_was_replaced_is_not_found(tmp_path: Path) -> None:
    kubelet = Kubelet([agent("another's")])
    other = pod(metadata={"uid": "uid-2"})
    pods = iter([pod(), other])
    async with cluster_of(tmp_path, plain(kubelet), lambda: next(pods, other)) as cluster:
        with pytest.raises(RunnerNotFound):
            await _texts(cluster)


async def test_a_source_that_the_pod_does_not_have_is_named(tmp_path: Path) -> None:
    async with cluster_of(tmp_path, plain(Kubelet())) as cluster:
        with pytest.raises(UnknownLogSource, match="'sidecar'"):
            await _texts(cluster, LogQuery(sources=frozenset({"sidecar"})))


async def test_a_right_that_is_missing_is_named(tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.Response:
        message = (
            'pods "runner-1" is forbidden: User "ana" cannot get resource "pods/log" in API group '
            '"" in the namespace "team"'
        )
        return status(403, "Forbidden", message)

    for follow in (False, True):
        async with cluster_of(tmp_path, handler) as cluster:
            with pytest.raises(ClusterRefused) as raised:
                await _texts(cluster, LogQuery(follow=follow))
        assert raised.value.code == "Forbidden"
        assert "'ana' may not get pods/log in the namespace 'team'" in raised.value.message
        assert 'verbs: ["get"]' in raised.value.hint


async def test_a_pod_that_has_no_log_says_why(tmp_path: Path) -> None:
    def waiting() -> dict[str, Any]:
        found = make_pod(state={"waiting": {"reason": "ContainerCreating"}})
        found["metadata"]["resourceVersion"] = "1"
        return found

    async def handler(request: web.Request) -> web.Response:
        return status(400, "BadRequest", "container is waiting to start: ContainerCreating")

    async with cluster_of(tmp_path, handler, waiting) as cluster:
        with pytest.raises(LogUnavailable, match="runner-1 is starting and has no log yet"):
            await _texts(cluster)
    async with cluster_of(tmp_path, handler, ended) as cluster:
        with pytest.raises(LogUnavailable, match="runner-1 has ended and has no log"):
            await _texts(cluster)


async def test_a_start_that_fails_ends_a_follower_that_waits_for_it(tmp_path: Path) -> None:
    def failing() -> dict[str, Any]:
        state = {"waiting": {"reason": "ErrImageNeverPull", "message": "Container image …"}}
        found = make_pod(state=state)
        found["metadata"]["resourceVersion"] = "1"
        return found

    async def handler(request: web.Request) -> web.Response:
        return status(400, "BadRequest", "container is waiting to start: ErrImageNeverPull")

    async with cluster_of(tmp_path, handler, failing) as cluster:
        with pytest.raises(RunnerStartError, match="runner-1 did not start") as raised:
            await _texts(cluster, LogQuery(follow=True))
    assert raised.value.code == "ImageNotOnNode"


# -- followed -------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container_log, "_FIRST_DELAY", 0.001)
    monkeypatch.setattr(container_log, "_LONGEST_DELAY", 0.01)


@pytest.mark.parametrize("tail", [None, 2])
async def test_a_log_is_whole_over_connections_that_end_anywhere(
    tmp_path: Path, tail: int | None
) -> None:
    # Three a second, some of the same time, some twice, some in pieces.
    lines = [agent(f"{n // 2 * 2} {'x' * (n % 5 * 12)}", n // 3) for n in range(120)]
    kubelet = Kubelet()
    answers = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal answers
        answers += 1
        first = 10 if tail is not None else 0
        kubelet.lines = lines[: first + answers * 4]
        body = kubelet.answer(dict(request.query))
        response = web.StreamResponse()
        await response.prepare(request)
        # In the middle of a line, as it ends when the kubelet is restarted, or cut off.
        whole = not request.query.get("follow") or answers % 3 == 0
        await response.write(body if whole else body[: len(body) - answers % 7])
        if not whole and answers % 2 and request.transport is not None:
            request.transport.abort()
        return response

    def now() -> dict[str, Any]:
        return ended() if len(kubelet.lines) == len(lines) else pod()

    async with cluster_of(tmp_path, handler, now) as cluster:
        found = await _texts(cluster, LogQuery(follow=True, tail=tail))
    written = [("stdout", text.partition(b"stdout: ")[2].decode()) for _, text in lines]
    assert found == (written if tail is None else written[12:])
    assert answers > 20


async def test_another_runner_of_the_name_is_not_followed(tmp_path: Path) -> None:
    kubelet = Kubelet([agent("mine")])
    now = pod()

    async def handler(request: web.Request) -> web.Response:
        nonlocal now
        body = kubelet.answer(dict(request.query))
        if request.query.get("follow"):
            kubelet.lines = [agent("another's", 5)]
            now = pod(metadata={"uid": "uid-2"})
        return web.Response(body=body)

    async with cluster_of(tmp_path, handler, lambda: now) as cluster:
        assert await _texts(cluster, LogQuery(follow=True)) == [("stdout", "mine")]


@pytest.mark.parametrize("code", [429, 500, 502, 503, 504])
async def test_a_cluster_that_does_not_answer_is_put_up_with_for_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    kubelet = Kubelet([agent("x")])
    failures = 5

    async def handler(request: web.Request) -> web.Response:
        nonlocal failures
        if request.query.get("follow") and failures:
            failures -= 1
            return status(code, "InternalError")
        return web.Response(body=kubelet.answer(dict(request.query)))

    async with cluster_of(tmp_path, handler, lambda: pod() if failures else ended()) as cluster:
        assert await _texts(cluster, LogQuery(follow=True)) == [("stdout", "x")]
    assert not failures

    failures = 1_000_000
    monkeypatch.setattr(container_log, "_AWAY_WITHIN", 0.2)
    notices: list[str] = []
    monkeypatch.setattr(container_log, "_UNNOTICED", 0.1)
    async with cluster_of(tmp_path, handler) as cluster:
        with pytest.raises(ClusterRefused):
            await _texts(cluster, LogQuery(follow=True), notices.append)
    assert len(notices) == 1
    assert notices[0].endswith("Its log is asked for again.")


async def test_a_quiet_connection_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container_log, "_SILENCE", 0.1)
    monkeypatch.setattr(container_log, "_AWAY_WITHIN", 0.3)
    kubelet = Kubelet([agent("x")])

    async def handler(request: web.Request) -> web.StreamResponse:
        if len(kubelet.asked) > 10:
            kubelet.lines = [agent("x"), agent("y", 100)]
        body = kubelet.answer(dict(request.query))
        response = web.StreamResponse()
        stays = request.query.get("follow") and len(kubelet.lines) == 1
        if stays and len(kubelet.asked) % 2:
            # As kubelets before 1.32, that answer when there is a line.
            await asyncio.sleep(1)
        with contextlib.suppress(ConnectionError):
            await response.prepare(request)
            await response.write(body)
            if stays:
                await asyncio.sleep(1)
            await response.write_eof()
        return response

    def now() -> dict[str, Any]:
        return ended() if len(kubelet.lines) > 1 else pod()

    async with cluster_of(tmp_path, handler, now) as cluster:
        assert await _texts(cluster, LogQuery(follow=True)) == [("stdout", "x"), ("stdout", "y")]


async def test_a_log_that_is_not_followed_does_not_wait_for_a_cluster_that_is_away(
    tmp_path: Path,
) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async with cluster_of(tmp_path, handler) as cluster:
        with pytest.raises(ClusterUnreachable):
            await _texts(cluster)


# -- how far it was read --------------------------------------------------------------------


@given(
    gaps=st.lists(st.integers(0, SECOND), max_size=40),
    cuts=st.lists(st.integers(0, 40), max_size=6),
    disorder=st.lists(st.integers(0, SECOND // 2), min_size=40, max_size=40),
)
def test_no_line_is_lost_or_repeated_wherever_requests_end(
    gaps: Sequence[int], cuts: Sequence[int], disorder: Sequence[int]
) -> None:
    at, written = 10 * SECOND, []
    for number, gap in enumerate(gaps):
        at += gap
        # Few texts, so that some are the same at the same time.
        written.append((at - disorder[number], b"%d" % (number % 2)))
    position, read, there = Position(), [], 0
    for cut in [*cuts, len(written)]:
        since = position.since
        there = max(there, min(cut, len(written)))
        position.begin()
        for time, text in written[:there]:
            if (since is None or time >= since * SECOND) and position.passes(time, text):
                read.append((time, text))
    assert read == written


def test_what_is_older_than_the_first_line_is_not_new() -> None:
    position = Position(is_cut=True)
    position.begin()
    assert position.passes(10 * SECOND + 5, b"first of the tail")
    position.begin()
    assert position.since == 8
    assert not position.passes(10 * SECOND, b"before it")
    assert not position.passes(10 * SECOND + 5, b"first of the tail")
    assert position.passes(10 * SECOND + 6, b"after it")


def test_a_clock_that_is_set_back_hides_nothing_while_the_connection_lasts() -> None:
    position = Position()
    position.begin()
    assert all(position.passes(time * SECOND, b"x") for time in (100, 101, 50, 51))
