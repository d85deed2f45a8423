"""Calls that may never return, each in a thread of its own that nobody waits for at the end."""

from __future__ import annotations

import asyncio
import threading
from typing import Callable, TypeVar

T = TypeVar("T")


async def in_thread(function: Callable[[], T], bound: float) -> T:
    """The function's result.  Raises what it raises, or asyncio.TimeoutError after ``bound`` s.

    An executor's threads would be waited for when the interpreter ends; these are daemons.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def done(result: T) -> None:
        if not future.done():
            future.set_result(result)

    def failed(error: Exception) -> None:
        if not future.done():
            future.set_exception(error)

    def run() -> None:
        try:
            result = function()
        except Exception as error:  # noqa: BLE001 - whoever waits gets it
            _tell(loop, lambda error=error: failed(error))  # type: ignore[misc]
        else:
            _tell(loop, lambda: done(result))

    threading.Thread(target=run, name="gra-s3", daemon=True).start()
    return await asyncio.wait_for(future, bound)


def _tell(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    try:
        loop.call_soon_threadsafe(callback)
    except RuntimeError:
        # The loop is closed: nobody waits any more.
        return
