"""A second language: bash, by bash_kernel."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.cells import finish, until_output
from tests.support.kernels import StartedKernel
from tests.support.kernelspecs import BASH_ARGV, KernelSpecs


@pytest.fixture
def bash(kernelspecs: KernelSpecs, start_kernel: Callable[..., StartedKernel]) -> StartedKernel:
    return start_kernel(kernelspecs.write("bash", kernel_argv=BASH_ARGV, language="bash"))


@pytest.mark.same_with_pods("the next test runs commands too")
def test_a_bash_kernel_runs_commands_and_keeps_variables(bash: StartedKernel) -> None:
    bash.run("name=world")

    cell = bash.run("echo hello $name")

    assert cell.status == "ok"
    assert cell.text == "hello world\n"


def test_a_bash_kernel_is_interrupted_and_goes_on(bash: StartedKernel) -> None:
    msg_id = bash.client.execute("echo going; sleep 1000")
    until_output(bash.client, "going")

    bash.manager.interrupt_kernel()

    finish(bash.client, msg_id)
    assert bash.run("echo alive").text == "alive\n"


@pytest.mark.same_with_pods("a restart is the agent's, in all languages")
def test_a_bash_kernel_restarts_without_its_variables(bash: StartedKernel) -> None:
    bash.run("name=world")

    bash.manager.restart_kernel()
    bash.reconnect()

    assert bash.run("echo [$name]").text == "[]\n"
