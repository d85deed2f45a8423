"""A Jupyter server that is killed: its kernels go on, can be found, and end by themselves."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import pexpect
import pytest

from tests.support.cells import run
from tests.support.cli import attached, gra, gra_json
from tests.support.kernels import connected
from tests.support.kernelspecs import KernelSpecs
from tests.support.places import Places
from tests.support.runners import Runners
from tests.support.server import ServerKernel, jupyter_server
from tests.support.waiting import until

pytestmark = pytest.mark.gra_only

_QUICK = '[profiles.quick]\nextends = "small"\n[profiles.quick.ttl]\norphan = 2\n'


def _kernel_pid(kernel: ServerKernel) -> int:
    return int(kernel.run("import os; print(os.getpid())").text)


def _the_runner() -> dict[str, Any]:
    runners = gra_json("list")
    assert len(runners) == 1
    runner: dict[str, Any] = runners[0]
    return runner


def test_a_kernel_survives_the_server_being_killed_and_is_found_again(
    places: Places, runners: Runners, kernel_name: str
) -> None:
    with jupyter_server(places) as server:
        kernel = server.start_session(kernel_name, "analysis.ipynb")
        kernel.run("kept = 41")
        pid = _kernel_pid(kernel)
        server.kill()

    runner = _the_runner()
    assert (runner["name"], runner["status"], runner["kernel"]) == ("runner-1", "running", "idle")
    assert runner["profile"] == "small"
    assert runner["kernel_id"] == kernel.kernel_id
    assert runner["notebook"].endswith("analysis.ipynb")
    assert runners.has(pid)
    assert gra_json("get", "runner-1")["uid"] == runner["uid"]

    with (
        attached("runner-1") as attachment,
        connected(attachment["connection_file"]) as client,
    ):
        assert attachment["runner"] == "runner-1"
        assert run(client, "print(kept + 1)").text == "42\n"

    assert gra("delete", "runner-1").returncode == 0
    assert gra_json("list") == []
    assert not runners.has(pid)


@pytest.mark.same_with_pods("a runner knows nothing of its client's end")
def test_a_cell_goes_on_without_its_server(
    places: Places, runners: Runners, kernel_name: str
) -> None:
    waits = f"""
import pathlib, time
print('going', flush=True)
while not pathlib.Path({str(runners.work / "go-on")!r}).exists(): time.sleep(0.05)
done = 42
"""
    with jupyter_server(places) as server:
        kernel = server.start_session(kernel_name)
        kernel.execute(waits)
        while kernel.receive(60)["header"]["msg_type"] != "stream":
            pass
        server.kill()

    assert _the_runner()["kernel"] == "busy"
    runners.touch("go-on")
    until(lambda: _the_runner()["kernel"] == "idle", "the cell to end without a client")
    with (
        attached("runner-1") as attachment,
        connected(attachment["connection_file"]) as client,
    ):
        assert run(client, "print(done)").text == "42\n"
    gra("delete", "runner-1")


@pytest.mark.same_with_pods("a client as the others")
def test_the_console_uses_an_attached_runner(places: Places, kernel_name: str) -> None:
    with jupyter_server(places) as server:
        server.start_session(kernel_name).run("kept = 41")
        server.kill()

    with attached("runner-1") as attachment:
        console = pexpect.spawn(
            sys.executable,
            ["-m", "jupyter_console", "--existing", attachment["connection_file"]],
            env={**os.environ, "JUPYTER_CONSOLE_TEST": "1", "PROMPT_TOOLKIT_NO_CPR": "1"},
            encoding="utf-8",
            timeout=60,
            dimensions=(40, 200),
        )
        try:
            console.expect(r"In \[\d+\]")
            console.sendline("kept + 1")
            console.expect(r"Out\[\d+\]: 42")
        finally:
            console.close(force=True)
    gra("delete", "runner-1")


def test_a_runner_that_nobody_comes_back_to_ends_by_its_orphan_ttl(
    places: Places, runners: Runners, kernelspecs: KernelSpecs
) -> None:
    places.write_profiles(_QUICK)
    kernelspecs.write("quick", config={"profile": "quick"})
    with jupyter_server(places) as server:
        kernel = _kernel_pid(server.start_session("quick"))
        agent = runners.agent_pid
        server.kill()

    runners.until_ended(agent, "the agent, by its orphan TTL,")
    runners.until_ended(kernel, "the kernel of an ended runner")

    runner = _the_runner()
    assert runner["status"] == "ended"
    assert "orphan" in f"{runner['reason']} {runner['message']}".lower()
    assert gra("delete", runner["name"]).returncode == 0


@pytest.mark.same_with_pods("a TTL is the agent's")
def test_a_ttl_in_the_kernelspec_counts_as_well(
    places: Places, runners: Runners, kernelspecs: KernelSpecs
) -> None:
    kernelspecs.write("brief", config={"profile": "small", "ttl": {"orphan": 2}})
    with jupyter_server(places) as server:
        kernel = _kernel_pid(server.start_session("brief"))
        server.kill()

    runners.until_ended(kernel, "the kernel, by its orphan TTL,")
    assert gra("delete", "runner-1").returncode == 0


@pytest.mark.same_with_pods("a TTL is the agent's")
def test_an_attached_client_keeps_a_runner_from_being_an_orphan(
    places: Places, runners: Runners, kernelspecs: KernelSpecs
) -> None:
    kernelspecs.write("brief", config={"profile": "small", "ttl": {"orphan": 4}})
    with jupyter_server(places) as server:
        kernel = _kernel_pid(server.start_session("brief"))
        server.kill()

    with (
        attached("runner-1") as attachment,
        connected(attachment["connection_file"]) as client,
    ):
        assert run(client, "import time; time.sleep(5); print('here')").text == "here\n"
    runners.until_ended(kernel, "the kernel that was left alone")
    gra("delete", "runner-1")


def test_a_server_that_is_told_to_stop_takes_its_kernels_along(
    places: Places, runners: Runners, kernel_name: str
) -> None:
    with jupyter_server(places) as server:
        kernel = _kernel_pid(server.start_session(kernel_name))
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0

    assert not runners.has(kernel)
    until(lambda: gra_json("list") == [], "the server's runner to be gone")
