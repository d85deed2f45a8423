"""Kernels that die in the middle of a message: clients get the reason, and no half of anything."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.support.cells import finish
from tests.support.kernels import StartedKernel
from tests.support.kernelspecs import KernelSpecs
from tests.support.scripted_kernel import ARGV
from tests.support.waiting import until

pytestmark = [
    pytest.mark.gra_only,
    pytest.mark.local_only("the kernel is a program of this machine; the relay is the same"),
]

# More than a relay keeps of one message.
_LARGE = 300_000
_MANY = 20_000


@pytest.fixture
def kernel(kernelspecs: KernelSpecs, start_kernel: Callable[..., StartedKernel]) -> StartedKernel:
    """A kernel whose cells are the steps of a script."""
    return start_kernel(kernelspecs.write("scripted", kernel_argv=ARGV))


def _runs_again(kernel: StartedKernel) -> None:
    kernel.manager.restart_kernel(now=True)
    kernel.reconnect()
    cell = kernel.run("stream again")
    assert (cell.status, cell.text) == ("ok", "again\n")


def test_a_script_runs_as_a_cell(kernel: StartedKernel) -> None:
    cell = kernel.run("stream one\nstream two * 2")

    assert (cell.status, cell.text) == ("ok", "one\ntwo\ntwo\n")


@pytest.mark.parametrize("size", [100, _LARGE], ids=["small", "large"])
def test_a_kernel_that_dies_in_the_middle_of_an_output_says_why(
    kernel: StartedKernel, size: int
) -> None:
    cell = kernel.run(f"stream whole\nhalf stream {size}\ndie")

    assert cell.text == "whole\n"
    assert cell.kinds() == ["status", "stream", "stream", "error", "status"]
    assert "signal 9 (SIGKILL)" in cell.stream("stderr")
    assert cell.error["ename"] == "KernelDied"
    assert cell.status == "error"
    _runs_again(kernel)


def test_a_kernel_that_dies_in_the_middle_of_a_reply_says_why(kernel: StartedKernel) -> None:
    cell = kernel.run("stream whole\nhalf reply\ndie")

    assert cell.text == "whole\n"
    assert cell.kinds() == ["status", "stream", "stream", "error", "status"]
    assert cell.reply is not None
    assert cell.reply["content"]["ename"] == "KernelDied"
    assert "signal 9 (SIGKILL)" in cell.reply["content"]["evalue"]
    _runs_again(kernel)


def test_a_kernel_that_dies_in_the_middle_of_both_says_why(kernel: StartedKernel) -> None:
    dying = kernel.client.execute("half stream 100\nhalf reply\nwait 0.5\ndie")
    queued = kernel.client.execute("stream never")

    cell = finish(kernel.client, dying)

    assert cell.kinds() == ["status", "stream", "error", "status"]
    assert cell.status == "error"
    reply = kernel.client.get_shell_msg(timeout=30)
    assert reply["parent_header"]["msg_id"] == queued
    assert reply["content"]["status"] == "aborted"
    _runs_again(kernel)


def test_what_a_slow_client_has_not_read_yet_still_comes_before_the_reason(
    kernel: StartedKernel,
) -> None:
    # More than the sockets hold, so that some of it waits in this process.
    msg_id = kernel.client.execute(f"stream line * {_MANY}\nhalf stream 100\ndie")
    time.sleep(4)
    cell = finish(kernel.client, msg_id)

    assert cell.text.count("line\n") == _MANY
    assert cell.kinds()[-3:] == ["stream", "error", "status"]
    assert cell.status == "error"


def test_a_reply_that_came_whole_is_not_given_twice(kernel: StartedKernel) -> None:
    cell = kernel.run("reply\nwait 0.5\ndie")

    assert cell.status == "ok"
    assert cell.error["ename"] == "KernelDied"
    until(lambda: not kernel.manager.is_alive(), "the manager to know of the death")
    assert not kernel.client.shell_channel.msg_ready()
    _runs_again(kernel)
