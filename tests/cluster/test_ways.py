"""The subprotocols of port-forward: the agent is reached by each, and nothing is lost in it."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator, Callable
from functools import partial

import pytest

from gra_provisioner.backends.kubernetes.backend import KubernetesBackend
from gra_provisioner.backends.kubernetes.client import Client
from gra_provisioner.backends.kubernetes.forwarding import PORT_FORWARDS, forward_port
from gra_provisioner.backends.kubernetes.kubeconfig import Target
from gra_provisioner.backends.kubernetes.manifest import AGENT_PORT
from gra_provisioner.runner import Runner
from gra_provisioner.tunnel.client import Tunnel
from gra_provisioner.tunnel.process import RemoteProcess, kept_of, stream_to_end
from tests.benchmarks.clusters import pod_spec
from tests.support.agents import LABELS, Pipe
from tests.support.cluster import Cluster

SIZE = 8 << 20
# More than is looked at before a turn.
MUCH = 48 << 20


@pytest.fixture
async def backend(cluster: Cluster, namespace: str) -> AsyncIterator[KubernetesBackend]:
    backend = KubernetesBackend(Target(namespace=namespace, kubeconfig=str(cluster.kubeconfig)), {})
    yield backend
    await backend.close()


@pytest.fixture
async def runner(cluster: Cluster, backend: KubernetesBackend) -> AsyncIterator[Runner]:
    """A pod with an agent that is known to listen."""
    made = await backend.create(pod_spec(cluster.image("python")), LABELS)
    tunnel = Tunnel(partial(backend.dial, made))
    await tunnel.connect()
    yield made
    await tunnel.close()
    await backend.delete(made, grace=0.0)


@pytest.fixture
async def client(cluster: Cluster, namespace: str) -> AsyncIterator[Client]:
    target = Target(namespace=namespace, kubeconfig=str(cluster.kubeconfig))
    client = Client(target, {})
    await client.open()
    yield client
    await client.close()


@pytest.mark.parametrize("protocol", PORT_FORWARDS)
async def test_all_that_is_sent_to_a_runner_and_back_arrives(
    runner: Runner, client: Client, protocol: str
) -> None:
    async def dial(factory: object) -> asyncio.Transport:
        return await forward_port(client, runner.name, AGENT_PORT, factory, protocol=protocol)

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


async def test_much_that_goes_one_way_goes_by_what_is_quicker_for_it(
    runner: Runner, backend: KubernetesBackend
) -> None:
    asked: list[bool] = []

    async def dial(
        factory: Callable[[], asyncio.Protocol], *, mostly_sends: bool = False
    ) -> asyncio.Transport:
        asked.append(mostly_sends)
        return await backend.dial(runner, factory, mostly_sends=mostly_sends)

    async def run(argv: list[str], stdin: bytes) -> bytes:
        process = RemoteProcess(dial)
        await process.start(argv)
        try:
            done = await kept_of(stream_to_end(process, runner.name, stdin=stdin), MUCH)
        finally:
            await process.close()
        return done.stdout.head + done.stdout.tail

    data = random.Random(MUCH).randbytes(MUCH)
    count = "import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())"
    digest = await run(["python3", "-c", count], data)
    assert digest.decode().strip() == hashlib.sha256(data).hexdigest()
    assert asked == [False, True]

    asked.clear()
    assert await run(["head", "-c", str(MUCH), "/dev/zero"], b"") == bytes(MUCH)
    assert asked == [False], "what comes from a runner comes by the first way"
