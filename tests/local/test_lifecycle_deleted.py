"""Runners that somebody deletes while a notebook of a Jupyter server has its kernel there.

Deleted by means of gra, the notebook is left without a kernel, and is told who did it.  Whatever
else ends a runner is an accident, after which the server starts the kernel anew.
"""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Callable

import pytest

from gra_provisioner.server.events import KERNEL_DEATH
from tests.support.cli import gra
from tests.support.jupyter_events import subscribed
from tests.support.pods import PodRunners
from tests.support.rest import Rest
from tests.support.runners import Runners
from tests.support.server import ServerKernel
from tests.support.waiting import until

pytestmark = pytest.mark.gra_only

_WAITS = "import time; print('going', flush=True); time.sleep(1000)"

# The server looks every three seconds whether it is to start a kernel anew.
_TWO_LOOKS = 7.0


def _ids(rest: Rest, path: str) -> list[str]:
    return [each["id"] for each in rest.server.request("GET", path).json()]


def _by_command(rest: Rest) -> None:
    assert gra("delete", "runner-1").returncode == 0


def _by_request(rest: Rest) -> None:
    rest.ok("DELETE", "runners/runner-1")
    # The answer comes when the kernel is off the list, too.
    assert _ids(rest, "api/kernels") == []


def _running(kernel: ServerKernel) -> str:
    msg_id = kernel.execute(_WAITS)
    while not any(m["content"].get("text") == "going\n" for m in kernel.messages):
        kernel.receive(30)
    return msg_id


@pytest.mark.parametrize("delete", [_by_command, _by_request], ids=["command", "REST"])
def test_a_notebook_whose_runner_is_deleted_says_who_did_it_and_is_left_without_a_kernel(
    rest: Rest, runners: Runners, kernel_name: str, delete: Callable[[Rest], None]
) -> None:
    with subscribed(rest.server) as events:
        kernel = rest.server.start_session(kernel_name)
        assert kernel.run("print(6 * 7)").text == "42\n"
        msg_id = _running(kernel)

        delete(rest)

        (cell,) = kernel.finish(msg_id)
        who = f"runner-1 was deleted by {rest.ok('GET', 'runners')['owner']}@{socket.gethostname()}"
        assert cell.error["ename"] == "KernelDied"
        assert who in cell.error["evalue"]
        assert who in cell.stream("stderr")
        kernel.until_state("dead")
        death = events.next(KERNEL_DEATH)
    assert (death["kernel_id"], death["runner"]) == (kernel.kernel_id, "runner-1")
    assert (death["reason"], death["runner_gone"]) == ("Deleted", True)
    assert who in death["message"]
    until(lambda: not _ids(rest, "api/kernels"), "the kernel to be off the server's list")
    assert _ids(rest, "api/sessions") == []
    states = [m["content"]["execution_state"] for m in kernel.messages if "status" in m["msg_type"]]
    assert "restarting" not in states
    # That nothing comes can only be waited for.
    time.sleep(_TWO_LOOKS)
    assert (runners.uids(), _ids(rest, "api/kernels")) == ({}, [])

    # The notebook is given another kernel, as any.
    assert rest.server.start_session(kernel_name).run("print(6 * 7)").text == "42\n"


def test_an_idle_notebooks_runner_can_be_deleted_by_another_server(
    rest: Rest, runners: Runners, kernel_name: str
) -> None:
    kernel = rest.server.start_session(kernel_name)
    _by_command(rest)

    kernel.until_state("dead")
    until(lambda: not _ids(rest, "api/sessions"), "the session to be off the server's list")
    assert runners.uids() == {}


def test_a_runner_that_is_ended_by_something_else_is_replaced(
    rest: Rest, runners: Runners, kernel_name: str
) -> None:
    kernel = rest.server.start_session(kernel_name)
    (uid,) = runners.uids().values()
    if isinstance(runners, PodRunners):
        runners.delete_outside_gra("runner-1")
    else:
        runners.kill(runners.agent_pid, signal.SIGTERM)

    kernel.until_state("restarting")
    assert kernel.run("print(6 * 7)").text == "42\n"
    (new,) = runners.uids().values()
    assert new != uid
