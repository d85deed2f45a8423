"""Bounded waiting that says what it was waiting for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_PAUSE = 0.05


class WaitTimeout(AssertionError):
    """Something that should have happened did not, within its bound."""

    def __init__(self, what: str, timeout: float) -> None:
        super().__init__(f"waited {timeout:g} s for {what}")


def until(condition: Callable[[], T], what: str, timeout: float = 30.0) -> T:
    """Call ``condition`` until it returns something true and return that.

    Raises :class:`WaitTimeout` naming ``what`` after ``timeout`` seconds.
    """
    deadline = time.monotonic() + timeout
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() >= deadline:
            raise WaitTimeout(what, timeout)
        time.sleep(_PAUSE)


async def until_async(condition: Callable[[], T], what: str, timeout: float = 30.0) -> T:
    """:func:`until` for coroutines: the event loop runs on between two looks."""
    deadline = time.monotonic() + timeout
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() >= deadline:
            raise WaitTimeout(what, timeout)
        await asyncio.sleep(_PAUSE)
