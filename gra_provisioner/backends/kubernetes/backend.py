"""Runners as pods.  Kubernetes is the only store: what is not in the cluster is not known.

A pod named ``runner-N`` is the lock on its number.  Everything that acts on a runner compares the
pod's uid, because a name can be used again.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import math
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any

from ...archive import archive_digest, build_agent_archive
from ...diagnosis import Finding
from ...errors import ClusterRefused, RunnerNotFound
from ...logs import LogLine, LogQuery
from ...runner import (
    Change,
    ChangeKind,
    Runner,
    RunnerEvent,
    RunnerLabels,
    RunnerSpec,
    RunnerStatus,
    Stale,
)
from ...selection import Selection, by_number
from ..base import NoticeCallback, PhaseCallback, ignore_notice, ignore_phase
from ..changes import Changes
from .cluster import Cluster, acquire
from .creation import (
    create_pod,
    is_provided,
    not_accepted,
    provide_agent,
    provide_claim,
    withdraw,
)
from .deaths import status_of
from .deletion import delete_pod, look_again, prune, until_gone
from .diagnosis import diagnose
from .dialling import Dialler, events_of
from .events import claim_selector, pod_selector, runner_events
from .kubeconfig import Target
from .launch import Launch
from .logs import pod_logs
from .manifest import agent_name, pod_manifest
from .naming import (
    MANAGED_BY,
    OWNER,
    PROFILE,
    is_label_value,
    label_value,
    runner_from_pod,
)
from .phases import launch_progress
from .podview import claims_of, runner_of, text
from .reflector import bounded
from .sizes import known_resources
from .workspace import workspace_claim

log = logging.getLogger(__name__)

_PRUNE_EVERY = 300.0
# As kubectl's.
_PAGE = 500
_EXPIRED = 410
# In seconds: how often a watch looks without being told, and how long it gathers what it is told.
_LOOK_EVERY = 2.0
_GATHERED = 0.1
# How long the end of the client may be held up by launches that are being taken back.
_TAKEN_BACK_WITHIN = 10.0


class KubernetesBackend:
    """Implements :class:`..base.Backend` with pods in one namespace.

    ``environ`` is where ``KUBECONFIG`` and ``HOME`` are looked up, ``clock`` gives the time in
    seconds since the epoch by which finished runners are removed.  ``only``: the one runner that
    it is about, where that is known; then no other is looked at.
    """

    name = "kubernetes"

    def __init__(
        self,
        target: Target,
        environ: Mapping[str, str],
        clock: Callable[[], float] = time.time,
        only: str = "",
    ) -> None:
        self._target = target
        self._environ = environ
        self._clock = clock
        # A selector takes nothing else, and no runner has another name.
        self._only = only if is_label_value(only) else ""
        self._cluster: Cluster | None = None
        self._dialler = Dialler()
        self._tasks: set[asyncio.Task[None]] = set()
        # One for each launch under way, done with it.
        self._launches: set[asyncio.Future[None]] = set()

    # -- Backend ----------------------------------------------------------------------------

    async def create(
        self,
        spec: RunnerSpec,
        labels: RunnerLabels,
        on_phase: PhaseCallback = ignore_phase,
        *,
        wait: bool = True,
    ) -> Runner:
        """See :meth:`..base.Backend.create`."""
        launch: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._launches.add(launch)
        try:
            return await self._create(spec, labels, on_phase, wait)
        finally:
            self._launches.discard(launch)
            launch.set_result(None)

    async def _create(
        self, spec: RunnerSpec, labels: RunnerLabels, on_phase: PhaseCallback, wait: bool
    ) -> Runner:
        cluster = await self._open()
        credentials = cluster.client.credentials
        on_phase(
            "queued",
            f"asking for a {spec.profile} runner in the namespace {credentials.namespace} "
            f"({credentials.origin})",
        )
        archive = build_agent_archive()
        agent = agent_name(archive_digest(archive))

        async def provide() -> None:
            await provide_agent(cluster, agent, archive)

        await self._synced(cluster)
        if not is_provided(cluster, agent):
            await provide()
        claim = workspace_claim(spec, labels)
        if claim is not None:
            # It stays, so nothing but a pod that can be may ask for it.
            pod_manifest("runner-0", spec, labels, agent)
            await provide_claim(cluster, claim)
        pod = await create_pod(cluster, spec, labels, agent)

        runner = self._runner(pod)
        if not wait:
            return runner
        try:
            patience = spec.pod.scheduling_grace
            launch = Launch(cluster, pod, spec.start_timeout, patience, on_phase, provide)
            await launch.started()
        except BaseException:
            # Whatever went wrong, a cancelled launch included, nothing is left behind.
            await asyncio.shield(withdraw(cluster, pod))
            raise
        self._dialler.started(runner)
        cluster.started.add(runner.uid)
        self._prune_soon(cluster)
        return runner

    async def check(self) -> None:
        """See :meth:`..base.Backend.check`."""
        cluster = await self._open()
        await cluster.pods.synced()
        trouble = cluster.pods.trouble
        if trouble is not None:
            raise trouble

    async def diagnose(self, spec: RunnerSpec, owner: str) -> Sequence[Finding]:
        """See :meth:`..base.Backend.diagnose`."""
        cluster = await self._open()
        return await diagnose(cluster.client, spec, owner)

    async def get(self, name: str) -> Runner:
        """See :meth:`..base.Backend.get`."""
        cluster = await self._open()
        pod = None
        if cluster.pods.is_kept:
            await cluster.pods.synced()
            pod = cluster.pods.by_name(name)
        if pod is None:
            # Another process may have made it a moment ago, or this one keeps no list.
            try:
                pod = await cluster.client.request("GET", "pods", name)
            except ClusterRefused as error:
                if error.status != 404:
                    raise
            else:
                if _is_ours(pod):
                    cluster.pods.observe(pod)
                else:
                    pod = None
        if pod is None:
            raise RunnerNotFound(
                f"There is no runner {name!r} in the namespace {cluster.client.namespace}.",
                hint="`gra list` shows the runners there are.",
            )
        runner = self._runner(pod)
        if runner.status is RunnerStatus.STARTING:
            # What stands in the way of a start is often told by events only.
            return self._runner(pod, await events_of(cluster, runner))
        return runner

    async def list(self) -> list[Runner]:
        """See :meth:`..base.Backend.list`."""
        cluster = await self._open()
        await cluster.pods.synced()
        runners = cluster.seen.runners(cluster.pods.objects(), cluster.started, self._seen)
        stale = self.stale()
        if stale is not None:
            # Without how long ago that is: it would be another change each second.
            known = time.strftime("%H:%M:%S", time.localtime(stale.since))
            message = f"Last heard of at {known}. {stale.message}"
            runners = [
                dataclasses.replace(
                    runner,
                    status=RunnerStatus.UNKNOWN,
                    reason=stale.reason,
                    message=message,
                    hint=stale.hint,
                )
                for runner in runners
            ]
        return sorted(runners, key=by_number)

    async def pages(self, selection: Selection) -> AsyncGenerator[Sequence[Runner], None]:
        """See :meth:`..base.Backend.pages`.  What a label can tell is left to the API server."""
        cluster = await self._open()
        if cluster.pods.is_kept:
            yield [runner for runner in await self.list() if selection.matches(runner)]
            return
        query = [("labelSelector", _selector(selection)), ("limit", str(_PAGE))]
        token = ""
        told: set[str] = set()
        while True:
            more = [("continue", token)] if token else []
            try:
                answer = await cluster.client.request("GET", "pods", query=[*query, *more])
            except ClusterRefused as error:
                if error.status != _EXPIRED or not token:
                    raise
                # What the cluster looked like when the list began is forgotten after minutes.
                token = ""
                continue
            found = map(self._runner, answer["items"])
            fresh = [runner for runner in found if runner.uid not in told]
            told.update(runner.uid for runner in fresh)
            yield sorted(filter(selection.matches, fresh), key=by_number)
            token = text(answer, "metadata", "continue")
            if not token:
                return

    async def watch(self) -> AsyncGenerator[Change, None]:
        """See :meth:`..base.Backend.watch`."""
        cluster = await self._open()
        await cluster.pods.synced()
        changes = Changes()
        stirred = asyncio.Event()
        synced = False
        stale: Stale | None = None
        with cluster.pods.listening(lambda kind, pod: stirred.set()):
            while True:
                stirred.clear()
                before, stale = stale, self.stale()
                if stale is not None and stale != before:
                    yield Change(ChangeKind.STALE, stale=stale)
                elif stale is None and before is not None:
                    yield Change(ChangeKind.FRESH)
                for change in changes.to(await self.list()):
                    yield change
                if not synced:
                    synced = True
                    yield Change(ChangeKind.SYNCED)
                # Trouble with the cluster, and what only time brings, stir nothing.
                with contextlib.suppress(asyncio.TimeoutError):
                    await bounded(stirred.wait(), _LOOK_EVERY)
                # Many pods change at once when a node is lost: they are told together.
                await asyncio.sleep(_GATHERED)
                cluster.pods.probe_soon()

    def stale(self) -> Stale | None:
        """See :meth:`..base.Backend.stale`."""
        pods = None if self._cluster is None else self._cluster.pods
        trouble = None if pods is None else pods.trouble
        if pods is None or trouble is None:
            return None
        return Stale(pods.answered_at, trouble.code, trouble.message, trouble.hint)

    def last_seen(self, name: str, uid: str) -> Runner | None:
        """See :meth:`..base.Backend.last_seen`."""
        pod = None if self._cluster is None else self._cluster.pods.last_seen(uid)
        return (
            self._runner(pod) if pod is not None and text(pod, "metadata", "name") == name else None
        )

    async def events(self, name: str, uid: str) -> Sequence[RunnerEvent]:
        """See :meth:`..base.Backend.events`."""
        cluster = await self._open()
        pod = cluster.pods.by_uid(name, uid) or cluster.pods.last_seen(uid)
        claims = claims_of(pod) if pod is not None else ()
        found: list[Mapping[str, Any]] = []
        for selector in (pod_selector(uid), *map(claim_selector, claims)):
            answer = await cluster.client.request(
                "GET", "events", query=[("fieldSelector", selector)]
            )
            found += answer["items"]
        return runner_events(name, uid, claims, found)

    async def logs(
        self, runner: Runner, query: LogQuery, on_notice: NoticeCallback = ignore_notice
    ) -> AsyncGenerator[LogLine, None]:
        """See :meth:`..base.Backend.logs`."""
        cluster = await self._open()
        async with contextlib.aclosing(pod_logs(cluster, runner, query, on_notice)) as lines:
            async for line in lines:
                yield line

    async def delete(self, runner: Runner, *, grace: float = 5.0, wait: bool = True) -> None:
        """See :meth:`..base.Backend.delete`."""
        cluster = await self._open()
        await delete_pod(cluster, runner.name, runner.uid, grace)
        if wait:
            await until_gone(cluster, runner, grace)

    async def dial(
        self,
        runner: Runner,
        protocol_factory: Callable[[], asyncio.Protocol],
        *,
        mostly_sends: bool = False,
    ) -> asyncio.Transport:
        """See :meth:`..base.Backend.dial`."""
        cluster = await self._open()
        if self._only or cluster.pods.is_kept:
            await cluster.pods.synced()
        else:
            # A look at a few of many is not worth a list of all.
            await look_again(cluster, runner)
        return await self._dialler.dial(
            cluster, runner, protocol_factory, mostly_sends=mostly_sends
        )

    async def close(self) -> None:
        """See :meth:`..base.Backend.close`."""
        # A launch that was cancelled still removes its pod, for which it needs the connections.
        if self._launches:
            await asyncio.wait(list(self._launches), timeout=_TAKEN_BACK_WITHIN)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        cluster, self._cluster = self._cluster, None
        if cluster is not None:
            await cluster.release()

    async def _open(self) -> Cluster:
        if self._cluster is None:
            self._cluster = acquire(self._target, self._environ, self._only)
        cluster = self._cluster
        await cluster.client.open()
        return cluster

    async def _synced(self, cluster: Cluster) -> None:
        try:
            await cluster.pods.synced()
        except ClusterRefused as error:
            raise not_accepted(error) from None

    def _prune_soon(self, cluster: Cluster) -> None:
        now = asyncio.get_running_loop().time()
        if now - cluster.last_prune < _PRUNE_EVERY:
            return
        cluster.last_prune = now
        task = asyncio.create_task(prune(cluster, self._clock()), name="gra prune")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _has_started(self, uid: str) -> bool:
        """Whether a launch of this process has seen it start, which the pod's status says later."""
        return self._cluster is not None and uid in self._cluster.started

    def _runner(self, pod: Mapping[str, Any], events: Sequence[Mapping[str, Any]] = ()) -> Runner:
        return self._seen(pod, events)[0]

    def _seen(
        self, pod: Mapping[str, Any], events: Sequence[Mapping[str, Any]] = ()
    ) -> tuple[Runner, float]:
        """The runner, and for how many seconds the same objects mean the same."""
        found = runner_from_pod(pod)
        status, why = status_of(pod)
        if status is RunnerStatus.STARTING and self._has_started(found.uid):
            status = RunnerStatus.RUNNING
        phase, message, holds_for = "", why.message if why else "", math.inf
        if status is RunnerStatus.STARTING:
            progress = launch_progress(pod, events, now=time.time())
            phase, why = progress.phase.value, progress.failure or why
            message = why.message if why else progress.message
            holds_for = math.inf if progress.again is None else progress.again
        runner = Runner(
            name=found.name,
            uid=found.uid,
            backend=self.name,
            profile=found.profile,
            labels=found.labels,
            created=found.created,
            status=status,
            reason=why.reason if why else "",
            message=message,
            hint=why.hint if why else "",
            phase=phase,
            node=text(pod, "spec", "nodeName"),
            resources=known_resources(pod),
            image=runner_of(pod).image,
        )
        return runner, holds_for


def _selector(selection: Selection) -> str:
    """The label selector of the pods among which those that are meant are."""
    name, value = MANAGED_BY
    wanted = {name: value, **selection.labels}
    if selection.owner is not None:
        wanted[OWNER] = label_value(selection.owner)
    if selection.profile is not None:
        wanted[PROFILE] = label_value(selection.profile)
    # What can be no label's value is nobody's.
    return ",".join(f"{name}={label_value(value)}" for name, value in wanted.items())


def _is_ours(pod: Mapping[str, Any]) -> bool:
    name, value = MANAGED_BY
    return bool((pod["metadata"].get("labels") or {}).get(name) == value)
