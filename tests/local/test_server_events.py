"""What a page of a Jupyter server is told of launches and deaths: Jupyter's own events."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gra_provisioner.server.events import KERNEL_DEATH, RUNNER_LAUNCH
from tests.support.cells import TIMEOUT
from tests.support.cli import gra
from tests.support.jupyter_events import subscribed
from tests.support.kernelspecs import IPYKERNEL_ARGV, KernelSpecs
from tests.support.places import Places
from tests.support.runners import Runners
from tests.support.server import JupyterServer, jupyter_server

pytestmark = pytest.mark.gra_only

REPOSITORY = Path(__file__).parents[2]

# A kernel that starts once a file is there.
_WAITS = """
import os, pathlib, sys, time
while not pathlib.Path(sys.argv[1]).exists(): time.sleep(0.02)
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


@pytest.fixture
def server(places: Places) -> Iterator[JupyterServer]:
    """A server whose extension is enabled as the wheel does it."""
    shutil.copytree(REPOSITORY / "jupyter-config", places.config, dirs_exist_ok=True)
    with jupyter_server(places) as server:
        yield server


def test_phases_arrive_while_the_kernel_is_being_started(
    server: JupyterServer, kernelspecs: KernelSpecs, runners: Runners
) -> None:
    argv = ["python", "-c", _WAITS, str(runners.work / "go-on"), *IPYKERNEL_ARGV[1:]]
    kernelspecs.write("patient", kernel_argv=argv)

    with subscribed(server) as events, ThreadPoolExecutor(1) as page:
        started = page.submit(server.start_session, "patient", "work/penguins.ipynb")
        launch = [events.next(RUNNER_LAUNCH)]
        while launch[-1]["phase"] != "kernel":
            launch.append(events.next(RUNNER_LAUNCH))
        assert not started.done()
        runners.touch("go-on")
        kernel = started.result(TIMEOUT)
        end = events.launch()[-1]

    first, last = launch[0], launch[-1]
    assert [launch[-2]["phase"], last["phase"], end["phase"]] == ["starting", "kernel", "ready"]
    assert {event["kernel_id"] for event in (*launch, end)} == {kernel.kernel_id}
    assert first["kernel_name"] == "patient"
    assert first["notebook"].endswith("work/penguins.ipynb")
    assert last["runner"] == "runner-1"
    assert last["message"].startswith("runner-1: ")
    assert (end["state"], end["runner"]) == ("ready", "runner-1")
    assert [phase["phase"] for phase in end["phases"]][-2:] == ["starting", "kernel"]
    assert "runner-1 ready in " in server.log.read_text()


@pytest.mark.same_with_pods("the reason is the agent's")
def test_a_failed_launch_is_an_event_with_its_reason(
    server: JupyterServer, kernelspecs: KernelSpecs
) -> None:
    kernelspecs.write("absent", kernel_argv=["no-such-kernel", "-f", "{connection_file}"])

    with subscribed(server) as events:
        answer = server.request("POST", "api/kernels", {"name": "absent"})
        assert answer.status_code == 500
        *_, end = events.launch()

    assert (end["state"], end["phase"]) == ("failed", "kernel")
    assert end["reason"] == "KernelNotFound"
    assert "no-such-kernel" in end["message"]
    assert end["hint"]
    assert [phase["phase"] for phase in end["phases"]][-2:] == ["starting", "kernel"]


@pytest.mark.same_with_pods("no runner is made")
def test_a_wrong_configuration_is_an_event_too(
    server: JupyterServer, kernelspecs: KernelSpecs
) -> None:
    kernelspecs.write("unknown", config={"profile": "smal"})

    with subscribed(server) as events:
        assert server.request("POST", "api/kernels", {"name": "unknown"}).status_code == 500
        (end,) = events.launch()

    assert (end["state"], end["reason"], end["phases"]) == ("failed", "UnknownProfile", [])


@pytest.mark.same_with_pods("the agent tells it")
def test_a_death_and_the_restart_after_it_are_events(
    server: JupyterServer, kernel_name: str
) -> None:
    with subscribed(server) as events:
        kernel = server.start_session(kernel_name)
        assert events.launch()[-1]["state"] == "ready"

        kernel.execute("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
        death = events.next(KERNEL_DEATH)
        # By the server, which looks every three seconds.
        restarted = events.launch()

    assert death["kernel_id"] == kernel.kernel_id
    assert (death["runner"], death["runner_gone"]) == ("runner-1", False)
    assert (death["reason"], death["code"]) == ("KilledBySignal", -9)
    assert "SIGKILL" in death["message"]
    assert [event["phase"] for event in restarted] == ["kernel", "ready", "ready"]


def test_the_end_of_a_kernels_runner_is_an_event(server: JupyterServer, kernel_name: str) -> None:
    with subscribed(server) as events:
        server.start_session(kernel_name)
        events.launch()

        assert gra("delete", "runner-1").returncode == 0
        death = events.next(KERNEL_DEATH)

    assert (death["runner"], death["runner_gone"]) == ("runner-1", True)
    assert death["reason"] == "Deleted"
    assert "deleted" in death["message"]


@pytest.mark.same_with_pods("the provisioner knows what it was asked for")
def test_a_shutdown_is_no_death(server: JupyterServer, kernel_name: str) -> None:
    with subscribed(server) as events:
        kernel = server.start_session(kernel_name)
        server.request("DELETE", f"api/kernels/{kernel.kernel_id}")
        kernel = server.start_session(kernel_name)
        kernel.execute("import os; os._exit(3)")
        assert events.next(KERNEL_DEATH)["kernel_id"] == kernel.kernel_id
