"""How long a user waits for a kernel in a pod, and how long thirty of them do."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from jupyter_client.manager import AsyncKernelManager

from gra_provisioner.backends.kubernetes.client import Client
from gra_provisioner.backends.kubernetes.kubeconfig import Target
from gra_provisioner.backends.kubernetes.manifest import agent_name, pod_manifest
from gra_provisioner.backends.kubernetes.reflector import Reflector
from gra_provisioner.profiles import load_config, resolve
from gra_provisioner.progress import LaunchProgress
from gra_provisioner.runner import RunnerSpec
from gra_provisioner.service import RunnerService, labels_of_this_process
from tests.benchmarks.clusters import place_in_cluster
from tests.benchmarks.figures import Bar, Row, Summary, Table, percentile
from tests.benchmarks.options import Sizes
from tests.support.cluster import Cluster
from tests.support.places import Places
from tests.support.pods import PodRunners

_WITHIN = 180.0
_LIMIT = 1.0
_BOUND = "bare pod + 1.2 x python3"
_BARE = "bare"


async def measure(places: Places, sizes: Sizes) -> list[Table]:
    """The tables of this benchmark; none where this host can have no test cluster."""
    with place_in_cluster("A launch in a pod") as place:
        if place is None:
            return []
        with _configured(places, place.cluster, place.namespace):
            return [*await _one_at_a_time(sizes), await _all_at_once(sizes.pods_at_once)]


@contextmanager
def _configured(places: Places, cluster: Cluster, namespace: str) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(PodRunners(places, cluster, namespace).environment())
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


async def _one_at_a_time(sizes: Sizes) -> list[Table]:
    config = load_config(os.environ)
    spec = resolve(config, {})
    bare: list[float] = []
    local: list[float] = []
    gra: list[float] = []
    phases: list[list[dict[str, Any]]] = []
    named = config.kubernetes
    target = Target(named.context or "", named.namespace or "", named.kubeconfig or "")
    client = Client(target, os.environ)
    await client.open()
    pods = Reflector(client, "pods", "")
    try:
        await pods.synced()
        # Files are read, bytecode is there, and so is the agent's ConfigMap, from now on.
        await _kernel("gra")
        agent = next(iter(await _agents(client)))
        for _ in range(sizes.pod_rounds):
            bare.append(await _bare_pod(client, pods, spec, agent))
            local.append(await _kernel("python3"))
            gra.append(await _kernel("gra"))
            phases.append(await _phases(config, spec))
    finally:
        await pods.close()
        await client.close()
    bound = [pod + 1.2 * kernel for pod, kernel in zip(bare, local, strict=True)]
    values = {
        "bare pod": Summary.of(bare, "s"),
        "python3": Summary.of(local, "s"),
        "gra": Summary.of(gra, "s"),
        f"gra / ({_BOUND})": Summary.ratio(gra, bound),
    }
    total = Table(
        "Launch in a pod",
        "gra: AsyncKernelManager.start_kernel, client.wait_for_ready, and the reply to `1+1`, the "
        "kernel in a new pod on the test cluster (one node, image present), list and watch of the "
        "runners included. bare pod: the same pod, its command only sleeping, from the request "
        "that creates it until the condition Ready is seen by a watch. python3: the same ipykernel "
        f"by jupyter_client's LocalProvisioner. {len(gra)} rounds after one to warm up.",
        [Row("launch to first result", values, [Bar(f"gra / ({_BOUND})", _LIMIT)])],
    )
    return [total, _shares(phases)]


async def _agents(client: Client) -> list[str]:
    answer = await client.request("GET", "configmaps")
    names = [item["metadata"]["name"] for item in answer["items"]]
    return [name for name in names if name.startswith(agent_name(""))]


async def _bare_pod(client: Client, pods: Reflector, spec: RunnerSpec, agent: str) -> float:
    """Seconds from the request to Ready; the pod is gone at the end."""
    body = pod_manifest("runner-1", spec, labels_of_this_process(), agent)
    body["metadata"]["name"] = _BARE
    body["metadata"]["labels"] = {}
    container = body["spec"]["containers"][0]
    container["args"] = []
    container["command"] = [spec.pod.python, "-I", "-S", "-c", "import time; time.sleep(600)"]
    begun = time.perf_counter()
    await client.request("POST", "pods", body=body)
    await _until(pods, lambda pod: pod is not None and _is_ready(pod))
    taken = time.perf_counter() - begun
    await client.request("DELETE", "pods", _BARE, query=[("gracePeriodSeconds", "0")])
    await _until(pods, lambda pod: pod is None)
    return taken


async def _until(pods: Reflector, done: Any) -> None:
    changed = asyncio.Event()
    with pods.listening(lambda kind, pod: changed.set()):
        while not done(pods.by_name(_BARE)):
            changed.clear()
            await asyncio.wait_for(changed.wait(), _WITHIN)


def _is_ready(pod: Any) -> bool:
    conditions = pod["status"].get("conditions") or ()
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


async def _kernel(name: str) -> float:
    """Seconds from the call to the first result; the kernel is shut down at the end."""
    manager = AsyncKernelManager(kernel_name=name)
    begun = time.perf_counter()
    try:
        await manager.start_kernel()
        client = manager.client()
        client.start_channels()
        try:
            await client.wait_for_ready(timeout=_WITHIN)
            await _first_result(client)
            return time.perf_counter() - begun
        finally:
            client.stop_channels()
    finally:
        await manager.shutdown_kernel(now=True)


async def _first_result(client: Any) -> None:
    request = client.execute("1+1")
    while True:
        reply = await client.get_shell_msg(timeout=_WITHIN)
        if reply["parent_header"].get("msg_id") == request:
            return


async def _phases(config: Any, spec: RunnerSpec) -> list[dict[str, Any]]:
    async with RunnerService.from_config(config) as service:
        with LaunchProgress([]) as progress:
            attachment = await service.launch(spec, labels_of_this_process(), on_phase=progress)
        await attachment.delete()
    return progress.timings()


def _shares(launches: Sequence[Sequence[dict[str, Any]]]) -> Table:
    names = list(dict.fromkeys(one["phase"] for launch in launches for one in launch))
    rows = []
    for name in names:
        seconds = [
            sum(one["seconds"] for one in launch if one["phase"] == name) for launch in launches
        ]
        totals = [sum(one["seconds"] for one in launch) for launch in launches]
        share = [100 * part / whole for part, whole in zip(seconds, totals, strict=True)]
        times = Summary.of([1000 * one for one in seconds], "ms")
        rows.append(Row(name, {"time": times, "share": Summary.of(share, "%")}))
    return Table(
        "Phases of a launch in a pod",
        "What `gra create` shows: from the request until the kernel listens. The agent is dialled "
        "at the end of the phase starting.",
        rows,
    )


async def _all_at_once(count: int) -> Table:
    begun = time.perf_counter()
    results = await asyncio.gather(*(_kernel("gra") for _ in range(count)), return_exceptions=True)
    whole = time.perf_counter() - begun
    times = [one for one in results if isinstance(one, float)]
    for failure in (one for one in results if isinstance(one, BaseException)):
        print(f"a launch failed: {failure}")
    values = {
        "failed": Summary.of([float(count - len(times))], "launches"),
        "p50": Summary.of([percentile(times, 50)], "s"),
        "p95": Summary.of([percentile(times, 95)], "s"),
        "all, shutdown included": Summary.of([whole], "s"),
    }
    return Table(
        "Many launches at once",
        f"{count} kernels started at the same moment by one process, each to the reply to `1+1`. "
        "The machine's cores bound it: each is an ipykernel that imports its modules.",
        [Row(f"{count} launches", values, [Bar("failed", 0.0)])],
    )
