"""Client processes that end without shutting their kernels down."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.cli import gra, gra_json, read_line, stop
from tests.support.kernelspecs import KernelSpecs
from tests.support.runners import Runners
from tests.support.waiting import until

pytestmark = pytest.mark.gra_only

_CLIENT = """
import sys
from jupyter_client.manager import KernelManager
manager = KernelManager(kernel_name=sys.argv[1])
manager.start_kernel()
client = manager.blocking_client()
client.start_channels()
client.wait_for_ready(timeout=60)
client.execute_interactive("import os; print(os.getpid(), flush=True)")
sys.stdin.readline()
"""


@contextmanager
def _client(kernel_name: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A process that started a kernel and waits for a line; and the kernel's process id."""
    with subprocess.Popen(
        [sys.executable, "-u", "-c", _CLIENT, kernel_name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    ) as process:
        try:
            assert process.stdout is not None
            yield process, int(read_line(process.stdout, "the kernel's process id", 60))
        finally:
            stop(process, signal.SIGKILL, "the client")


def test_a_client_that_just_returns_leaves_nothing(runners: Runners, kernel_name: str) -> None:
    with _client(kernel_name) as (process, _):
        process.communicate(b"\n", timeout=30)

        assert process.returncode == 0
        assert runners.uids() == {}
    runners.until_none("the runner of a client that has ended")


def test_a_client_that_is_killed_leaves_its_runner_until_the_orphan_ttl(
    runners: Runners, kernelspecs: KernelSpecs
) -> None:
    name = kernelspecs.write("quick", config={"ttl": {"orphan": 5}})
    with _client(name) as (process, pid):
        process.kill()
        process.wait(30)

        assert runners.has(pid)
        runners.until_ended(pid, "the kernel of an orphaned runner")
    until(lambda: gra_json("get", "runner-1")["status"] == "ended", "the runner to have ended")
    assert gra_json("get", "runner-1")["reason"] == "Orphaned"
    assert gra("delete", "runner-1").returncode == 0
