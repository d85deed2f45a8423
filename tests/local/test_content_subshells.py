"""Subshells: cells that run beside each other in one kernel."""

from __future__ import annotations

import queue
import time

import pytest

from tests.support.cells import TIMEOUT, Cell, control
from tests.support.kernels import StartedKernel
from tests.support.waiting import WaitTimeout


def _execute_in(kernel: StartedKernel, subshell: str | None, code: str) -> Cell:
    content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False}
    message = kernel.client.session.msg("execute_request", content)
    message["header"]["subshell_id"] = subshell
    kernel.client.shell_channel.send(message)
    return Cell(message["header"]["msg_id"])


def _finish_all(kernel: StartedKernel, cells: list[Cell]) -> None:
    deadline = time.monotonic() + TIMEOUT
    try:
        while not all(cell.idle for cell in cells):
            message = kernel.client.get_iopub_msg(timeout=max(0.0, deadline - time.monotonic()))
            for cell in cells:
                cell.take(message)
        while not all(cell.done for cell in cells):
            message = kernel.client.get_shell_msg(timeout=max(0.0, deadline - time.monotonic()))
            for cell in cells:
                cell.take(message)
    except queue.Empty:
        states = [(cell.kinds(), cell.reply is not None) for cell in cells]
        raise WaitTimeout(f"all subshells' cells (outputs, replied: {states})", TIMEOUT) from None


def test_two_subshells_and_the_main_shell_run_at_the_same_time(kernel: StartedKernel) -> None:
    subshells = [
        control(kernel.client, "create_subshell_request", {})["subshell_id"] for _ in range(2)
    ]
    listed = control(kernel.client, "list_subshell_request", {})["subshell_id"]
    assert sorted(listed) == sorted(subshells)
    # No cell can end unless all three run at once.
    kernel.run("import threading; barrier = threading.Barrier(3, timeout=30)")

    cells = [
        _execute_in(kernel, subshell, f"barrier.wait(); print({subshell!r})")
        for subshell in (*subshells, None)
    ]
    _finish_all(kernel, cells)

    assert [cell.status for cell in cells] == ["ok"] * 3
    assert [cell.text for cell in cells] == [f"{subshell}\n" for subshell in (*subshells, None)]
    for subshell in subshells:
        reply = control(kernel.client, "delete_subshell_request", {"subshell_id": subshell})
        assert reply["status"] == "ok"


@pytest.mark.same_with_pods("messages as the others")
def test_a_subshell_sees_a_busy_main_shells_variables(kernel: StartedKernel) -> None:
    subshell = control(kernel.client, "create_subshell_request", {})["subshell_id"]
    kernel.run("import threading; progress = 41; go_on = threading.Event()")

    waiting = _execute_in(kernel, None, "print(go_on.wait(30))")
    looking = _execute_in(kernel, subshell, "print(progress + 1); go_on.set()")
    _finish_all(kernel, [waiting, looking])

    assert looking.text == "42\n"
    assert waiting.text == "True\n"
