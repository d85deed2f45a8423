"""From an accepted pod to a started container: watched, shown by phase, ended when hopeless.

What the pod and its events mean is :mod:`.phases`' to say; this module looks and waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from ...errors import BackendError, ClusterRefused, GraError, RunnerStartError
from ..base import PhaseCallback
from .cluster import Cluster
from .creation import TRANSIENT
from .deaths import end_of
from .events import claim_selector, last_words, pod_selector, runner_events
from .phases import Explanation, Phase, Progress, claims_of, launch_progress, overdue
from .podview import epoch
from .reflector import bounded

log = logging.getLogger(__name__)

# Whether the watch is alive is looked at this often.
_LOOK_EVERY = 2.0
# A watch on which nothing came for so long may be dead: ask for the pod itself.
_QUIET = 20.0
_CLAIMS_EVERY = 2.0


class Launch:
    """The start of one pod.  Used once, by :meth:`.backend.KubernetesBackend.create`.

    ``bound`` is how long all of it may take, ``patience`` how long a node is waited for at least
    where none could take the pod, both in seconds.  ``provide_agent`` is called if the pod finds no
    ConfigMap with the agent.
    """

    def __init__(
        self,
        cluster: Cluster,
        pod: Mapping[str, Any],
        bound: float,
        patience: float,
        on_phase: PhaseCallback,
        provide_agent: Callable[[], Awaitable[None]],
    ) -> None:
        self._cluster = cluster
        self._name = str(pod["metadata"]["name"])
        self._uid = str(pod["metadata"]["uid"])
        self._bound = bound
        self._patience = patience
        self._on_phase = on_phase
        self._provide_agent = provide_agent
        self._events: dict[str, Mapping[str, Any]] = {}
        self._claim_events: list[Mapping[str, Any]] = []
        self._claims_read = float("-inf")
        self._changed = asyncio.Event()
        self._shown: tuple[str, str] | None = None
        self._provided = False
        # Whether the pod's events may not be read.
        self._blind = False
        # The cluster's clock, which may differ from ours: its time of creation is now.
        self._clock = epoch(pod["metadata"], "creationTimestamp") or time.time()
        self._clock -= asyncio.get_running_loop().time()

    async def started(self) -> None:
        """Wait until the runner's container has been started.

        Raises :class:`~gra_provisioner.errors.RunnerStartError` as soon as it cannot be any more,
        or after the bound, saying what did not happen.
        """
        loop = asyncio.get_running_loop()
        begun = loop.time()
        events = asyncio.create_task(self._follow_events(), name=f"gra events of {self._name}")
        try:
            with self._cluster.pods.listening(self._on_pod):
                while True:
                    self._changed.clear()
                    progress = await self._look()
                    self._show(progress)
                    if progress.failure is not None:
                        raise self._error(progress.failure)
                    if progress.started:
                        return
                    waited = loop.time() - begun
                    if waited >= self._bound:
                        trouble = self._cluster.pods.trouble
                        said = trouble.message if trouble is not None else ""
                        raise self._error(overdue(progress, waited, self._bound, said))
                    pause = min(progress.again or _LOOK_EVERY, self._bound - waited)
                    with contextlib.suppress(asyncio.TimeoutError):
                        await bounded(self._changed.wait(), pause)
        finally:
            events.cancel()
            await asyncio.wait((events,))

    async def _look(self) -> Progress:
        pods = self._cluster.pods
        if pods.age > _QUIET:
            await self._ask()
        pod = pods.by_uid(self._name, self._uid)
        if pod is None:
            why = end_of(None, list(self._events.values()), last=pods.last_seen(self._uid))
            raise self._error(why or Explanation("RunnerEnded", f"{self._name} is gone."))
        progress = self._progress(pod)
        if (progress.missing_agent or self._blind) and not self._provided:
            await self._provide()
        claims = claims_of(pod)
        if claims and progress.phase is Phase.SCHEDULING:
            await self._read_claims(claims)
            progress = self._progress(pod)
        return progress

    def _progress(self, pod: Mapping[str, Any]) -> Progress:
        now = self._clock + asyncio.get_running_loop().time()
        events = list(self._events.values())
        return launch_progress(pod, events, self._claim_events, now=now, patience=self._patience)

    async def _provide(self) -> None:
        try:
            await self._provide_agent()
        except RunnerStartError as error:
            if not self._blind:
                raise
            log.info("%s Whether the agent is there is not known.", error.message)
        except BackendError as error:
            log.debug("the agent of %s cannot be provided: %s", self._name, error.message)
            return
        self._provided = True

    async def _ask(self) -> None:
        try:
            pod = await self._cluster.client.request("GET", "pods", self._name)
        except ClusterRefused as error:
            if error.status == 404:
                self._cluster.pods.observe_gone(self._name, self._uid)
                return
            if error.status not in TRANSIENT:
                raise
            log.debug("the pod %s cannot be asked for: %s", self._name, error.message)
            return
        except BackendError as error:
            # Unknown is not dead: the bound decides how long that may last.
            log.debug("the pod %s cannot be asked for: %s", self._name, error.message)
            return
        self._cluster.pods.observe(pod)

    async def _read_claims(self, claims: tuple[str, ...]) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._claims_read < _CLAIMS_EVERY:
            return
        self._claims_read = now
        found: list[Mapping[str, Any]] = []
        for claim in claims:
            try:
                answer = await self._cluster.client.request(
                    "GET", "events", query=[("fieldSelector", claim_selector(claim))]
                )
            except BackendError as error:
                log.debug("the events of the claim %s cannot be read: %s", claim, error.message)
                continue
            found += answer["items"]
        self._claim_events = found

    async def _follow_events(self) -> None:
        """Take in what Kubernetes reports of the pod, until cancelled."""
        selector = pod_selector(self._uid)
        while True:
            try:
                query = [("fieldSelector", selector), ("timeoutSeconds", "300")]
                async with self._cluster.client.watch("events", query, 310.0) as events:
                    async for event in events:
                        if event["type"] in ("ADDED", "MODIFIED"):
                            self._take_event(event["object"])
            except ClusterRefused as error:
                if error.status == 403:
                    # The pod's own status has to do; what only events tell is made sure of.
                    log.info("%s Less can be said about the start.", error.message)
                    self._blind = True
                    self._changed.set()
                    return
                log.debug("the events of %s cannot be watched: %s", self._name, error.message)
            except GraError as error:
                log.debug("the events of %s cannot be watched: %s", self._name, error.message)
            await asyncio.sleep(0.5)

    def _take_event(self, event: Mapping[str, Any]) -> None:
        self._events[event["metadata"]["uid"]] = event
        # The scheduler's have microseconds, where the time of creation is cut to the second.
        happened = epoch(event, "eventTime") or 0.0
        self._clock = max(self._clock, happened - asyncio.get_running_loop().time())
        self._changed.set()

    def _on_pod(self, kind: str, pod: Mapping[str, Any]) -> None:
        if pod["metadata"]["uid"] == self._uid:
            self._changed.set()

    def _show(self, progress: Progress) -> None:
        shown = (progress.phase.value, progress.message)
        # Ready is the word for when the kernel is; its agent and it are still to come.
        over = progress.failure is not None or progress.phase is Phase.READY
        if shown != self._shown and not over:
            self._shown = shown
            self._on_phase(progress.phase.value, f"{self._name}: {progress.message}")

    def _error(self, why: Explanation) -> RunnerStartError:
        """With all that is known by now: the pod is removed next, and its log with it."""
        pods = self._cluster.pods
        pod = pods.by_uid(self._name, self._uid) or pods.last_seen(self._uid)
        claims = claims_of(pod) if pod is not None else ()
        seen = [*self._events.values(), *self._claim_events]
        events = runner_events(self._name, self._uid, claims, seen)
        return RunnerStartError(
            f"{self._name} did not start. {why.message}",
            hint=why.hint,
            reason=why.reason,
            details={
                **why.details,
                "runner": self._name,
                "runner_uid": self._uid,
                "events": [event.public() for event in events],
                "log": last_words(pod),
            },
        )
