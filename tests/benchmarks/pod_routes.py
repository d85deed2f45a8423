"""The ways to a port in a pod that are compared, each a process of its own on this side."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

import psutil

from gra_provisioner.agent.stream import Stream
from gra_provisioner.backends.kubernetes.backend import KubernetesBackend
from gra_provisioner.backends.kubernetes.kubeconfig import Target
from gra_provisioner.service import labels_of_this_process
from gra_provisioner.tunnel.client import Tunnel
from tests.benchmarks.clusters import MODULES_NAME, Place, pod_spec, provide_modules
from tests.benchmarks.forwarder import Far
from tests.benchmarks.processes import Helper, cpu_of_family, python, running
from tests.cluster import lifecycle
from tests.support.waiting import until_async

DIRECT, KUBECTL, OFFICIAL = "pod IP", "kubectl port-forward", "Python client"
EXEC, BARE, GRA = "kubectl exec", "bare websocket", "gra"
ALL = (KUBECTL, GRA, BARE, OFFICIAL, EXEC, DIRECT)

_FORWARDERS = {GRA: "gra", BARE: "websocket", OFFICIAL: "official", EXEC: "exec"}
_LOCAL = "127.0.0.1"
_SERVER = ("python3", "-m", "tests.benchmarks.tcp_server", "0.0.0.0")  # noqa: S104
_SETTLE_WITHIN = 10.0


@dataclass(frozen=True)
class PodRoute:
    """One way: where to connect to, and the process that carries it, if there is one."""

    address: tuple[str, int]
    pid: int | None

    def cpu(self) -> float:
        """CPU seconds that the client's side has used so far."""
        return 0.0 if self.pid is None else cpu_of_family(self.pid)

    def memory(self) -> float:
        """RSS of the client's side in MiB."""
        if self.pid is None:
            return 0.0
        process = psutil.Process(self.pid)
        family = [process, *process.children(recursive=True)]
        return sum(float(one.memory_info().rss) for one in family) / 2**20

    async def settled(self) -> None:
        """Wait until processes for single connections are gone."""
        if self.pid is not None:
            process = psutil.Process(self.pid)
            await until_async(lambda: not process.children(), "kubectl to end", _SETTLE_WITHIN)


@dataclass(frozen=True)
class Served:
    """A pod in which the server of the TCP benchmarks runs."""

    far: Far
    address: tuple[str, int]


@asynccontextmanager
async def server_in_pod(place: Place) -> AsyncIterator[Served]:
    """A runner in a pod, in which gra's exec has started the server."""
    provide_modules(place)
    spec = pod_spec(place.cluster.image("python"), modules=MODULES_NAME)
    backend = KubernetesBackend(Target(namespace=place.namespace, kubeconfig=place.kubeconfig), {})
    try:
        runner = await backend.create(spec, labels_of_this_process())
        tunnel = Tunnel(partial(backend.dial, runner))
        await tunnel.connect()
        try:
            port = json.loads(await _first_line(tunnel, _SERVER))["port"]
            # Its status, which has its address, comes a little later than the agent's answer.
            pod = place.cluster.kubectl_json(
                *("--namespace", place.namespace, "wait", f"pod/{runner.name}"),
                *("--for=condition=Ready", "--timeout=60s"),
            )
            far = Far(
                kubeconfig=place.kubeconfig,
                kubectl=str(lifecycle.kubectl(place.layout)),
                namespace=place.namespace,
                pod=runner.name,
                container=pod["spec"]["containers"][0]["name"],
                port=port,
            )
            yield Served(far, (pod["status"]["podIP"], port))
        finally:
            await tunnel.close()
            await backend.delete(runner, grace=0.0)
    finally:
        await backend.close()


async def _first_line(tunnel: Tunnel, argv: Iterable[str]) -> bytes:
    """Start a process in the runner, which runs for as long as the tunnel; what it says first."""
    started = await tunnel.request("exec.start", {"argv": list(argv)})
    reader = _LineReader()
    tunnel.open({"kind": "exec", "exec": started["exec"], "fd": "stdio"}, reader.take)
    tunnel.open({"kind": "exec", "exec": started["exec"], "fd": "stderr"}, _LineReader().take)
    return await asyncio.wait_for(reader.line, _SETTLE_WITHIN)


class _LineReader:
    """The handler of a process's output, of which the first line is of interest."""

    def __init__(self) -> None:
        self.line: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        # Of a process that ends without a word nobody may want to hear.
        self.line.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._said = b""
        self._stream: Stream | None = None

    def take(self, stream: Stream) -> _LineReader:
        self._stream = stream
        return self

    def on_data(self, data: memoryview) -> None:
        self._said += data
        if self._stream is not None:
            self._stream.consumed(len(data))
        if b"\n" in self._said and not self.line.done():
            self.line.set_result(self._said)

    def on_finish(self) -> None:
        if not self.line.done():
            self.line.set_exception(RuntimeError("the process ended"))

    def on_reset(self, reason: str, message: str) -> None:
        self.on_finish()

    def on_drain(self) -> None:
        """Nothing is written."""


@asynccontextmanager
async def routes_to(
    served: Served, names: Iterable[str] = ALL, prefix: Sequence[str] = ()
) -> AsyncIterator[dict[str, PodRoute]]:
    """New processes for all ways but the direct one.  ``prefix`` as in :func:`.python`."""
    far = served.far
    async with AsyncExitStack() as stack:
        helpers: dict[str, Helper] = {}
        for name in names:
            if name == KUBECTL:
                words = ["port-forward", f"--address={_LOCAL}", f"pod/{far.pod}", f":{far.port}"]
                process = running([*prefix, *far.kubectl_command(*words)], KUBECTL, quiet=True)
            elif name in _FORWARDERS:
                arguments = (_FORWARDERS[name], far.to_json())
                process = python(
                    "tests.benchmarks.forwarder",
                    *arguments,
                    # Others' libraries complain where a connection is ended in the middle.
                    quiet=name in (OFFICIAL, EXEC),
                    prefix=prefix,
                )
            else:
                continue
            helpers[name] = await stack.enter_async_context(process)
        routes = {}
        for name in names:
            if name == DIRECT:
                routes[name] = PodRoute(served.address, None)
                continue
            helper = helpers[name]
            if name == KUBECTL:
                # It says: Forwarding from 127.0.0.1:37533 -> 40001.
                port = int((await helper.line()).split(" -> ")[0].rpartition(":")[2])
            else:
                port = (await helper.read())["port"]
            routes[name] = PodRoute((_LOCAL, port), helper.pid)
        yield routes
