"""Runners that are pods of a real API server, and nothing else: no node ever runs them.

Thousands of real pods need hundreds of nodes.  What a list costs depends on the objects only: they
are gra's own manifests, held back by a scheduling gate, with the status that a kubelet gives to a
running pod.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from gra_provisioner.backends.kubernetes.client import Client
from gra_provisioner.backends.kubernetes.kubeconfig import Target
from gra_provisioner.backends.kubernetes.manifest import pod_manifest
from gra_provisioner.runner import Resources, RunnerLabels, RunnerSpec

_AT_ONCE = 24
_STATUS = "application/merge-patch+json"


@contextlib.asynccontextmanager
async def api_client(kubeconfig: Path, namespace: str) -> AsyncIterator[Client]:
    """A client for a namespace while the block runs."""
    client = Client(Target("", namespace, str(kubeconfig)), {})
    await client.open()
    try:
        yield client
    finally:
        await client.close()


@contextlib.contextmanager
def fake_runners(
    kubeconfig: Path, namespace: str, count: int, owner: str = "ada"
) -> Iterator[None]:
    """Runners 1 to ``count`` of Ada's while the block runs, also in a thread with a loop."""

    async def make() -> None:
        async with api_client(kubeconfig, namespace) as client:
            await make_fake_pods(client, range(1, count + 1))

    async def remove() -> None:
        async with api_client(kubeconfig, namespace) as client:
            await remove_all_pods(client)

    with ThreadPoolExecutor(1) as elsewhere:
        try:
            elsewhere.submit(asyncio.run, make()).result()
            yield
        finally:
            elsewhere.submit(asyncio.run, remove()).result()


async def remove_all_pods(client: Client) -> None:
    """Remove all pods of the namespace with one request; no node has to be asked."""
    await client.request("DELETE", "pods")


async def make_fake_pods(client: Client, numbers: Iterable[int], owner: str = "ada") -> None:
    """A pod ``runner-N`` for each number, which looks as if it ran."""
    spec = RunnerSpec("small", Resources(2.0, 2 << 30, 40 << 30))
    turns = asyncio.Semaphore(_AT_ONCE)

    async def one(number: int) -> None:
        labels = RunnerLabels(owner, f"kernel-{number}", "gra", f"work/{number}.ipynb", "laptop")
        name = f"runner-{number}"
        pod = pod_manifest(name, spec, labels, "gra-agent-none")
        pod["spec"]["schedulingGates"] = [{"name": "example.com/never"}]
        async with turns:
            await client.request("POST", "pods", body=pod)
            await client.request(
                "PATCH", f"pods/{name}", "status", body=_running(pod), content_type=_STATUS
            )

    await asyncio.gather(*map(one, numbers))


def _running(pod: Mapping[str, Any]) -> dict[str, Any]:
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    conditions = [
        {"type": kind, "status": "True", "lastTransitionTime": now}
        for kind in ("PodScheduled", "Initialized", "ContainersReady", "Ready")
    ]
    container = pod["spec"]["containers"][0]
    state = {
        "name": container["name"],
        "image": container["image"],
        "imageID": f"{container['image']}@sha256:{'0' * 64}",
        "ready": True,
        "started": True,
        "restartCount": 0,
        "state": {"running": {"startedAt": now}},
    }
    return {
        "status": {
            "phase": "Running",
            "podIP": "10.0.0.1",
            "startTime": now,
            "conditions": conditions,
            "containerStatuses": [state],
        }
    }
