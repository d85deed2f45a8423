"""Many kernels, one after the other: nothing grows."""

from __future__ import annotations

import gc

import pytest
from jupyter_client.manager import AsyncKernelManager

from tests.support.cells import run_async
from tests.support.kernels import START_TIMEOUT, StartedKernel
from tests.support.places import Places
from tests.support.processes import Footprint
from tests.support.runners import Runners
from tests.support.waiting import WaitTimeout, until

_WARM_UP = 2
_SETTLE = 10.0


def _assert_not_grown(before: Footprint) -> None:
    def settled() -> bool:
        # Sockets of jupyter_client's clients are closed when they are collected.
        gc.collect()
        now = Footprint.now()
        return (
            now.children <= before.children
            and now.descriptors <= before.descriptors
            and now.threads <= before.threads
        )

    try:
        until(settled, "descriptors, threads and children to be as before", _SETTLE)
    except WaitTimeout:
        pytest.fail(f"grew from {before} to {Footprint.now()}")


def _cycle(kernel_name: str, number: int) -> None:
    kernel = StartedKernel.start(kernel_name)
    try:
        assert kernel.run(f"print({number})").text == f"{number}\n"
    finally:
        kernel.stop(now=bool(number % 2))


@pytest.mark.timeout(600)
@pytest.mark.same_with_pods("a minute or more; asynchronous kernels do it too")
def test_50_kernels_one_after_the_other_leave_nothing(kernel_name: str, runners: Runners) -> None:
    for number in range(_WARM_UP):
        _cycle(kernel_name, number)
    gc.collect()
    before = Footprint.now()

    for number in range(50):
        _cycle(kernel_name, number)

    _assert_not_grown(before)
    runners.until_none("the kernels' runners")


async def test_asynchronous_kernels_one_after_the_other_leave_nothing(
    kernel_name: str, runners: Runners
) -> None:
    async def cycle(number: int) -> None:
        manager = AsyncKernelManager(kernel_name=kernel_name)
        await manager.start_kernel()
        client = manager.client()
        client.start_channels()
        try:
            await client.wait_for_ready(timeout=START_TIMEOUT)
            assert (await run_async(client, f"print({number})")).text == f"{number}\n"
            await manager.restart_kernel(now=True)
            await client.wait_for_ready(timeout=START_TIMEOUT)
        finally:
            client.stop_channels()
            await manager.shutdown_kernel()

    for number in range(_WARM_UP):
        await cycle(number)
    gc.collect()
    before = Footprint.now()

    for number in range(4):
        await cycle(number)

    _assert_not_grown(before)
    runners.until_none("the kernels' runners")


@pytest.mark.gra_only
def test_a_hung_kernel_is_shut_down_and_leaves_nothing(kernel_name: str, runners: Runners) -> None:
    kernel = StartedKernel.start(kernel_name)
    kernel.client.execute("""
import signal
for signum in (signal.SIGINT, signal.SIGTERM):
    signal.signal(signum, signal.SIG_IGN)
import ctypes
# Holding the interpreter's lock, it cannot answer the shutdown request either.
ctypes.PyDLL(None).sleep(1000)
""")

    kernel.stop()

    runners.until_none("the runner of a hung kernel")


@pytest.mark.gra_only
def test_programs_that_the_kernel_left_running_end_with_the_runner(
    kernel: StartedKernel, places: Places, runners: Runners
) -> None:
    mark = str(places.work / "still-there")
    script = f"import sys, time; sys.argv.append({mark!r}); time.sleep(1000)"
    kernel.run(
        f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {script!r}, {mark!r}])"
    )
    assert runners.runs(mark)

    kernel.stop()

    runners.until_none("the runner with the kernel's programs")
