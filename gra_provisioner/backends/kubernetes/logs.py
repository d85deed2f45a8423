"""The logs of a runner's pod: of all its containers, or those that are meant."""

from __future__ import annotations

import contextlib

from ...log_streams import Lines, as_they_come, by_time, last_lines
from ...logs import RUNNER_SOURCES, LogQuery
from ...runner import Runner
from ..base import NoticeCallback
from .cluster import Cluster
from .container_log import ContainerLog, look, why_no_log
from .podview import RUNNER, containers


async def pod_logs(
    cluster: Cluster, runner: Runner, query: LogQuery, on_notice: NoticeCallback
) -> Lines:
    """See :meth:`..base.Backend.logs`."""
    pod = await look(cluster, runner)
    others = [one.name for one in containers(pod) if one.name != RUNNER]
    query.check_sources(runner.name, others)
    on_notice = _once(on_notice)
    logs = [
        ContainerLog(cluster, runner, name, query, on_notice)
        for name in (*others, RUNNER)
        if not query.chosen or query.chosen & (RUNNER_SOURCES if name == RUNNER else {name})
    ]
    there = last_lines(by_time([log.now() for log in logs]), query.tail)
    async with contextlib.aclosing(there):
        async for line in there:
            yield line
    if query.follow:
        async with contextlib.aclosing(as_they_come([log.later() for log in logs])) as lines:
            async for line in lines:
                yield line
        return
    for log in logs:
        if log.missing is not None:
            error = await why_no_log(cluster, runner, log.missing)
            if all(log.missing for log in logs):
                raise error
            on_notice(f"{runner.name} has no log of {log.container}: {log.missing.message}")


def _once(on_notice: NoticeCallback) -> NoticeCallback:
    """Says the same only once, however many ask for it one after the other."""
    said = ""

    def say(message: str) -> None:
        nonlocal said
        if message != said:
            said = message
            on_notice(message)

    return say
