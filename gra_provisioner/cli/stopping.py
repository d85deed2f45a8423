"""Work that goes on until it ends or something asks for the end: a signal, a lost parent."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Stop:
    """Why a command was asked to end, and the exit code that says so."""

    why: str
    exit_code: int


class Stopper:
    """Remembers the first request to end.  Made inside a running loop."""

    def __init__(self) -> None:
        self._requested: asyncio.Future[Stop] = asyncio.get_running_loop().create_future()

    def request(self, stop: Stop) -> None:
        """Ask for the end; only the first call counts."""
        if not self._requested.done():
            self._requested.set_result(stop)

    async def until(self, work: Coroutine[Any, Any, T]) -> T | Stop:
        """The result of ``work``, or the :class:`Stop` for which it was cancelled.

        The cancelled work is waited for, and what it raises while it cleans up is raised.
        Work that gets done in spite of being cancelled counts as done.
        """
        task = asyncio.ensure_future(work)
        either: set[asyncio.Future[Any]] = {task, self._requested}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                task.cancel()
                await asyncio.wait({task})
        finally:
            task.cancel()
        return self._requested.result() if task.cancelled() else task.result()


def handle_signals(handlers: Mapping[signal.Signals, Callable[[], None]]) -> None:
    """Call these on the running loop instead of what the signals do by themselves."""
    loop = asyncio.get_running_loop()
    for signum, handler in handlers.items():
        loop.add_signal_handler(signum, handler)


def terminated(signum: signal.Signals) -> Stop:
    """The stop for a signal, with the exit code that shells give it (128 + its number)."""
    return Stop(signum.name, 128 + signum)
