"""How runners end by themselves, are killed, or are found after a crash, and who is told what."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from gra_provisioner.agent import wire
from gra_provisioner.backends.local import LocalBackend
from gra_provisioner.errors import RunnerEnded, RunnerNotFound
from gra_provisioner.runner import Runner, RunnerStatus, Ttl
from gra_provisioner.service import RunnerService
from tests.support.agents import (
    BOUND,
    LABELS,
    RawPeer,
    connected_tunnel,
    folder_of,
    hello,
    kernel_answers,
    running_agent,
    spec,
)
from tests.support.places import Places
from tests.support.processes import is_running
from tests.support.waiting import until_async

pytestmark = [
    pytest.mark.gra_only,
    pytest.mark.local_only("the test holds the agent's process and its socket in its own hands"),
]


async def _until_ended(backend: LocalBackend, runner: Runner) -> Runner:
    ended = {RunnerStatus.ENDED, RunnerStatus.LOST}
    deadline = time.monotonic() + BOUND
    while True:
        now = await backend.get(runner.name)
        if now.status in ended:
            return now
        assert time.monotonic() < deadline, f"waited {BOUND} s for {runner.name} to end"
        await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("ttl", "reason", "word"),
    [
        (Ttl(orphan=1.0), "Orphaned", "no client"),
        (Ttl(orphan=None, idle=1.0), "Idle", "idle"),
        (Ttl(orphan=None, lifetime=1.0), "LifetimeReached", "lifetime"),
    ],
    ids=["orphan", "idle", "lifetime"],
)
async def test_a_runner_ends_by_its_ttl_and_says_so(
    places: Places, ttl: Ttl, reason: str, word: str
) -> None:
    async with running_agent(places, spec(ttl=ttl)) as (backend, runner):
        now = await _until_ended(backend, runner)

        assert (now.status, now.reason) == (RunnerStatus.ENDED, reason)
        assert word in now.message
        ended = json.loads((folder_of(places, runner) / "ended.json").read_text())
        assert ended["reason"] == reason


async def test_a_client_is_told_why_the_runner_ended(places: Places) -> None:
    events: list[tuple[str, dict[str, Any]]] = []
    what = spec(ttl=Ttl(lifetime=1.0))
    async with (
        running_agent(places, what) as (backend, runner),
        connected_tunnel(backend, runner, lambda *event: events.append(event)) as tunnel,
    ):
        error = await asyncio.wait_for(asyncio.shield(tunnel.ended), BOUND)

        assert isinstance(error, RunnerEnded)
        assert "lifetime" in error.message
        assert error.details["reason"] == "LifetimeReached"
        assert error.hint
        assert any(name == "runner.ending" for name, _ in events)
        with pytest.raises(RunnerEnded):
            await tunnel.request("info")


async def test_a_client_keeps_a_runner_from_being_an_orphan_and_an_observer_does_not(
    places: Places,
) -> None:
    async with running_agent(places, spec(ttl=Ttl(orphan=1.5))) as (backend, runner):
        async with connected_tunnel(backend, runner):
            await asyncio.sleep(3)
            assert (await backend.get(runner.name)).status is RunnerStatus.RUNNING
        async with connected_tunnel(backend, runner, observer=True):
            assert (await _until_ended(backend, runner)).reason == "Orphaned"


async def test_looking_at_runners_does_not_keep_them(places: Places) -> None:
    async with running_agent(places, spec(ttl=Ttl(orphan=1.5))) as (backend, runner):
        service = RunnerService(backend, "the test says so")
        deadline = time.monotonic() + BOUND
        while (await service.get(runner.name)).status is RunnerStatus.RUNNING:
            assert time.monotonic() < deadline, "looking kept the runner from ending"
            await asyncio.sleep(0.1)
        assert (await backend.get(runner.name)).reason == "Orphaned"


# Says on iopub that it is busy, for three seconds, and then idle.
_BUSY_KERNEL = """
import json, sys, time, zmq
info = json.load(open(sys.argv[1]))
context = zmq.Context()
sockets = {}
for name, kind in (("shell", zmq.ROUTER), ("iopub", zmq.PUB), ("stdin", zmq.ROUTER),
                   ("control", zmq.ROUTER), ("hb", zmq.REP)):
    sockets[name] = context.socket(kind)
    sockets[name].bind(f"tcp://127.0.0.1:{info[name + '_port']}")
def say(state):
    parts = ({"msg_type": "status"}, {"msg_id": "m", "msg_type": "execute_request"}, {},
             {"execution_state": state})
    sockets["iopub"].send_multipart(
        [b"kernel.x.status", b"<IDS|MSG>", b""] + [json.dumps(part).encode() for part in parts])
for _ in range(40):
    say("busy")
    time.sleep(0.1)
say("idle")
time.sleep(1000)
"""


async def test_a_busy_kernel_is_not_idle(places: Places) -> None:
    async with running_agent(places, spec(ttl=Ttl(orphan=None, idle=2.0))) as (backend, runner):
        states: list[tuple[str, float]] = []

        def on_event(name: str, data: dict[str, Any]) -> None:
            if name == "kernel.state":
                states.append((data["state"], time.monotonic()))

        async with connected_tunnel(backend, runner, on_event) as tunnel:
            args = {"argv": ["python", "-c", _BUSY_KERNEL, "{connection_file}"], "key": ""}
            await tunnel.request("kernel.start", args, timeout=BOUND)
            await until_async(lambda: any(s == "busy" for s, _ in states), "the kernel to be busy")
            now = await _until_ended(backend, runner)
            ended = time.monotonic()

        assert now.reason == "Idle"
        last = [when for state, when in states if state == "idle"][-1]
        assert ended - last >= 1.9


async def test_an_agent_that_is_told_to_end_takes_its_kernel_along(places: Places) -> None:
    async with (
        running_agent(places) as (backend, runner),
        connected_tunnel(backend, runner) as tunnel,
    ):
        kernel = (await kernel_answers(tunnel))["pid"]
        assert runner.pid is not None
        os.kill(runner.pid, signal.SIGTERM)
        now = await _until_ended(backend, runner)

        assert (now.status, now.reason) == (RunnerStatus.ENDED, "Terminated")
        assert "SIGTERM" in now.message
        assert not is_running(kernel)


async def test_a_killed_agent_is_lost_and_what_it_left_can_be_deleted(places: Places) -> None:
    async with (
        running_agent(places) as (backend, runner),
        connected_tunnel(backend, runner) as tunnel,
    ):
        kernel = (await kernel_answers(tunnel))["pid"]
        assert runner.pid is not None
        os.kill(runner.pid, signal.SIGKILL)
        error = await asyncio.wait_for(asyncio.shield(tunnel.ended), BOUND)

        assert isinstance(error, RunnerEnded)
        assert "killed" in error.message
        assert error.details["reason"] == "AgentLost"
        now = await backend.get(runner.name)
        assert (now.status, now.reason) == (RunnerStatus.LOST, "AgentLost")
        assert now.hint
        assert is_running(kernel)
        await backend.delete(now)
        await until_async(lambda: not is_running(kernel), "the kernel of a lost runner to end")
        assert places.runner_folders() == []


def _record(places: Places, runner: Runner, **changes: Any) -> None:
    path = folder_of(places, runner) / "runner.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


async def _lost_runner(places: Places) -> tuple[LocalBackend, Runner]:
    """A runner whose agent is gone without a word, as after the host's restart."""
    backend = LocalBackend(places.gra_state)
    runner = await backend.create(spec(), LABELS)
    assert runner.pid is not None
    os.kill(runner.pid, signal.SIGKILL)
    await _until_ended(backend, runner)
    return backend, runner


def _stranger() -> subprocess.Popen[bytes]:
    """Somebody else's process, leader of a session of its own."""
    return subprocess.Popen(["sleep", "1000"], start_new_session=True)


async def test_a_process_that_got_an_agents_old_pid_is_not_taken_for_it(places: Places) -> None:
    backend, runner = await _lost_runner(places)
    with _stranger() as stranger:
        try:
            _record(places, runner, agent_pid=stranger.pid)
            now = await backend.get(runner.name)
            assert now.status is RunnerStatus.LOST
            await backend.delete(now)

            assert stranger.poll() is None
            assert places.runner_folders() == []
        finally:
            stranger.kill()


async def test_a_process_that_got_a_kernels_old_pid_is_not_killed(places: Places) -> None:
    backend, runner = await _lost_runner(places)
    with _stranger() as stranger:
        try:
            pid_file = folder_of(places, runner) / "kernel.pid"
            pid_file.write_text(str(stranger.pid))
            await backend.delete(await backend.get(runner.name))

            assert stranger.poll() is None
            assert places.runner_folders() == []
        finally:
            stranger.kill()


async def test_a_new_agent_under_an_old_name_is_not_deleted(places: Places) -> None:
    backend, old = await _lost_runner(places)
    await backend.delete(old)
    new = await backend.create(spec(), LABELS)
    try:
        assert new.name == old.name
        await backend.delete(old)
        assert (await backend.get(new.name)).status is RunnerStatus.RUNNING
        with pytest.raises(RunnerNotFound):
            async with connected_tunnel(backend, old):
                pass
    finally:
        await backend.delete(new)


@pytest.mark.parametrize(
    "content",
    [None, "", "{", '{"name": "runner-1"}', "[]", "null"],
    ids=["none", "empty", "torn", "incomplete", "list", "null"],
)
@pytest.mark.parametrize("age", [0, 3600], ids=["new", "old"])
async def test_a_half_made_folder_is_listed_and_can_be_deleted(
    places: Places, content: str | None, age: int
) -> None:
    folder = places.runners / "runner-1"
    folder.mkdir(parents=True)
    if content is not None:
        (folder / "runner.json").write_text(content)
    past = time.time() - age
    os.utime(folder, (past, past))
    backend = LocalBackend(places.gra_state)

    (runner,) = await backend.list()
    assert runner.name == "runner-1"
    expected = RunnerStatus.LOST if age else RunnerStatus.STARTING
    assert runner.status is expected
    await backend.delete(runner)
    assert places.runner_folders() == []


async def test_strange_things_in_the_state_folder_are_passed_over(places: Places) -> None:
    places.runners.mkdir(parents=True)
    (places.runners / "runner-1").write_text("a file")
    for name in ("runner-01", "runner-x", "notes", "runner-", ".cache"):
        (places.runners / name).mkdir()
    backend = LocalBackend(places.gra_state)

    assert await backend.list() == []
    with pytest.raises(RunnerNotFound):
        await backend.get("../runners")
    for entry in places.runners.iterdir():
        if entry.is_dir():
            entry.rmdir()


_CREATE_MANY = """
import asyncio, sys
from pathlib import Path
from gra_provisioner.backends.local import LocalBackend
from tests.support.agents import LABELS, spec

async def main():
    backend = LocalBackend(Path(sys.argv[1]))
    runners = await asyncio.gather(*(backend.create(spec(), LABELS) for _ in range(20)))
    print(*(runner.name for runner in runners))
    await backend.close()

asyncio.run(main())
"""


@pytest.mark.timeout(300)
async def test_two_processes_that_make_twenty_runners_each_share_no_name(places: Places) -> None:
    repository = Path(__file__).parents[2]
    makers = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            _CREATE_MANY,
            str(places.gra_state),
            stdout=subprocess.PIPE,
            cwd=repository,
        )
        for _ in range(2)
    ]
    outputs = await asyncio.gather(*(maker.communicate() for maker in makers))
    names = [name for out, _ in outputs for name in out.decode().split()]

    backend = LocalBackend(places.gra_state)
    runners = await backend.list()
    try:
        assert sorted(names) == sorted({f"runner-{n}" for n in range(1, 41)})
        assert {runner.status for runner in runners} == {RunnerStatus.RUNNING}
    finally:
        await asyncio.gather(*(backend.delete(runner) for runner in runners))


async def test_a_state_folder_with_a_long_name_works(places: Places) -> None:
    deep = places.state.joinpath(*["a-rather-long-name-of-a-folder"] * 5)
    deep.mkdir(parents=True)
    assert len(str(deep)) > 120
    backend = LocalBackend(deep)
    runner = await backend.create(spec(), LABELS)
    try:
        async with connected_tunnel(backend, runner) as tunnel:
            await kernel_answers(tunnel)
            assert (await tunnel.request("info"))["kernel"]["state"] == "idle"
    finally:
        await backend.delete(runner)


async def test_a_session_that_its_client_abandoned_is_forgotten_in_time(places: Places) -> None:
    async with (
        running_agent(places, spec(ttl=Ttl(orphan=1.0))) as (backend, runner),
        connected_tunnel(backend, runner) as stays,
    ):
        with RawPeer(folder_of(places, runner)) as vanishes:
            assert vanishes.greet(hello("gone"))[0] == wire.HELLO
            assert (await stays.request("info"))["clients"] == 2
        # No goodbye, and nobody dials again.
        await asyncio.sleep(2.5)
        assert (await stays.request("info"))["clients"] == 1
        # What makes the agent look is that somebody comes or goes.
        async with connected_tunnel(backend, runner):
            pass
        with RawPeer(folder_of(places, runner)) as returns:
            kind, answer = returns.greet(hello("gone", epoch=2, resumes=True))
        assert (kind, answer["reason"]) == (wire.REJECT, "SessionLost")


async def test_an_agents_files_are_the_users_own(places: Places) -> None:
    async with (
        running_agent(places) as (backend, runner),
        connected_tunnel(backend, runner) as tunnel,
    ):
        await kernel_answers(tunnel)
        folder = folder_of(places, runner)
        assert folder.stat().st_mode & 0o077 == 0
        for path in folder.iterdir():
            assert path.stat().st_mode & 0o077 == 0, path.name
        assert runner.pid is not None
        assert psutil.Process(runner.pid).cwd() == str(folder)
