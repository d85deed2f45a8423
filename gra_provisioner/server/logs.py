"""What runners wrote: read, or followed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from ..documents.queries import LogQuery, LogsQuery
from ..logs import LogLine
from ..logs import LogQuery as Query
from ..runner import Runner
from . import sse
from .calls import Call, Reply, Setting, encoded
from .runners import find

# How long a log that is followed may take to be refused, in seconds; then the answer begins.
_REFUSED_WITHIN = 0.5


async def read_log(setting: Setting, call: Call) -> Reply:
    """``GET runners/{name}/logs``."""
    return await _read(setting, call, [call.names["name"]])


async def read_logs(setting: Setting, call: Call) -> Reply:
    """``GET logs``."""
    query: LogsQuery = call.query
    return await _read(setting, call, query.runner)


async def follow_log(setting: Setting, call: Call) -> AsyncGenerator[bytes, None]:
    """``GET runners/{name}/logs?follow=true``."""
    async with aclosing(_follow(setting, call, [call.names["name"]])) as events:
        async for event in events:
            yield event


async def follow_logs(setting: Setting, call: Call) -> AsyncGenerator[bytes, None]:
    """``GET logs?follow=true``."""
    query: LogsQuery = call.query
    async with aclosing(_follow(setting, call, query.runner)) as events:
        async for event in events:
            yield event


async def _read(setting: Setting, call: Call, names: Sequence[str]) -> Reply:
    runners = await _readable(setting, names)
    async with aclosing(setting.service.logs(runners, _query(call.query))) as lines:
        found = [line async for line in lines]

    def body() -> bytes:
        return encoded({"lines": [line.public() for line in found]})

    # Of many lines it takes a while.
    return Reply(200, await asyncio.to_thread(body))


async def _follow(
    setting: Setting, call: Call, names: Sequence[str]
) -> AsyncGenerator[bytes, None]:
    runners = await _readable(setting, names)
    lines = setting.service.logs(runners, _query(call.query))
    first: asyncio.Task[LogLine | None] = asyncio.create_task(_next(lines))
    try:
        await asyncio.wait((first,), timeout=_REFUSED_WITHIN)
        if not first.done():
            yield sse.comment("nothing was written yet")
        line = await first
        while line is not None:
            yield sse.event("line", line.public())
            line = await _next(lines)
    finally:
        first.cancel()
        await asyncio.wait((first,))
        await lines.aclose()
    yield sse.event("end", {})


async def _next(lines: AsyncGenerator[LogLine, None]) -> LogLine | None:
    return await anext(lines, None)


async def _readable(setting: Setting, names: Sequence[str]) -> list[Runner]:
    """The runners of these names, if their logs may be read."""
    runners = [await find(setting, name) for name in names]
    for runner in runners:
        setting.access.check_used(runner)
    return runners


def _query(query: LogQuery) -> Query:
    since = query.since if query.last is None else time.time() - query.last
    return Query(query.follow, since, query.tail, frozenset(query.source))
