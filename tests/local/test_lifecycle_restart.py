"""Restarts: a new kernel, and with gra the same runner."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.cells import until_output
from tests.support.kernels import StartedKernel
from tests.support.kernelspecs import KernelSpecs
from tests.support.places import Places
from tests.support.runners import Runners
from tests.support.server import jupyter_server
from tests.support.waiting import until

_SAME = pytest.mark.same_with_pods("the restart is the agent's, whatever was asked for")


@pytest.mark.parametrize(
    "now", [pytest.param(False, id="gracefully", marks=_SAME), pytest.param(True, id="now")]
)
def test_a_restart_loses_the_variables_and_keeps_the_connection(
    kernel: StartedKernel, runners: Runners, now: bool
) -> None:
    kernel.run("kept = 1")
    old = kernel.pid()
    ports = kernel.manager.get_connection_info()

    kernel.manager.restart_kernel(now=now)
    kernel.reconnect()

    assert kernel.run("kept").error["ename"] == "NameError"
    assert kernel.manager.get_connection_info() == ports
    assert kernel.pid() != old
    assert not runners.has(old)


@pytest.mark.same_with_pods("a restart is the agent's")
def test_a_kernel_restarts_many_times(kernel: StartedKernel) -> None:
    for number in range(5):
        kernel.run(f"n = {number}")
        kernel.manager.restart_kernel(now=bool(number % 2))
        kernel.reconnect()
        assert kernel.run("n").error["ename"] == "NameError"


@pytest.mark.same_with_pods("a restart is the agent's")
def test_a_restart_ends_a_cell_that_does_not_listen_to_reason(kernel: StartedKernel) -> None:
    code = """
import signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print('going', flush=True)
while True: pass
"""
    kernel.client.execute(code)
    until_output(kernel.client, "going")

    kernel.manager.restart_kernel(now=True)
    kernel.reconnect()

    assert kernel.run("print('alive')").text == "alive\n"


@pytest.mark.gra_only
@pytest.mark.parametrize(
    ("now", "newports"),
    [
        pytest.param(False, False, marks=_SAME),
        pytest.param(True, False, marks=_SAME),
        pytest.param(False, True, marks=_SAME),
        (True, True),
    ],
)
def test_a_restart_keeps_the_runner_and_its_ports(
    kernel: StartedKernel, runners: Runners, now: bool, newports: bool
) -> None:
    uids, agent = runners.uids(), runners.agent_pid
    ports = kernel.manager.get_connection_info()
    assert len(uids) == 1

    kernel.manager.restart_kernel(now=now, newports=newports)
    kernel.reconnect()

    assert kernel.run("print(6 * 7)").text == "42\n"
    assert (runners.uids(), runners.agent_pid) == (uids, agent)
    assert kernel.manager.get_connection_info() == ports


@pytest.mark.gra_only
def test_a_restart_keeps_the_files_of_the_runner(kernel: StartedKernel) -> None:
    kernel.run("open('kept.txt', 'w').write('still here')")

    kernel.manager.restart_kernel()
    kernel.reconnect()

    assert kernel.run("print(open('kept.txt').read())").text == "still here\n"
    kernel.run("import os; os.remove('kept.txt')")


@pytest.mark.gra_only
@pytest.mark.same_with_pods("a restart is the agent's")
def test_output_before_a_restart_is_not_seen_after_it(kernel: StartedKernel) -> None:
    kernel.client.execute("for n in range(20_000): print('old', n, flush=True)")
    until_output(kernel.client, "old")

    kernel.manager.restart_kernel(now=True)
    kernel.reconnect()

    assert kernel.run("print('new')").text == "new\n"


@pytest.mark.gra_only
@pytest.mark.parametrize("later", [0.0, 0.1, 0.4])
def test_restarts_that_meet_leave_a_kernel_that_works_in_the_same_runner(
    places: Places, runners: Runners, later: float
) -> None:
    with jupyter_server(places) as server, ThreadPoolExecutor(2) as people:
        kernel = server.start_session("gra")
        kernel.run("x = 1")
        before = runners.uids()
        path = f"api/kernels/{kernel.kernel_id}/restart"

        first = people.submit(server.request, "POST", path)
        # Not that something was waited for: the second comes at another moment of the first.
        time.sleep(later)
        second = people.submit(server.request, "POST", path)

        assert 200 in {first.result().status_code, second.result().status_code}
        again = server.connect(kernel.kernel_id)
        assert again.run("print(6 * 7)").text == "42\n"
        assert again.run("x").status == "error"
        assert runners.uids() == before


# A kernel that does not start any more once a file is there.
_FRAGILE = """
import os, sys
if os.path.exists(sys.argv.pop(1)): raise SystemExit('the licence has expired')
from ipykernel.kernelapp import main; main()
"""


@pytest.mark.gra_only
def test_a_kernel_that_cannot_start_again_is_dead_to_its_clients_and_leaves_nothing(
    places: Places, runners: Runners, kernelspecs: KernelSpecs
) -> None:
    argv = ["python", "-c", _FRAGILE, str(runners.work / "expired"), "-f", "{connection_file}"]
    kernelspecs.write("fragile", kernel_argv=argv)
    with jupyter_server(places) as server:
        kernel = server.start_session("fragile")
        pid = int(kernel.run("import os; print(os.getpid())").text)
        runners.touch("expired")

        runners.kill(pid)

        kernel.until_state("dead")
        until(lambda: not runners.uids(), "the runner of a dead kernel to be gone")
        states = [k["execution_state"] for k in server.request("GET", "api/kernels").json()]
        assert set(states) <= {"dead"}
        assert "the licence has expired" in server.log.read_text()
