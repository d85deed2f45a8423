"""A runner's pod and what it needs, made: whatever happens on the way, the count is right.

The first answer to a request may get lost, so a pod says which launch made it.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Mapping
from typing import Any

from ...errors import ClusterRefused, ClusterUnreachable, GraError, RunnerStartError
from ...runner import RunnerLabels, RunnerSpec
from .cluster import Cluster
from .deletion import delete_pod
from .manifest import agent_config_map, pod_manifest
from .naming import AGENT, LAUNCH

log = logging.getLogger(__name__)

# What an API server that is overloaded or changes hands answers; it says so and recovers.
TRANSIENT = frozenset({429, 500, 502, 503, 504})
_TRANSIENT_WITHIN = 10.0
# How long an API server that does not answer at all may keep a user waiting for an error.
_UNREACHABLE_WITHIN = 3.0


async def create_pod(
    cluster: Cluster, spec: RunnerSpec, labels: RunnerLabels, agent: str
) -> dict[str, Any]:
    """Create the pod of a runner under the lowest free number.

    ``agent`` is the name of the ConfigMap with the agent.  Raises
    :class:`~gra_provisioner.errors.RunnerStartError` with why the cluster does not accept it, or
    :class:`~gra_provisioner.errors.ClusterUnreachable`.  Cancelled, it leaves no pod.
    """
    launch = secrets.token_hex(8)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    delay = 0.1
    taken: set[str] = set()
    name = ""
    # Whether an answer was lost, so that a pod of that name may be our own.
    unsure = False
    try:
        while True:
            if not name:
                name = _lowest(cluster, taken)
                cluster.claimed.add(name)
            body = pod_manifest(name, spec, labels, agent)
            body["metadata"]["annotations"][LAUNCH] = launch
            try:
                pod = await _post(cluster, body)
            except asyncio.CancelledError:
                unsure = True
                raise
            except ClusterRefused as error:
                waited = loop.time() - begun
                if error.status == 409 and error.code == "AlreadyExists":
                    mine = await _own(cluster, name, launch) if unsure else None
                    if mine is not None:
                        unsure = False
                        return mine
                    taken.add(name)
                    cluster.claimed.discard(name)
                    name, unsure = "", False
                    continue
                if error.status not in (*TRANSIENT, 409) or waited > _TRANSIENT_WITHIN:
                    raise not_accepted(error) from None
                unsure = unsure or error.status != 409
            except ClusterUnreachable:
                unsure = True
                if loop.time() - begun > _UNREACHABLE_WITHIN:
                    raise
            else:
                cluster.pods.observe(pod)
                unsure = False
                return pod
            # Again under the same name, since that is where a lost answer's pod would be.
            await asyncio.sleep(delay)
            delay = min(delay * 2, 2.0)
    finally:
        if unsure:
            await asyncio.shield(_withdraw_own(cluster, name, launch))
        cluster.claimed.discard(name)


async def _post(cluster: Cluster, body: Mapping[str, Any]) -> dict[str, Any]:
    # A field of the profile that the cluster does not know is refused, not dropped.
    query = [("fieldValidation", "Strict")]
    request = asyncio.ensure_future(cluster.client.request("POST", "pods", body=body, query=query))
    try:
        return await asyncio.shield(request)
    finally:
        # Not to be cancelled half way: whether there is a pod must be known.
        if not request.done():
            await asyncio.wait((request,))


async def _own(cluster: Cluster, name: str, launch: str) -> dict[str, Any] | None:
    """The pod of that name if it is this launch's: the first answer may have been lost."""
    try:
        pod = await cluster.client.request("GET", "pods", name)
    except ClusterRefused as error:
        if error.status != 404:
            raise
        return None
    cluster.pods.observe(pod)
    annotations = pod["metadata"].get("annotations") or {}
    return pod if annotations.get(LAUNCH) == launch else None


async def _withdraw_own(cluster: Cluster, name: str, launch: str) -> None:
    try:
        pod = await _own(cluster, name, launch)
    except GraError as error:
        log.warning("Whether %s was made is not known: %s", name, error.message)
        return
    if pod is not None:
        await withdraw(cluster, pod)


async def withdraw(cluster: Cluster, pod: Mapping[str, Any]) -> None:
    """Remove the pod of a launch that failed.  The launch's own error is what matters."""
    meta = pod["metadata"]
    try:
        await delete_pod(cluster, meta["name"], meta["uid"], grace=1.0)
    except GraError as error:
        log.warning(
            "%s was not removed (%s). It ends by its time to live.",
            meta["name"],
            error.message,
        )


def is_provided(cluster: Cluster, agent: str) -> bool:
    """Whether the ConfigMap is there for certain enough: a pod that misses it says so later."""
    if agent not in cluster.provided and any(
        (pod["metadata"].get("annotations") or {}).get(AGENT) == agent
        for pod in cluster.pods.objects()
    ):
        cluster.provided.add(agent)
    return agent in cluster.provided


async def provide_agent(cluster: Cluster, agent: str, archive: bytes) -> None:
    """Create the ConfigMap with the agent, unless it is there."""
    try:
        await cluster.client.request("POST", "configmaps", body=agent_config_map(archive))
    except ClusterRefused as error:
        if error.code != "AlreadyExists":
            raise not_accepted(error) from None
    cluster.provided.add(agent)


async def provide_claim(cluster: Cluster, claim: Mapping[str, Any]) -> None:
    """Create the claim of a workspace that is kept, unless it is there."""
    try:
        await cluster.client.request("POST", "persistentvolumeclaims", body=claim)
    except ClusterRefused as error:
        if error.code != "AlreadyExists":
            raise not_accepted(error) from None


def not_accepted(error: ClusterRefused) -> RunnerStartError:
    """The refusal as the failure of a launch."""
    return RunnerStartError(
        f"The cluster did not accept the runner. {error.message}",
        hint=error.hint,
        reason=error.code,
        details=error.details,
    )


def _lowest(cluster: Cluster, taken: set[str]) -> str:
    number = 1
    while (
        (name := f"runner-{number}") in taken
        or name in cluster.claimed
        or cluster.pods.by_name(name) is not None
    ):
        number += 1
    return name
