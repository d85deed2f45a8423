"""Reaps children.  The agent is pid 1 of a pod, so orphans of the kernel become its own."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Callable, Dict


class Reaper:
    """Waits for every child and tells whoever watches that pid."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._watchers: Dict[int, Callable[[int], None]] = {}
        loop.add_signal_handler(signal.SIGCHLD, self.reap)

    def watch(self, pid: int, on_exit: Callable[[int], None]) -> None:
        """Call ``on_exit`` with the waitpid(2) status once ``pid`` has ended.

        To be called right after the start, before the loop goes on.
        """
        self._watchers[pid] = on_exit

    def reap(self) -> None:
        """Collect all children that have ended."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            watcher = self._watchers.pop(pid, None)
            if watcher is not None:
                watcher(status)

    def close(self) -> None:
        """Stop reaping."""
        self._loop.remove_signal_handler(signal.SIGCHLD)
