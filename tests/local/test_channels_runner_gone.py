"""Runners that vanish under a running cell: the cell says why, and a restart gives a new one."""

from __future__ import annotations

import pytest

from tests.support.cells import finish, until_output
from tests.support.cli import gra
from tests.support.kernels import StartedKernel
from tests.support.runners import Runners

pytestmark = pytest.mark.gra_only

_WAITS = "import time; print('going', flush=True); time.sleep(1000)"


def _restart_gives_a_new_runner(
    kernel: StartedKernel, runners: Runners, uid: str, ports: dict[str, int]
) -> None:
    kernel.manager.restart_kernel(now=True)
    kernel.reconnect()

    assert kernel.run("print(6 * 7)").text == "42\n"
    (new,) = runners.uids().values()
    assert new != uid
    assert _ports(kernel) == ports


def _ports(kernel: StartedKernel) -> dict[str, int]:
    info = kernel.manager.get_connection_info()
    return {name: int(str(port)) for name, port in info.items() if name.endswith("_port")}


@pytest.mark.local_only("a pod ends with its agent, which nothing inside of it can kill")
def test_a_cell_says_that_its_runners_agent_is_gone(
    kernel: StartedKernel, runners: Runners
) -> None:
    kernel_pid, ports = kernel.pid(), _ports(kernel)
    (uid,) = runners.uids().values()
    agent = runners.agent_pid
    msg_id = kernel.client.execute(_WAITS)
    until_output(kernel.client, "going")

    runners.kill(agent)

    cell = finish(kernel.client, msg_id)
    assert cell.error["ename"] == "KernelDied"
    assert f"agent (pid {agent}) is gone" in cell.error["evalue"]
    assert cell.reply is not None
    assert cell.reply["content"]["evalue"] == cell.error["evalue"]
    _restart_gives_a_new_runner(kernel, runners, uid, ports)
    runners.until_ended(kernel_pid, "the kernel of the lost runner")


def test_a_cell_says_that_its_runner_was_deleted(kernel: StartedKernel, runners: Runners) -> None:
    ports = _ports(kernel)
    (uid,) = runners.uids().values()
    msg_id = kernel.client.execute(_WAITS)
    until_output(kernel.client, "going")

    assert gra("delete", runners.only()).returncode == 0

    cell = finish(kernel.client, msg_id)
    assert cell.error["ename"] == "KernelDied"
    assert "runner-1 was deleted by" in cell.error["evalue"]
    assert "deleted" in cell.stream("stderr")
    assert cell.status == "error"
    _restart_gives_a_new_runner(kernel, runners, uid, ports)
