"""What the list of runners makes of watches that end, lie in time, or are refused."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from gra_provisioner.backends.kubernetes import reflector as module
from gra_provisioner.backends.kubernetes.reflector import Reflector
from gra_provisioner.errors import ClusterUnreachable
from tests.unit.backends.kubernetes.fake_api import Watch, client_of, pod, status

Scene = Callable[[Watch], Awaitable[web.StreamResponse]]


@contextlib.asynccontextmanager
async def reflecting(
    folder: Path, *scenes: Scene, listed: dict[str, Any] | None = None
) -> AsyncIterator[tuple[Reflector, list[dict[str, str]]]]:
    """A reflector whose watches are played by ``scenes``, in turn; and the queries of its requests.

    ``listed`` is the answer to a list.  Without, lists are not expected.
    """
    queries: list[dict[str, str]] = []
    left = list(scenes)

    async def handler(request: web.Request) -> web.StreamResponse:
        queries.append(dict(request.query))
        if "watch" not in request.query:
            return web.json_response(listed) if listed else status(500, "InternalError")
        watch = Watch(request)
        if not left:
            await watch.begin()
            return await watch.stay()
        return await left.pop(0)(watch)

    async with client_of(handler, folder) as client:
        reflector = Reflector(client, "pods", "app=x")
        try:
            yield reflector, queries
        finally:
            await reflector.close()


async def until(condition: Callable[[], object], what: str) -> None:
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"waited 5 s for {what}")


def names(reflector: Reflector) -> list[str]:
    return sorted(item["metadata"]["name"] for item in reflector.objects())


async def listing(watch: Watch, *pods: dict[str, Any], version: int) -> None:
    await watch.begin()
    for item in pods:
        await watch.send("ADDED", item)
    await watch.bookmark(version, ends_the_list=True)


async def test_a_runner_made_while_the_list_is_read_anew_is_not_taken_for_gone(
    tmp_path: Path,
) -> None:
    made, told = asyncio.Event(), asyncio.Event()

    async def first(watch: Watch) -> web.StreamResponse:
        await listing(watch, pod("runner-1", 5), version=10)
        await watch.send("ERROR", {"code": 410, "reason": "Expired", "message": "too old"})
        return await watch.end()

    async def anew(watch: Watch) -> web.StreamResponse:
        await watch.begin()
        await watch.send("ADDED", pod("runner-1", 5))
        await made.wait()
        await watch.bookmark(20, ends_the_list=True)
        await watch.send("ADDED", pod("runner-2", 21))
        told.set()
        return await watch.stay()

    async with reflecting(tmp_path, first, anew) as (reflector, queries):
        await reflector.synced()
        await until(lambda: len(queries) == 2, "the list to be read anew")
        reflector.observe(pod("runner-2", 21))
        made.set()
        await told.wait()
        await until(lambda: reflector._version == "21", "the event")
        assert names(reflector) == ["runner-1", "runner-2"]
        assert reflector.last_seen("uid of runner-2") is None


async def test_a_runner_that_ends_while_the_list_is_told_is_gone(tmp_path: Path) -> None:
    async def scene(watch: Watch) -> web.StreamResponse:
        await watch.begin()
        await watch.send("ADDED", pod("runner-1", 5))
        await watch.send("ADDED", pod("runner-2", 6))
        await watch.send("DELETED", pod("runner-1", 11))
        await watch.bookmark(11, ends_the_list=True)
        return await watch.stay()

    async with reflecting(tmp_path, scene) as (reflector, _):
        await reflector.synced()
        assert names(reflector) == ["runner-2"]
        assert reflector.last_seen("uid of runner-1") is not None


async def test_a_list_read_anew_tells_which_runners_have_gone_and_which_names_are_others(
    tmp_path: Path,
) -> None:
    async def first(watch: Watch) -> web.StreamResponse:
        await listing(watch, pod("runner-1", 5), pod("runner-2", 6), pod("runner-3", 7), version=10)
        await watch.send("ERROR", {"code": 410, "reason": "Expired", "message": "too old"})
        return await watch.end()

    async def anew(watch: Watch) -> web.StreamResponse:
        await listing(watch, pod("runner-1", 5), pod("runner-2", 15, "another"), version=20)
        return await watch.stay()

    async with reflecting(tmp_path, first, anew) as (reflector, _):
        await reflector.synced()
        await until(lambda: reflector._version == "20", "the new list")
        assert names(reflector) == ["runner-1", "runner-2"]
        assert reflector.by_uid("runner-2", "another")
        assert reflector.last_seen("uid of runner-2")
        assert reflector.last_seen("uid of runner-3")


async def test_a_late_word_of_a_runner_does_not_displace_the_next_of_its_name(
    tmp_path: Path,
) -> None:
    async def scene(watch: Watch) -> web.StreamResponse:
        await listing(watch, pod("runner-1", 15, "another"), version=20)
        return await watch.stay()

    async with reflecting(tmp_path, scene) as (reflector, _):
        await reflector.synced()
        reflector.observe(pod("runner-1", 12, "one"))
        assert reflector.by_uid("runner-1", "another")


async def test_a_watch_cut_off_in_mid_line_goes_on_where_it_was(tmp_path: Path) -> None:
    async def first(watch: Watch) -> web.StreamResponse:
        await listing(watch, pod("runner-1", 5), version=10)
        return await watch.cut()

    async def second(watch: Watch) -> web.StreamResponse:
        await watch.begin()
        await watch.send("ADDED", pod("runner-2", 11))
        return await watch.stay()

    async with reflecting(tmp_path, first, second) as (reflector, queries):
        await reflector.synced()
        await until(lambda: names(reflector) == ["runner-1", "runner-2"], "the second runner")
        assert queries[1]["resourceVersion"] == "10"
        assert reflector.trouble is None


async def test_a_server_that_always_says_that_it_is_too_late_is_not_flooded(
    tmp_path: Path,
) -> None:
    async def gone(watch: Watch) -> web.StreamResponse:
        return status(410, "Expired")

    async with reflecting(tmp_path, *[gone] * 1000) as (reflector, queries):
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(reflector.synced(), 1.0)
        assert len(queries) <= 5


@pytest.mark.parametrize("code", [400, 422])
async def test_a_server_that_cannot_stream_lists_is_asked_for_one(
    tmp_path: Path, code: int
) -> None:
    async def refused(watch: Watch) -> web.StreamResponse:
        return status(code, "Invalid", "sendInitialEvents is forbidden")

    listed = {"metadata": {"resourceVersion": "10"}, "items": [pod("runner-1", 5)]}
    async with reflecting(tmp_path, refused, listed=listed) as (reflector, queries):
        await reflector.synced()
        assert names(reflector) == ["runner-1"]
        await until(lambda: len(queries) == 3, "the watch")
        assert queries[2]["resourceVersion"] == "10"


async def test_a_server_that_never_ends_a_streamed_list_is_asked_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LISTED_WITHIN", 0.2)

    async def endless(watch: Watch) -> web.StreamResponse:
        await watch.begin()
        await watch.send("ADDED", pod("runner-1", 5))
        return await watch.stay()

    listed = {"metadata": {"resourceVersion": "10"}, "items": [pod("runner-1", 5)]}
    async with reflecting(tmp_path, endless, listed=listed) as (reflector, _):
        await asyncio.wait_for(reflector.synced(), 5.0)
        assert names(reflector) == ["runner-1"]


async def test_a_server_restored_to_an_earlier_time_is_followed_anew(tmp_path: Path) -> None:
    async def first(watch: Watch) -> web.StreamResponse:
        await listing(watch, version=1000)
        return await watch.end()

    async def ahead(watch: Watch) -> web.StreamResponse:
        return status(504, "Timeout", "Too large resource version")

    async def anew(watch: Watch) -> web.StreamResponse:
        await listing(watch, pod("runner-1", 5), version=10)
        return await watch.stay()

    async with reflecting(tmp_path, first, ahead, anew) as (reflector, queries):
        await reflector.synced()
        await until(lambda: names(reflector) == ["runner-1"], "the list of then")
        assert queries[1]["resourceVersion"] == "1000"
        assert reflector.trouble is None


async def test_a_fault_in_the_watch_is_told_and_the_next_reader_has_it_begin_anew(
    tmp_path: Path,
) -> None:
    async def broken(watch: Watch) -> web.StreamResponse:
        await watch.begin()
        await watch.send("ADDED", {"no": "pod"})
        return await watch.stay()

    async def sound(watch: Watch) -> web.StreamResponse:
        await listing(watch, pod("runner-1", 5), version=10)
        return await watch.stay()

    async with reflecting(tmp_path, broken, sound) as (reflector, _):
        with pytest.raises(Exception, match="watch of the runners failed"):
            await reflector.synced()
        await until(lambda: reflector.trouble is not None, "the trouble")
        with contextlib.suppress(Exception):
            await reflector.synced()
        await until(lambda: names(reflector) == ["runner-1"], "the list")
        assert reflector.trouble is None


async def test_whoever_waits_for_the_list_is_told_when_it_is_closed(tmp_path: Path) -> None:
    async def silent(watch: Watch) -> web.StreamResponse:
        await watch.begin()
        return await watch.stay()

    async with reflecting(tmp_path, silent) as (reflector, queries):
        waiting = asyncio.ensure_future(reflector.synced())
        await until(lambda: queries, "the watch")
        await reflector.close()
        with pytest.raises(ClusterUnreachable, match="closed"):
            await waiting
        with pytest.raises(ClusterUnreachable, match="closed"):
            await reflector.synced()


async def test_a_cluster_that_falls_silent_is_noticed_though_the_watch_does_not_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_QUIET", 0.0)
    monkeypatch.setattr(module, "_ANSWERED_WITHIN", 0.2)
    there = asyncio.Event()
    asked: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        if request.path == "/version":
            asked.append(request.path)
            await there.wait()
            # Who may not know it has been answered, too.
            return status(403, "Forbidden")
        watch = Watch(request)
        await listing(watch, pod("runner-1", 5), version=10)
        return await watch.stay()

    async with client_of(handler, tmp_path) as client:
        reflector = Reflector(client, "pods", "app=x")
        try:
            await reflector.synced()
            answered_at = reflector.answered_at
            for _ in range(10):
                reflector.probe_soon()
            await until(lambda: reflector.trouble is not None, "the silence to be noticed")
            assert (len(asked), reflector.answered_at) == (1, answered_at)
            assert names(reflector) == ["runner-1"]

            there.set()
            reflector.probe_soon()
            await until(lambda: reflector.trouble is None, "the answer")
            assert reflector.answered_at > answered_at
        finally:
            await reflector.close()
