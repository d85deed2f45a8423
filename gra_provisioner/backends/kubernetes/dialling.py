"""The way to a runner's agent: is there one, and by which subprotocol of port-forward, or exec."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...errors import BackendError, ClusterRefused, RunnerEnded, RunnerNotFound, Unreachable
from ...runner import Runner
from ...traffic import Traffic
from .cluster import Cluster
from .deaths import end_of
from .deletion import look_again
from .events import last_words, pod_selector
from .forwarding import PORT_FORWARDS, TO_THE_POD, forward_port, run_bridge
from .manifest import AGENT_PATH, AGENT_PORT
from .podview import RUNNER
from .reasons import Explanation, Reason
from .websocket import WebsocketTransport

log = logging.getLogger(__name__)

ProtocolFactory = Callable[[], asyncio.Protocol]

# An interpreter starts and the agent listens.  Dialled earlier, each refusal is a request.
_LISTENS_AFTER = 0.3
_AGAIN_AFTER = 0.25
# Answers that say nothing of the runner, or of its state at that moment only.
_PASSING = frozenset({400, 404, 429, 500, 502, 503, 504})
_FORBIDDEN = 403
# Answers of a server that does not speak the subprotocol.  Kubelets forbid it
# (golang.org/x/net/websocket, hybi.go), as the API server does where it may not be used.
_NOT_SPOKEN = frozenset({400, _FORBIDDEN, 426, 501})


class Dialler:
    """Dials the agents of one backend's runners."""

    def __init__(self) -> None:
        # The ways to a runner, by its uid, that have been open and then failed without a word of
        # the agent's, since one last worked.
        self._failed: dict[str, set[str]] = {}
        # The loop's time before which a runner is not worth dialling, by its uid.
        self._not_before: dict[str, float] = {}

    def started(self, runner: Runner) -> None:
        """The runner's container has been started a moment ago."""
        self._not_before[runner.uid] = asyncio.get_running_loop().time() + _LISTENS_AFTER

    async def dial(
        self,
        cluster: Cluster,
        runner: Runner,
        protocol_factory: ProtocolFactory,
        *,
        mostly_sends: bool = False,
    ) -> asyncio.Transport:
        """See :meth:`..base.Backend.dial`."""
        pod = await alive_pod(cluster, runner)
        not_before = self._not_before.pop(runner.uid, None)
        if not_before is not None:
            await asyncio.sleep(not_before - asyncio.get_running_loop().time())
        try:
            transport = await self._connect(cluster, runner, pod, protocol_factory, mostly_sends)
            cluster.connections.add(transport)
            if cluster.pods.by_uid(runner.name, runner.uid) is not None:
                return transport
            # The API dials by name, which another runner may have by now.
            transport.abort()
            await alive_pod(cluster, runner)
            raise Unreachable(f"{runner.name} was gone for a moment.", hint="It is tried again.")
        except ClusterRefused as error:
            if error.status not in _PASSING:
                raise
            # Not there, or not (any more) in a state to be dialled: the pod tells which.
            await _look_again(cluster, runner)
            await alive_pod(cluster, runner)
            raise Unreachable(
                f"The agent of {runner.name} cannot be reached: {error.message}",
                hint="It is tried again.",
            ) from None

    async def _connect(
        self,
        cluster: Cluster,
        runner: Runner,
        pod: Mapping[str, Any],
        protocol_factory: ProtocolFactory,
        mostly_sends: bool,
    ) -> WebsocketTransport:
        failed = PORT_FORWARDS if cluster.by_exec else self._failed.get(runner.uid, ())
        ways = [protocol for protocol in PORT_FORWARDS if protocol not in failed]
        # Where there is but one way, nothing is to be gained from looking which way most goes.
        counts = len(ways) == len(PORT_FORWARDS)
        if mostly_sends:
            ways.sort(key=lambda protocol: protocol != TO_THE_POD)
        refused = 0
        for protocol in ways:
            traffic = Traffic(mostly_sends=protocol == TO_THE_POD) if counts else None
            try:
                return await self._forward(cluster, runner, protocol, protocol_factory, traffic)
            except ClusterRefused as error:
                if error.status not in _NOT_SPOKEN:
                    raise
                log.info("port-forward by %s: %s Trying another way.", protocol, error.message)
                refused, counts = error.status, False
        transport = await _bridge(cluster, pod, protocol_factory)
        if refused == _FORBIDDEN:
            cluster.by_exec = True
        return transport

    async def _forward(
        self,
        cluster: Cluster,
        runner: Runner,
        protocol: str,
        protocol_factory: ProtocolFactory,
        traffic: Traffic | None,
    ) -> WebsocketTransport:
        def on_end(transport: WebsocketTransport) -> None:
            if transport.received:
                self._failed.pop(runner.uid, None)
                return
            self._not_before[runner.uid] = asyncio.get_running_loop().time() + _AGAIN_AFTER
            if isinstance(transport.error, ConnectionError) and "refused" not in str(
                transport.error
            ):
                # A subprotocol that the container runtime does not speak, or a sandbox whose
                # network the node cannot enter (gVisor, issue 3811).
                self._failed.setdefault(runner.uid, set()).add(protocol)
                log.info("port-forward to %s (%s): %s", runner.name, protocol, transport.error)

        return await forward_port(
            cluster.client,
            runner.name,
            AGENT_PORT,
            protocol_factory,
            on_end,
            protocol=protocol,
            traffic=traffic,
        )


async def _bridge(
    cluster: Cluster,
    pod: Mapping[str, Any],
    protocol_factory: ProtocolFactory,
) -> WebsocketTransport:
    containers = pod["spec"]["containers"]
    (runner,) = (one for one in containers if one["name"] == RUNNER)
    command = [runner["command"][0], "-I", "-S", AGENT_PATH]
    command += ["bridge", "--port", str(AGENT_PORT)]
    return await run_bridge(
        cluster.client, pod["metadata"]["name"], RUNNER, command, protocol_factory
    )


async def _look_again(cluster: Cluster, runner: Runner) -> None:
    try:
        await look_again(cluster, runner)
    except ClusterRefused as error:
        if error.status not in _PASSING:
            raise
        raise Unreachable(error.message, hint=error.hint) from None


async def alive_pod(cluster: Cluster, runner: Runner) -> Mapping[str, Any]:
    """The runner's pod.  Raises what ended it, as far as this is known for certain."""
    pods = cluster.pods
    pod = pods.by_uid(runner.name, runner.uid)
    if pod is None and pods.trouble is None and pods.last_seen(runner.uid) is None:
        # Another process may have made it a moment ago.
        await _look_again(cluster, runner)
        pod = pods.by_uid(runner.name, runner.uid)
    if pod is None:
        if pods.trouble is not None:
            raise Unreachable(pods.trouble.message, hint=pods.trouble.hint)
        last: Mapping[str, Any] | None = pods.last_seen(runner.uid)
        why = await _why_ended(cluster, runner, None, last)
        if last is None or why is None:
            raise RunnerNotFound(
                f"The runner {runner.name} was deleted.",
                hint="A kernel of it gets a new runner when it is restarted.",
            )
    else:
        last, why = pod, await _why_ended(cluster, runner, pod, None)
        if why is None:
            return pod
    raise RunnerEnded(
        f"The runner {runner.name} has ended. {why.message}",
        hint=why.hint or "A kernel of it gets a new runner when it is restarted.",
        details={
            **why.details,
            "reason": why.reason,
            "runner_uid": runner.uid,
            "log": last_words(last),
        },
    )


async def _why_ended(
    cluster: Cluster,
    runner: Runner,
    pod: Mapping[str, Any] | None,
    last: Mapping[str, Any] | None,
) -> Explanation | None:
    why = end_of(pod, last=last)
    if why is None or why.reason != Reason.TERMINATED:
        return why
    # The agent knows that it was told to end, only an event may know why (an eviction).
    try:
        return end_of(pod, await events_of(cluster, runner), last=last)
    except BackendError as error:
        log.debug("the events of %s cannot be read: %s", runner.name, error.message)
        return why


async def events_of(cluster: Cluster, runner: Runner) -> Sequence[Mapping[str, Any]]:
    """What Kubernetes reports of the runner's pod; nothing where that may not be read."""
    selector = [("fieldSelector", pod_selector(runner.uid))]
    try:
        answer = await cluster.client.request("GET", "events", query=selector)
    except ClusterRefused as error:
        log.info("%s Less can be said about %s.", error.message, runner.name)
        return []
    return list(answer["items"])
