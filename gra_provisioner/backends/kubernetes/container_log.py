"""The log of one container, as the kubelet gives it through the API server.

That of the runner's is the agent's, that of another is whatever it writes, with the time at which
Kubernetes got it.  A log that is followed is asked for again when its connection ends or is silent
for long, from where it was (:mod:`.log_position`).
Sources: kubernetes ``pkg/kubelet/kubelet_pods.go`` (GetKubeletContainerLogs) and
``cri-client/pkg/logs``.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any

from ...errors import (
    ClusterRefused,
    GraError,
    LogUnavailable,
    RunnerNotFound,
    RunnerStartError,
    Unreachable,
)
from ...log_streams import Lines
from ...logs import (
    AgentLines,
    LineSplitter,
    LogLine,
    LogQuery,
    decoded,
    in_seconds,
    read_stamp,
)
from ...runner import Runner
from ..base import NoticeCallback
from .cluster import Cluster
from .creation import TRANSIENT
from .deaths import end_of
from .deletion import look_again, start_timeout
from .dialling import events_of
from .log_position import Position
from .phases import Explanation, launch_progress, overdue
from .podview import RUNNER, Container, containers, epoch, runner_of, text

# In seconds.  A log may be quiet for as long as it likes: only a new request tells it from a dead
# connection, of which neither end is told where something on the way forgets it.
_SILENCE = 60.0
# How long a follower puts up with a cluster or node that does not answer.
_AWAY_WITHIN = 600.0
_FIRST_DELAY = 0.1
_LONGEST_DELAY = 5.0
# A request that went on for so long was a good one: after it, the pauses are short again.
_STEADY = 1.0
_LOOK_EVERY = 2.0
# What is over sooner nobody needs to be told of.
_UNNOTICED = 5.0
# How much later than its events the pod's status, by which the kubelet gives logs, may say that a
# container has started.
_STATUS_LAG = 5.0
# Answers of a kubelet that has no log of the container, and of one that does not know the pod yet.
_NO_LOG = frozenset({400, 404})
# Of a line of more than 16 KiB Kubernetes counts each piece: so more are asked for than are wanted.
_SPARE_LINES = 100


class ContainerLog:
    """The log of one container: :meth:`now`, and then, where it is followed, :meth:`later`."""

    def __init__(
        self,
        cluster: Cluster,
        runner: Runner,
        container: str,
        query: LogQuery,
        on_notice: NoticeCallback,
    ) -> None:
        self.container = container
        # Why there is no log, where :meth:`now` found none.
        self.missing: ClusterRefused | None = None
        self._cluster = cluster
        self._runner = runner
        self._query = query
        self._on_notice = on_notice
        self._position = Position()
        self._agent_lines = AgentLines(runner.name)
        self._time: float | None = None
        # The loop's time at which the cluster last gave something of this log, and if it ever did.
        self._heard = 0.0
        self._was_there = False

    async def now(self) -> Lines:
        """What there is now and is meant; of a tail, all that may belong to it."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        while True:
            try:
                async with contextlib.aclosing(self._there()) as lines:
                    async for line in lines:
                        yield line
            except ClusterRefused as error:
                if error.status not in _NO_LOG:
                    raise
                if self._query.follow:
                    return
                if loop.time() - begun > _STATUS_LAG or not await self._has_just_started():
                    self.missing = error
                    return
            else:
                return
            await asyncio.sleep(_FIRST_DELAY)

    async def later(self) -> Lines:
        """What is written from then on, until the container or the runner has ended.

        Waits for a container that has not started.  Raises
        :class:`~gra_provisioner.errors.RunnerStartError` if it never will.
        """
        loop = asyncio.get_running_loop()
        delay = _FIRST_DELAY
        self._heard = loop.time()
        while True:
            begun = loop.time()
            try:
                over = await self._is_over()
                try:
                    async with contextlib.aclosing(self._read(follow=not over)) as lines:
                        async for line in lines:
                            yield line
                except ClusterRefused as error:
                    if error.status not in _NO_LOG:
                        raise
                    if not over:
                        await self._until_started(error)
                    elif self.container == RUNNER and not self._was_there:
                        raise await why_no_log(
                            self._cluster, self._runner, error, waited=True
                        ) from None
                if over:
                    return
            except RunnerNotFound:
                return
            except (ClusterRefused, Unreachable) as error:
                if isinstance(error, ClusterRefused) and error.status not in TRANSIENT:
                    raise
                if loop.time() - begun >= _SILENCE:
                    # It was quiet, or answers only once there is a line (kubelets before 1.32).
                    self._heard = loop.time()
                self._bear(error)
            if loop.time() - begun > _STEADY:
                delay = _FIRST_DELAY
            await asyncio.sleep(delay)
            delay = min(delay * 2, _LONGEST_DELAY)

    # -- requests ---------------------------------------------------------------------------

    async def _there(self) -> Lines:
        tail = self._query.tail
        if tail is None:
            async with contextlib.aclosing(self._read(follow=False)) as lines:
                async for line in lines:
                    yield line
            return
        kept: deque[LogLine] = deque(maxlen=tail)
        for asked in (2 * tail + _SPARE_LINES, None):
            self._position = Position(is_cut=asked is not None)
            self._agent_lines = AgentLines(self._runner.name)
            kept.clear()
            count = 0
            async with contextlib.aclosing(self._read(follow=False, tail=asked)) as lines:
                async for line in lines:
                    kept.append(line)
                    count += 1
            if count >= tail:
                break
        for line in kept:
            yield line

    async def _read(self, *, follow: bool, tail: int | None = None) -> Lines:
        """The lines of one request that are new and meant."""
        since = self._position.since
        if since is None and self._query.since is not None:
            since = max(0, int(self._query.since))
        options = [("container", self.container), ("timestamps", "true")]
        if follow:
            options.append(("follow", "true"))
        if since is not None:
            options.append(("sinceTime", _as_time(since)))
        if tail is not None:
            options.append(("tailLines", str(tail)))
        client = self._cluster.client
        self._position.begin()
        async with client.log(self._runner.name, options, _SILENCE) as blocks:
            self._heard = asyncio.get_running_loop().time()
            self._was_there = True
            # The API goes by name, which another runner may have by now.
            await look(self._cluster, self._runner)
            pieces = self._pieces(blocks, follow)
            async with contextlib.aclosing(pieces):
                async for line in self._lines(pieces, since is not None, tail is not None):
                    if self._query.wants(line):
                        yield line

    async def _pieces(
        self, blocks: AsyncIterator[bytes], follow: bool
    ) -> AsyncGenerator[tuple[bytes, bool], None]:
        splitter = LineSplitter()
        if follow and self.container != RUNNER:
            blocks = self._while_the_runner_lives(blocks)
        async for block in blocks:
            self._heard = asyncio.get_running_loop().time()
            for piece in splitter.feed(block):
                yield piece
        if not follow:
            # While one follows, a line without an end was cut off with the connection.
            for piece in splitter.finish():
                yield piece

    async def _while_the_runner_lives(self, blocks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """What comes from a container that may go on when the runner has ended."""
        loop = asyncio.get_running_loop()
        looked = loop.time()
        coming = asyncio.ensure_future(_next(blocks))
        try:
            while True:
                await asyncio.wait((coming,), timeout=_LOOK_EVERY)
                if loop.time() - looked >= _LOOK_EVERY:
                    looked = loop.time()
                    if await self._is_over():
                        return
                if coming.done():
                    block = coming.result()
                    if block is None:
                        return
                    yield block
                    coming = asyncio.ensure_future(_next(blocks))
        finally:
            coming.cancel()
            await asyncio.wait((coming,))

    async def _lines(
        self, pieces: AsyncIterator[tuple[bytes, bool]], is_since: bool, is_tail: bool
    ) -> Lines:
        """The lines that are new.  ``is_since`` and ``is_tail``: where the answer may begin.

        That may be in the middle of a line, which is then left out: what a kernel wrote there could
        look like a line of the agent's.
        """
        first = True
        passes = False
        async for raw, begins in pieces:
            stamp = read_stamp(raw) if begins else None
            if stamp is not None:
                at, start = stamp
                passes = self._position.passes(at, raw[start:])
                if first and is_tail:
                    passes = False
            elif begins:
                # The kubelet's own words, or the end of a line whose beginning is too old.
                passes = not (first and (is_since or is_tail))
            first = False
            if passes:
                yield self._line(raw, begins, stamp)

    def _line(self, raw: bytes, begins: bool, stamp: tuple[int, int] | None) -> LogLine:
        if stamp is not None:
            self._time, raw = in_seconds(stamp[0]), raw[stamp[1] :]
        if self.container == RUNNER and (stamp is not None or not begins):
            return self._agent_lines.line(raw, begins=begins, time=self._time if begins else None)
        at = None if begins and stamp is None else self._time
        return LogLine(self._runner.name, at, self.container, decoded(raw))

    # -- the pod ----------------------------------------------------------------------------

    async def _is_over(self) -> bool:
        """Whether nothing more will be written."""
        pod = await look(self._cluster, self._runner)
        if end_of(pod) is not None:
            return True
        container = _container(pod, self.container)
        return container.terminated is not None and not _restarts(pod, container)

    async def _has_just_started(self) -> bool:
        """Whether its start is known of only by the pod's events."""
        pod = await look(self._cluster, self._runner)
        if self.container != RUNNER or end_of(pod) is not None:
            return False
        return launch_progress(pod, await events_of(self._cluster, self._runner)).started

    async def _until_started(self, refused: ClusterRefused) -> None:
        """Wait until the container has started.  Raises why it never will.

        One that has started is none that explains why its log was ``refused``.
        """
        name = self._runner.name
        while True:
            pod = await look(self._cluster, self._runner)
            if end_of(pod) is not None:
                return
            events = await events_of(self._cluster, self._runner)
            progress = launch_progress(pod, events, now=time.time())
            if progress.failure is not None:
                raise not_started(name, progress.failure)
            if progress.started:
                if self.container == RUNNER or _container(pod, self.container).running:
                    self._bear(refused)
                return
            waited = time.time() - (epoch(pod, "metadata", "creationTimestamp") or time.time())
            bound = start_timeout(pod)
            if waited > bound + _STATUS_LAG:
                raise not_started(name, overdue(progress, waited, bound))
            self._on_notice(f"{name} is starting: {progress.message}")
            self._heard = asyncio.get_running_loop().time()
            await asyncio.sleep(_LOOK_EVERY)

    def _bear(self, error: GraError) -> None:
        """Put up with what may pass, unless it has lasted for too long."""
        away = asyncio.get_running_loop().time() - self._heard
        if away > _AWAY_WITHIN:
            raise error
        if away > _UNNOTICED:
            self._on_notice(f"{self._runner.name}: {error.message} Its log is asked for again.")


async def _next(blocks: AsyncIterator[bytes]) -> bytes | None:
    return await anext(blocks, None)


async def look(cluster: Cluster, runner: Runner) -> Mapping[str, Any]:
    """The runner's pod as it is.  Raises :class:`~gra_provisioner.errors.RunnerNotFound`."""
    await look_again(cluster, runner)
    pod = cluster.pods.by_uid(runner.name, runner.uid)
    if pod is None:
        raise RunnerNotFound(
            f"The runner {runner.name} does not exist any more.",
            hint="It was deleted, and its log with it.",
        )
    return pod


def _container(pod: Mapping[str, Any], name: str) -> Container:
    return next((one for one in containers(pod) if one.name == name), Container(name, False))


def _restarts(pod: Mapping[str, Any], container: Container) -> bool:
    """Whether it may be started again (init containers that are sidecars: KEP-753)."""
    policy = text(container.spec, "restartPolicy") or text(pod, "spec", "restartPolicy")
    return policy != "Never"


def _as_time(seconds: int) -> str:
    moment = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def not_started(name: str, why: Explanation) -> RunnerStartError:
    """The error of a start that failed, as a launch tells it."""
    return RunnerStartError(
        f"{name} did not start. {why.message}",
        hint=why.hint,
        reason=why.reason,
        details={**why.details, "runner": name},
    )


async def why_no_log(
    cluster: Cluster, runner: Runner, refused: ClusterRefused, *, waited: bool = False
) -> GraError:
    """What to say of a runner whose own container has no log.

    If it was ``waited`` for, one that has ended before it could start did not start.
    """
    name = runner.name
    pod = await look(cluster, runner)
    events = await events_of(cluster, runner)
    end = end_of(pod, events)
    if end is not None:
        if waited and runner_of(pod).terminated is None:
            return not_started(name, end)
        return LogUnavailable(
            f"{name} has ended and has no log. {end.message}",
            hint=end.hint,
            details={**end.details, "reason": end.reason},
        )
    progress = launch_progress(pod, events, now=time.time())
    if progress.failure is not None:
        return not_started(name, progress.failure)
    if progress.started:
        return LogUnavailable(refused.message, hint=refused.hint, details=refused.details)
    return LogUnavailable(
        f"{name} is starting and has no log yet: {progress.message}",
        hint="`gra logs --follow` waits for it.",
    )
