"""Kernels that die: every client says why, and the next cell runs in a new one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import papermill
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from papermill.exceptions import PapermillExecutionError

from tests.support.cells import TIMEOUT, finish, until_output
from tests.support.kernels import StartedKernel
from tests.support.kernelspecs import KernelSpecs
from tests.support.places import Places
from tests.support.runners import Runners
from tests.support.server import JupyterServer, jupyter_server
from tests.support.waiting import until

_EXIT = "import os; os._exit(1)"
_KILL = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
_SEGFAULT = "import ctypes; ctypes.string_at(0)"

# Time for libzmq to send what was printed before the process ends without a word.
_SENT = "import time; time.sleep(0.5)"

_SAME = pytest.mark.same_with_pods("the agent finds the cause, and tells one as the other")
_DEATHS = pytest.mark.parametrize(
    ("code", "cause"),
    [
        pytest.param(_EXIT, "code 1", id="exit", marks=_SAME),
        pytest.param(_KILL, "signal 9 (SIGKILL)", id="SIGKILL"),
        pytest.param(_SEGFAULT, "signal 11 (SIGSEGV)", id="SIGSEGV", marks=_SAME),
    ],
)


@pytest.fixture
def server(places: Places) -> Iterator[JupyterServer]:
    with jupyter_server(places) as running:
        yield running


@pytest.mark.gra_only
@_DEATHS
def test_labs_cell_says_why_the_kernel_died_and_a_new_one_starts(
    server: JupyterServer, runners: Runners, kernel_name: str, code: str, cause: str
) -> None:
    kernel = server.start_session(kernel_name)
    kernel.run("kept = 1")
    uids = runners.uids()

    cell, queued = kernel.finish(
        kernel.execute(f"print('last words', flush=True)\n{_SENT}\n{code}"),
        kernel.execute("print(kept)"),
    )

    assert cell.text == "last words\n"
    assert cause in cell.stream("stderr")
    assert cell.error["ename"] == "KernelDied"
    assert cause in cell.error["evalue"]
    assert cell.status == "error"
    assert (queued.status, queued.text) == ("aborted", "")

    kernel.until_state("restarting")
    assert kernel.run("kept").error["ename"] == "NameError"
    assert kernel.run("print(6 * 7)").text == "42\n"
    assert runners.uids() == uids


@pytest.mark.same_with_pods("the next but one is the harder one")
def test_a_kernel_killed_from_outside_while_idle_starts_again(
    server: JupyterServer, runners: Runners, kernel_name: str
) -> None:
    kernel = server.start_session(kernel_name)
    pid = int(kernel.run("import os; print(os.getpid())").text)

    runners.kill(pid)

    kernel.until_state("restarting")
    assert kernel.run("print(6 * 7)").text == "42\n"


@pytest.mark.same_with_pods("the tunnel's client keeps it")
def test_a_cell_that_is_run_between_the_death_and_the_restart_runs_in_the_new_kernel(
    server: JupyterServer, runners: Runners, kernel_name: str
) -> None:
    kernel = server.start_session(kernel_name)
    pid = int(kernel.run("import os; print(os.getpid())").text)

    runners.kill(pid)
    runners.until_ended(pid, "the killed kernel")
    # For the tunnel to hear of it; the restarter looks every three seconds only.
    time.sleep(0.3)

    assert kernel.run("print(6 * 7)").text == "42\n"


@pytest.mark.gra_only
def test_a_kernel_killed_from_outside_while_busy_says_so_in_its_cell(
    kernel: StartedKernel, runners: Runners
) -> None:
    pid = kernel.pid()
    msg_id = kernel.client.execute("import time; print('going', flush=True); time.sleep(1000)")
    until_output(kernel.client, "going")

    runners.kill(pid)

    cell = finish(kernel.client, msg_id)
    assert cell.error["ename"] == "KernelDied"
    assert "signal 9 (SIGKILL)" in cell.error["evalue"]
    assert cell.reply is not None
    assert cell.reply["content"]["ename"] == "KernelDied"


@pytest.mark.gra_only
@_SAME
def test_cells_queued_behind_the_one_that_died_are_aborted(kernel: StartedKernel) -> None:
    dying = kernel.client.execute(f"import time; time.sleep(0.5); {_EXIT}")
    queued = [kernel.client.execute(f"print({number})") for number in range(3)]

    assert finish(kernel.client, dying).status == "error"
    replies = [kernel.client.get_shell_msg(timeout=TIMEOUT) for _ in queued]
    assert [reply["parent_header"]["msg_id"] for reply in replies] == queued
    assert [reply["content"]["status"] for reply in replies] == ["aborted"] * 3


@pytest.mark.gra_only
def test_all_output_before_the_death_arrives_before_the_reason(kernel: StartedKernel) -> None:
    code = f"for n in range(5_000): print(n, flush=True)\n{_SENT}\n{_KILL}"

    cell = kernel.run(code)

    assert cell.text == "".join(f"{n}\n" for n in range(5_000))
    assert cell.kinds()[-2:] == ["error", "status"]


@pytest.mark.gra_only
@_SAME
def test_the_last_lines_on_the_kernels_own_stderr_are_in_the_cell(
    kernelspecs: KernelSpecs, start_kernel: Callable[..., StartedKernel]
) -> None:
    # ipykernel keeps its file descriptor 2 to itself, so a script around it has the last word.
    script = 'python -m ipykernel_launcher -f "$0"; echo out of luck >&2; exit 3'
    argv = ["sh", "-c", script, "{connection_file}"]
    kernel = start_kernel(kernelspecs.write("wrapped", kernel_argv=argv))

    cell = kernel.run(_EXIT)

    assert "out of luck" in cell.stream("stderr")
    assert "code 3" in cell.error["evalue"]


@pytest.mark.same_with_pods("a restart is the agent's")
def test_a_dead_kernel_is_not_alive_and_can_be_started_again(
    kernel: StartedKernel, runners: Runners
) -> None:
    runners.kill(kernel.pid())
    until(lambda: not kernel.manager.is_alive(), "the manager to know that its kernel is dead")

    kernel.manager.restart_kernel(now=True)
    kernel.reconnect()

    assert kernel.manager.is_alive()
    assert kernel.run("print(6 * 7)").text == "42\n"


def _notebook(*cells: str) -> nbformat.NotebookNode:
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(cell) for cell in cells]
    return notebook


@pytest.mark.gra_only
@_DEATHS
def test_nbclient_raises_the_reason(kernel_name: str, code: str, cause: str) -> None:
    notebook = _notebook("x = 1", code, "print('never')")

    with pytest.raises(CellExecutionError) as raised:
        NotebookClient(notebook, kernel_name=kernel_name).execute()

    assert raised.value.ename == "KernelDied"
    assert cause in raised.value.evalue
    assert [output.output_type for output in notebook.cells[1].outputs][-1] == "error"
    assert notebook.cells[2].outputs == []


def _papermill(places: Places, kernel_name: str, *cells: str) -> Path:
    """Run a notebook whose kernel dies; the notebook that papermill leaves."""
    source, result = places.work / "in.ipynb", places.work / "out.ipynb"
    nbformat.write(_notebook(*cells), source)
    with pytest.raises(PapermillExecutionError) as raised:
        papermill.execute_notebook(source, result, kernel_name=kernel_name, progress_bar=False)
    assert raised.value.ename == "KernelDied"
    return result


@pytest.mark.gra_only
@_DEATHS
@pytest.mark.same_with_pods("as nbclient")
def test_papermill_keeps_the_reason_in_the_notebook(
    kernel_name: str, places: Places, code: str, cause: str
) -> None:
    result = _papermill(places, kernel_name, "x = 1", code)

    errors = [
        output
        for cell in nbformat.read(result, 4).cells
        for output in cell.get("outputs", ())
        if output.output_type == "error" and output.ename != "papermill"
    ]
    assert [error.ename for error in errors] == ["KernelDied"]
    assert cause in errors[0].evalue
