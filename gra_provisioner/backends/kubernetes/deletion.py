"""The end of a runner's pod: asked for, waited for, and of those that nobody asks for any more."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Mapping
from typing import Any

from ...errors import ClusterRefused, GraError
from ...owner import this_client
from ...runner import Runner
from .cluster import Cluster
from .deaths import node_trouble
from .naming import DELETED_BY, START_TIMEOUT
from .podview import deleting, epoch, mappings, text
from .reflector import bounded

log = logging.getLogger(__name__)

# How long a finished runner stays, for whoever asks why it ended.
_KEEP_FINISHED = 3600.0
# A pod whose launch was abandoned is left for this long beyond its own bound.
_ABANDONED_AFTER = 600.0
# What a kubelet may need beyond the grace, and how often the pod itself is asked for meanwhile.
_CONFIRMED_WITHIN = 15.0
_LOOK_EVERY = 5.0


async def delete_pod(cluster: Cluster, name: str, uid: str, grace: float) -> None:
    """Say who deletes it, unless somebody has before, and delete it.

    A pod that is gone or another is let be.
    """
    note = {"metadata": {"uid": uid, "annotations": {DELETED_BY: this_client(os.environ)}}}
    if not deleting(cluster.pods.by_uid(name, uid)):
        with contextlib.suppress(ClusterRefused):
            # Without the right to patch, only the explanation is lost.
            pod = await cluster.client.request(
                "PATCH", "pods", name, body=note, content_type="application/merge-patch+json"
            )
            cluster.pods.observe(pod)
    options = {
        "kind": "DeleteOptions",
        "apiVersion": "v1",
        "gracePeriodSeconds": max(1, round(grace)),
        "preconditions": {"uid": uid},
    }
    try:
        await cluster.client.request("DELETE", "pods", name, body=options)
    except ClusterRefused as error:
        if error.status not in (404, 409):
            raise


async def until_gone(cluster: Cluster, runner: Runner, grace: float) -> None:
    """Wait until the pod is gone; bounded, because a lost node never confirms it."""
    changed = asyncio.Event()
    loop = asyncio.get_running_loop()
    deadline = loop.time() + grace + _CONFIRMED_WITHIN
    await cluster.pods.synced()
    with cluster.pods.listening(lambda kind, pod: changed.set()):
        while (pod := cluster.pods.by_uid(runner.name, runner.uid)) is not None:
            changed.clear()
            left = deadline - loop.time()
            if left <= 0 or (deleting(pod) and node_trouble(pod, ()) is not None):
                log.warning(
                    "%s is being deleted, but its node has not confirmed that it ended",
                    runner.name,
                )
                return
            with contextlib.suppress(asyncio.TimeoutError):
                await bounded(changed.wait(), min(left, _LOOK_EVERY))
            if not changed.is_set():
                await look_again(cluster, runner)


async def look_again(cluster: Cluster, runner: Runner) -> None:
    """Bring the copy of one pod up to date."""
    try:
        pod = await cluster.client.request("GET", "pods", runner.name)
    except ClusterRefused as error:
        if error.status != 404:
            raise
        cluster.pods.observe_gone(runner.name, runner.uid)
    else:
        cluster.pods.observe(pod)


async def prune(cluster: Cluster, now: float) -> None:
    """Remove runners that ended long ago, and those whose launch nobody waits for.

    ``now`` is in seconds since the epoch.
    """
    for pod in cluster.pods.objects():
        if not is_prunable(pod, now):
            continue
        meta = pod["metadata"]
        try:
            await delete_pod(cluster, meta["name"], meta["uid"], grace=1.0)
        except GraError as error:
            log.info("%s was not pruned: %s", meta["name"], error.message)
            return


def is_prunable(pod: Mapping[str, Any], now: float) -> bool:
    """Whether a runner's pod can be removed: it ended over an hour ago, or never started.

    ``now`` is in seconds since the epoch.
    """
    if deleting(pod):
        return False
    created = epoch(pod, "metadata", "creationTimestamp") or now
    phase = text(pod, "status", "phase")
    if phase in ("Succeeded", "Failed"):
        # A pod that its node sent back, or that was evicted, may have no word of its containers.
        states = mappings(pod, "status", "containerStatuses")
        times = [epoch(state, "state", "terminated", "finishedAt") for state in states]
        changes = mappings(pod, "status", "conditions")
        times += [epoch(change, "lastTransitionTime") for change in changes]
        return now - max([time for time in times if time], default=created) > _KEEP_FINISHED
    if phase == "Pending":
        return now - created > start_timeout(pod) + _ABANDONED_AFTER
    return False


def start_timeout(pod: Mapping[str, Any]) -> float:
    """How long its start may take, in seconds, as its maker has noted."""
    try:
        return float(text(pod, "metadata", "annotations", START_TIMEOUT))
    except ValueError:
        # Not gra's word.
        return 0.0
