"""Interrupts: the running cell ends with KeyboardInterrupt and the kernel goes on."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.cells import finish, until_output
from tests.support.kernels import StartedKernel
from tests.support.kernelspecs import KernelSpecs

_SLEEP = "import time; print('going', flush=True); time.sleep(1000)"
_MESSAGE = pytest.mark.same_with_pods("a message as any other")
_LOOP = "print('going', flush=True)\nwhile True: pass"


@pytest.mark.parametrize("interrupt_mode", ["signal", pytest.param("message", marks=_MESSAGE)])
@pytest.mark.parametrize(
    "code",
    [
        pytest.param(_SLEEP, id="sleep"),
        pytest.param(_LOOP, id="endless loop", marks=pytest.mark.same_with_pods("as in a sleep")),
    ],
)
def test_a_running_cell_is_interrupted_and_the_kernel_goes_on(
    kernelspecs: KernelSpecs,
    start_kernel: Callable[..., StartedKernel],
    interrupt_mode: str,
    code: str,
) -> None:
    kernel = start_kernel(kernelspecs.write("interruptible", interrupt_mode=interrupt_mode))
    kernel.run("kept = 42")
    msg_id = kernel.client.execute(code)
    until_output(kernel.client, "going")

    kernel.manager.interrupt_kernel()

    cell = finish(kernel.client, msg_id)
    assert (cell.status, cell.error["ename"]) == ("error", "KeyboardInterrupt")
    assert kernel.run("print(kept)").text == "42\n"


@pytest.mark.same_with_pods("the agent sends it")
def test_an_interrupt_of_an_idle_kernel_harms_nothing(kernel: StartedKernel) -> None:
    kernel.run("kept = 42")

    kernel.manager.interrupt_kernel()

    assert kernel.run("print(kept)").text == "42\n"


@pytest.mark.same_with_pods("the kernel aborts them")
def test_cells_queued_behind_an_interrupted_one_are_aborted(kernel: StartedKernel) -> None:
    first = kernel.client.execute(_SLEEP)
    second = kernel.client.execute("print('never')")
    until_output(kernel.client, "going")

    kernel.manager.interrupt_kernel()

    assert finish(kernel.client, first).error["ename"] == "KeyboardInterrupt"
    aborted = finish(kernel.client, second)
    assert (aborted.status, aborted.text) == ("aborted", "")


@pytest.mark.same_with_pods("the agent sends it")
def test_an_interrupt_reaches_the_programs_that_the_kernel_started(kernel: StartedKernel) -> None:
    code = "import subprocess; print('going', flush=True); subprocess.run(['sleep', '1000'])"
    msg_id = kernel.client.execute(code)
    until_output(kernel.client, "going")

    kernel.manager.interrupt_kernel()

    finish(kernel.client, msg_id)
    assert kernel.run("print('alive')").text == "alive\n"
