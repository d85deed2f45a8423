"""A kernel whose runner somebody has deleted is taken off its Jupyter server's list.

Without this the server's restarter would take its end for an accident and start another one, on
another runner.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from jupyter_core.utils import ensure_async

log = logging.getLogger(__name__)


class Removal:
    """Removes one kernel, once it was told to.  Made on the server's loop.

    ``manager`` is the kernel's, whose parent is the server's ``MappingKernelManager``.
    """

    def __init__(self, manager: Any) -> None:
        self.failed = False
        self._manager = manager
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None

    @classmethod
    def of(cls, manager: Any) -> Removal | None:
        """What removes the manager's kernel; None where no server has it on a list."""
        kernels = getattr(manager, "parent", None)
        return cls(manager) if hasattr(kernels, "shutdown_kernel") else None

    @property
    def under_way(self) -> bool:
        """Whether the server is shutting the kernel down, and so is to know that it has ended."""
        return self.failed or bool(getattr(self._manager, "shutting_down", False))

    def begin(self) -> None:
        """Remove the kernel soon.  Called from any thread."""
        try:
            self._loop.call_soon_threadsafe(self._begin)
        except RuntimeError:
            log.debug("a kernel is not removed: the server's event loop is closed")

    def _begin(self) -> None:
        self._task = self._loop.create_task(self._remove(), name="gra removal of a kernel")
        self._task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            # The server's restarter is to see to it.
            self.failed = True
            log.error("the kernel of a deleted runner was not shut down", exc_info=error)

    async def _remove(self) -> None:
        manager, kernels = self._manager, self._manager.parent
        id = manager.kernel_id
        if id not in kernels:
            return
        await ensure_async(kernels.shutdown_kernel(id, now=True))
        # Pages look at the list every ten seconds; this tells them at once, by what the server says
        # of a kernel that is not restarted any more.
        restarter = getattr(manager, "_restarter", None)
        if restarter is not None:
            restarter._fire_callbacks("dead")
