"""The subprotocols of port-forward: the agent is reached by each, and nothing is lost in it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from gra_provisioner.backends.kubernetes.backend import KubernetesBackend
from gra_provisioner.backends.kubernetes.client import Client
from gra_provisioner.backends.kubernetes.forwarding import PORT_FORWARDS, forward_port
from gra_provisioner.backends.kubernetes.kubeconfig import Target
from gra_provisioner.backends.kubernetes.manifest import AGENT_PORT
from gra_provisioner.tunnel.client import Tunnel
from tests.benchmarks.clusters import pod_spec
from tests.support.agents import LABELS, Pipe
from tests.support.cluster import Cluster

SIZE = 8 << 20


@pytest.fixture
async def pod(cluster: Cluster, namespace: str) -> AsyncIterator[str]:
    """The name of a pod with an agent that is known to listen."""
    target = Target(namespace=namespace, kubeconfig=str(cluster.kubeconfig))
    backend = KubernetesBackend(target, {})
    try:
        runner = await backend.create(pod_spec(cluster.image("python")), LABELS)
        tunnel = Tunnel(lambda factory: backend.dial(runner, factory))
        await tunnel.connect()
        yield runner.name
        await tunnel.close()
        await backend.delete(runner, grace=0.0)
    finally:
        await backend.close()


@pytest.fixture
async def client(cluster: Cluster, namespace: str) -> AsyncIterator[Client]:
    target = Target(namespace=namespace, kubeconfig=str(cluster.kubeconfig))
    client = Client(target, {})
    await client.open()
    yield client
    await client.close()


@pytest.mark.parametrize("protocol", PORT_FORWARDS)
async def test_all_that_is_sent_to_a_runner_and_back_arrives(
    pod: str, client: Client, protocol: str
) -> None:
    async def dial(factory: object) -> asyncio.Transport:
        return await forward_port(client, pod, AGENT_PORT, factory, protocol=protocol)

    data = random.Random(SIZE).randbytes(SIZE)
    tunnel = Tunnel(dial, observer=True)
    await tunnel.connect()
    try:
        started = await tunnel.request("exec.start", {"argv": ["cat"]})
        pipe = Pipe.open(tunnel, kind="exec", exec=started["exec"], fd="stdio")
        pipe.write(data)
        pipe.finish()

        assert await pipe.ended("what cat gives back") == data
        assert pipe.reset is None
    finally:
        await tunnel.close()
