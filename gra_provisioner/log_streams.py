"""Several streams of log lines as one: by time where they end, as they come where they go on.

Used by the backends for the containers of a pod and by the service for several runners.  A stream
that is made here closes those that it was given.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from collections import deque
from collections.abc import AsyncGenerator, Sequence

from .logs import LogLine

# Lines that have come and are not taken yet; whoever takes them slowly holds the streams up.
_WAITING = 1000

Lines = AsyncGenerator[LogLine, None]


async def by_time(streams: Sequence[Lines]) -> Lines:
    """All lines, the earliest first.  Those of one stream stay in their order.

    A line of an unknown time follows the one before it in its stream at once, and so does one that
    is said to be earlier.
    """
    async with contextlib.AsyncExitStack() as stack:
        for stream in streams:
            await stack.enter_async_context(contextlib.aclosing(stream))
        heads: list[tuple[float, int, LogLine]] = []
        for index, stream in enumerate(streams):
            line = await anext(stream, None)
            if line is not None:
                heads.append((_later(0.0, line), index, line))
        heapq.heapify(heads)
        while heads:
            time, index, line = heads[0]
            yield line
            following = await anext(streams[index], None)
            if following is None:
                heapq.heappop(heads)
            else:
                heapq.heapreplace(heads, (_later(time, following), index, following))


def _later(time: float, line: LogLine) -> float:
    return time if line.time is None else max(time, line.time)


async def last_lines(stream: Lines, count: int | None) -> Lines:
    """The last lines of a stream that ends, or all of them."""
    async with contextlib.aclosing(stream):
        if count is None:
            async for line in stream:
                yield line
            return
        kept: deque[LogLine] = deque(maxlen=count)
        async for line in stream:
            kept.append(line)
    for line in kept:
        yield line


async def as_they_come(streams: Sequence[Lines]) -> Lines:
    """The lines of all streams until all have ended, or one fails: that ends the others."""
    arrived: asyncio.Queue[LogLine | asyncio.Task[None]] = asyncio.Queue()
    room = asyncio.Semaphore(_WAITING)

    async def pump(stream: Lines) -> None:
        async with contextlib.aclosing(stream):
            async for line in stream:
                await room.acquire()
                arrived.put_nowait(line)

    going = {asyncio.create_task(pump(stream)) for stream in streams}
    for task in going:
        task.add_done_callback(arrived.put_nowait)
    try:
        while going:
            item = await arrived.get()
            if isinstance(item, LogLine):
                room.release()
                yield item
            else:
                going.discard(item)
                await item
    finally:
        for task in going:
            task.cancel()
        # Of several that fail, the first is told.
        await asyncio.gather(*going, return_exceptions=True)
