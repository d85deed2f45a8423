"""A runner's kernel when clients leave in the middle, come two at a time, or are not there."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import pytest

from gra_provisioner.errors import GraError
from gra_provisioner.tunnel.client import Tunnel
from tests.support.agents import BOUND, connected_tunnel, kernel_answers, running_agent
from tests.support.places import Places
from tests.support.processes import is_running
from tests.support.waiting import until_async

pytestmark = [
    pytest.mark.gra_only,
    pytest.mark.local_only("the test holds the agent's process and its socket in its own hands"),
]

_NEVER_LISTENS = {"argv": ["sleep", "1000"], "key": "k"}


async def test_a_start_whose_client_leaves_is_given_up(places: Places) -> None:
    async with (
        running_agent(places) as (backend, runner),
        connected_tunnel(backend, runner) as stays,
    ):
        async with connected_tunnel(backend, runner) as leaves:
            start = asyncio.create_task(leaves.request("kernel.start", _NEVER_LISTENS, BOUND))
            kernel = None
            while kernel is None:
                await asyncio.sleep(0.02)
                kernel = (await stays.request("info"))["kernel"]["pid"]
        with pytest.raises(GraError):
            await start
        await until_async(lambda: not is_running(kernel), "the kernel nobody waits for to end")

        await kernel_answers(stays)
        assert (await stays.request("info"))["kernel"]["state"] == "idle"


async def test_two_clients_that_restart_at_once_start_one_kernel(places: Places) -> None:
    async with (
        running_agent(places) as (backend, runner),
        connected_tunnel(backend, runner) as one,
        connected_tunnel(backend, runner) as other,
    ):
        await kernel_answers(one)
        await one.request("kernel.signal", {"signum": signal.SIGKILL, "requested": "restart"})
        # Its process is gone, its end is still being looked into.
        while (await one.request("info"))["kernel"]["pid"] is not None:
            pass
        answers = await asyncio.gather(
            kernel_answers(one), kernel_answers(other), return_exceptions=True
        )

        refused = [answer for answer in answers if isinstance(answer, GraError)]
        started = [answer for answer in answers if isinstance(answer, dict)]
        assert [error.code for error in refused] == ["KernelRunning"]
        assert len(started) == 1
        assert is_running(started[0]["pid"])


async def test_a_kernel_that_runs_is_not_started_again(places: Places) -> None:
    async with (
        running_agent(places) as (backend, runner),
        connected_tunnel(backend, runner) as tunnel,
    ):
        await kernel_answers(tunnel)
        with pytest.raises(GraError, match="running already"):
            await kernel_answers(tunnel)


async def test_a_kernel_that_does_not_listen_in_time_is_ended(places: Places) -> None:
    async with (
        running_agent(places) as (backend, runner),
        connected_tunnel(backend, runner) as tunnel,
    ):
        with pytest.raises(GraError, match="did not listen") as raised:
            await tunnel.request("kernel.start", {**_NEVER_LISTENS, "timeout": 0.5}, BOUND)

        assert raised.value.code == "KernelStartFailed"
        info = (await tunnel.request("info"))["kernel"]
        assert (info["state"], info["pid"]) == ("dead", None)


# Wants its ports for itself alone at first, as no ZeroMQ library does.
_NO_REUSE = """
import json, os, socket, sys

for name, port in json.load(open(sys.argv[1])).items():
    if name.endswith("_port"):
        socket.socket().bind(("127.0.0.1", port))
os.execv(sys.executable, ["python", "-m", "ipykernel_launcher", "-f", sys.argv[1]])
"""


async def test_a_kernel_that_finds_its_ports_taken_is_given_others(places: Places) -> None:
    events: list[str] = []
    async with (
        running_agent(places) as (backend, runner),
        connected_tunnel(backend, runner, lambda name, data: events.append(name)) as tunnel,
    ):
        args = {"argv": ["python", "-c", _NO_REUSE, "{connection_file}"], "key": "k"}
        started = await tunnel.request("kernel.start", args, BOUND)

        assert started["incarnation"] == 2
        assert (await tunnel.request("info"))["kernel"]["state"] == "idle"
        assert events.count("kernel.started") == 1
        # Nobody is told of the death of a kernel that nobody had.
        assert "kernel.exited" not in events


async def test_a_kernel_that_finds_every_port_taken_is_given_up(places: Places) -> None:
    script = "import sys; sys.exit('Address already in use')"
    async with (
        running_agent(places) as (backend, runner),
        connected_tunnel(backend, runner) as tunnel,
    ):
        args = {"argv": ["python", "-c", script], "key": "k"}
        with pytest.raises(GraError, match="Address already in use") as raised:
            await tunnel.request("kernel.start", args, BOUND)

        assert raised.value.code == "KernelStartFailed"
        info = (await tunnel.request("info"))["kernel"]
        assert (info["state"], info["pid"], info["incarnation"]) == ("dead", None, 3)


# On one signal it says that it is busy, each time with another request; on the other it closes the
# first connection to its iopub, which is the agent's own.
_HANGS_UP = f"""
import json, signal, socket, sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from tests.support.scripted_kernel import ScriptedKernel

class Kernel(ScriptedKernel):
    busy = 0

    def say_busy(self, *_):
        self.busy += 1
        parent = {{"msg_id": str(self.busy), "msg_type": "execute_request"}}
        self._publish("status", parent, execution_state="busy")

    def hang_up(self, *_):
        self._subscribers[0].socket.shutdown(socket.SHUT_RDWR)

kernel = Kernel(json.load(open(sys.argv[1])))
signal.signal(signal.SIGUSR1, kernel.say_busy)
signal.signal(signal.SIGUSR2, kernel.hang_up)
kernel.serve()
"""


async def test_a_kernel_that_closes_the_agents_iopub_connection_is_followed_again(
    places: Places,
) -> None:
    states: list[str] = []

    def on_event(name: str, data: dict[str, Any]) -> None:
        if name == "kernel.state":
            states.append(data["state"])

    async with (
        running_agent(places) as (backend, runner),
        connected_tunnel(backend, runner, on_event) as tunnel,
    ):
        args = {"argv": ["python", "-c", _HANGS_UP, "{connection_file}"], "key": "k"}
        await tunnel.request("kernel.start", args, timeout=BOUND)
        await _until_busy(tunnel)
        await tunnel.request("kernel.signal", {"signum": signal.SIGUSR2})
        # What it was busy with may have ended unheard.
        await until_async(lambda: states[-2:] == ["busy", "idle"], "busy to be given up", BOUND)

        await _until_busy(tunnel)
        assert states[-3:] == ["busy", "idle", "busy"]


async def _until_busy(tunnel: Tunnel) -> None:
    """Let the kernel say that it is busy until the agent hears it."""
    deadline = asyncio.get_running_loop().time() + BOUND
    while (await tunnel.request("info"))["kernel"]["state"] != "busy":
        assert asyncio.get_running_loop().time() < deadline, "the agent never heard of busy"
        # Who has just connected is said nothing before it has subscribed.
        await tunnel.request("kernel.signal", {"signum": signal.SIGUSR1})
        await asyncio.sleep(0.05)
