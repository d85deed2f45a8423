"""Kernels that a test starts through jupyter_client and that end with it."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from tests.support.cells import Cell, run
from tests.support.waiting import until

START_TIMEOUT = 60.0


@contextmanager
def connected(connection_file: str | Path) -> Iterator[BlockingKernelClient]:
    """A client on a connection file, once a kernel answers there."""
    client = BlockingKernelClient(connection_file=str(connection_file))
    client.load_connection_file()
    client.start_channels()
    try:
        # Without a manager, wait_for_ready takes a kernel that does not listen yet for dead.
        until(lambda: _answers(client), f"a kernel behind {connection_file}", START_TIMEOUT)
        client.wait_for_ready(timeout=START_TIMEOUT)
        yield client
    finally:
        client.stop_channels()


def _answers(client: BlockingKernelClient) -> bool:
    client.kernel_info()
    try:
        client.get_shell_msg(timeout=1)
    except queue.Empty:
        return False
    return True


@dataclass
class StartedKernel:
    """A kernel manager and a client with open channels."""

    manager: KernelManager
    client: BlockingKernelClient

    @classmethod
    def start(cls, kernel_name: str, **launch: Any) -> StartedKernel:
        """Start a kernel and wait for it; one that is not ready is shut down for certain."""
        manager = KernelManager(kernel_name=kernel_name)
        manager.start_kernel(**launch)
        client = manager.blocking_client()
        kernel = cls(manager, client)
        try:
            client.start_channels()
            client.wait_for_ready(timeout=START_TIMEOUT)
        except BaseException:
            kernel.stop(now=True)
            raise
        return kernel

    def run(self, code: str, **options: Any) -> Cell:
        return run(self.client, code, **options)

    def pid(self) -> int:
        """The process id of the kernel, from itself."""
        return int(self.run("import os; print(os.getpid())").text)

    def reconnect(self) -> None:
        """Wait for the kernel after a restart, as clients do."""
        self.client.wait_for_ready(timeout=START_TIMEOUT)

    def stop(self, *, now: bool = False) -> None:
        self.client.stop_channels()
        if self.manager.has_kernel:
            self.manager.shutdown_kernel(now=now)
