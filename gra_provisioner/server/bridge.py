"""A bounded way for bytes from one event loop to another.

The producer's loop is gra's background loop, the consumer's the server's.  Who writes faster than
is read waits; many small pieces cross together, because each crossing costs as much as a thousand
of them.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque

#: How many bytes may wait to be read.
CAPACITY = 1 << 20


class ConsumerGone(Exception):
    """Nobody will read what is put in any more."""


class Bridge:
    """Made on the consumer's loop.

    :meth:`put` and :meth:`end` belong to the producer's loop, :meth:`take` and :meth:`close` to the
    consumer's.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._lock = threading.Lock()
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._ended = False
        self._error: BaseException | None = None
        self._closed = False
        self._consumer = asyncio.get_running_loop()
        self._readable = asyncio.Event()
        self._producer: asyncio.AbstractEventLoop | None = None
        self._writable: asyncio.Event | None = None

    async def put(self, data: bytes) -> None:
        """Hand data over; waits while too much of it waits.

        A piece of any size goes in where there is room for any.  Raises :class:`ConsumerGone`.
        """
        if self._writable is None:
            self._producer = asyncio.get_running_loop()
            self._writable = asyncio.Event()
        while True:
            with self._lock:
                if self._closed:
                    raise ConsumerGone
                if self._size < self._capacity:
                    first = not self._pieces
                    self._pieces.append(data)
                    self._size += len(data)
                    break
                self._writable.clear()
            await self._writable.wait()
        if first:
            self._wake(self._consumer, self._readable)

    def end(self, error: BaseException | None = None) -> None:
        """Nothing more comes; :meth:`take` raises ``error`` once all was taken."""
        with self._lock:
            if self._ended:
                return
            self._ended, self._error = True, error
        self._wake(self._consumer, self._readable)

    async def take(self, timeout: float | None = None) -> bytes | None:
        """All that waits, as one; None at the end, ``b""`` after ``timeout`` seconds of nothing.

        Raises the error that ended it.
        """
        while True:
            with self._lock:
                if self._pieces:
                    data = b"".join(self._pieces)
                    self._pieces.clear()
                    self._size = 0
                    break
                if self._ended:
                    if self._error is not None:
                        raise self._error
                    return None
                self._readable.clear()
            try:
                await asyncio.wait_for(self._readable.wait(), timeout)
            except asyncio.TimeoutError:
                return b""
        self._let_write()
        return data

    def close(self) -> None:
        """Nothing more is wanted: :meth:`take` gives None.  Can be called again."""
        with self._lock:
            self._closed = self._ended = True
            self._error = None
            self._pieces.clear()
            self._size = 0
        self._readable.set()
        self._let_write()

    def _let_write(self) -> None:
        if self._producer is not None and self._writable is not None:
            self._wake(self._producer, self._writable)

    @staticmethod
    def _wake(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
        # A loop that is closed has nobody left who waits.
        if not loop.is_closed():
            try:
                loop.call_soon_threadsafe(event.set)
            except RuntimeError:
                if not loop.is_closed():
                    raise
