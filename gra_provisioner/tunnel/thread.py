"""The one background thread and event loop of a process, which carries all its tunnels.

A synchronous KernelManager runs each call to its provisioner on a loop of its own
(``jupyter_core.utils.run_sync``), so no loop of the caller's lives long enough to hold a
connection.  The thread is started for the first :class:`Lease` and ends with the last.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

THREAD_NAME = "gra-tunnel"

log = logging.getLogger(__name__)

# How long the end of the process may be held up.
_EXIT_WITHIN = 10.0

OnExit = Callable[[], Coroutine[Any, Any, None]]


class _BackgroundLoop:
    def __init__(self) -> None:
        self.pid = os.getpid()
        self.leases: dict[Lease, OnExit | None] = {}
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=THREAD_NAME, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        finally:
            self.loop.close()

    def end_leases(self) -> None:
        """Do for each lease what is to be done at the end of the process."""
        work = [
            asyncio.run_coroutine_threadsafe(on_exit(), self.loop)
            for on_exit in self.leases.values()
            if on_exit is not None
        ]
        done, late = concurrent.futures.wait(work, _EXIT_WITHIN)
        for end in done:
            if not end.cancelled() and end.exception() is not None:
                log.warning("a runner was not ended: %s", end.exception())
        if late:
            log.warning(
                "gave up on %d runners that did not end within %g s", len(late), _EXIT_WITHIN
            )

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=5.0)


class _Holder:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.background: _BackgroundLoop | None = None
        self.hooked = False


# What a process has one of must be found from anywhere in it; this is the only such place.
_holder = _Holder()


def _on_process_exit() -> None:
    # jupyter console, for one, ends without a word to its provisioner.
    background = _holder.background
    if background is not None and background.pid == os.getpid():
        background.end_leases()


def _hook_process_exit() -> None:
    """Have :func:`_on_process_exit` called while executors still take work.

    aiohttp resolves names and reads netrc in one.  ``atexit`` is too late: it comes after
    ``concurrent.futures.thread`` has said its last word, by the same means as here; the last one
    registered is called first (``threading._shutdown``).
    """
    # Registers itself when it is first used.
    _ = concurrent.futures.ThreadPoolExecutor
    threading._register_atexit(_on_process_exit)  # type: ignore[attr-defined]


class Lease:
    """A share in the background loop.  Whoever takes one calls :meth:`release` in the end.

    If the process ends before that, ``on_exit`` is run on the loop and waited for (10 s at most).
    """

    def __init__(self, on_exit: OnExit | None = None) -> None:
        with _holder.lock:
            background = _holder.background
            if background is None or background.pid != os.getpid():
                # A fork copies the memory but not the thread.
                background = _holder.background = _BackgroundLoop()
            if not _holder.hooked:
                _holder.hooked = True
                _hook_process_exit()
            background.leases[self] = on_exit
        self._background: _BackgroundLoop | None = background

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the background loop and wait for it on the caller's.

        Cancelling the caller cancels the work.
        """
        if self._background is None:
            work.close()
            raise RuntimeError("the lease was released")
        future = asyncio.run_coroutine_threadsafe(work, self._background.loop)
        return await asyncio.wrap_future(future)

    def release(self) -> None:
        """Give the share back; the last one stops the thread.  Can be called again."""
        background, self._background = self._background, None
        if background is None or background.pid != os.getpid():
            return
        with _holder.lock:
            background.leases.pop(self, None)
            last = not background.leases
            if last and _holder.background is background:
                _holder.background = None
        if last:
            background.stop()
