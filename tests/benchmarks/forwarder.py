"""Forwards a local port to one in a pod: ``python -m tests.benchmarks.forwarder WAY JSON``.

A process of its own for each, so that its CPU and memory are those of the way.  ``JSON`` has the
fields of :class:`Far`.  The port is printed; it serves until stdin ends.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import asdict, dataclass
from functools import partial
from socket import SHUT_WR, create_server, socket
from typing import Any

import aiohttp

# Read at a time, by every way that is ours to choose for.
_BLOCK = 1 << 18


@dataclass(frozen=True)
class Far:
    """A port in a runner's pod, and how to get there."""

    kubeconfig: str
    kubectl: str
    namespace: str
    pod: str
    container: str
    port: int

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    def kubectl_command(self, *words: str) -> list[str]:
        """kubectl, for the pod's namespace."""
        return [
            self.kubectl,
            "--kubeconfig",
            self.kubeconfig,
            "--namespace",
            self.namespace,
            *words,
        ]


# -- gra ------------------------------------------------------------------------------------


@asynccontextmanager
async def _gra(far: Far) -> AsyncIterator[int]:
    """One session of gra's tunnel for all connections."""
    from gra_provisioner.backends.kubernetes.backend import KubernetesBackend
    from gra_provisioner.backends.kubernetes.kubeconfig import Target
    from gra_provisioner.tunnel.client import Tunnel
    from gra_provisioner.tunnel.forward import PortForward

    backend = KubernetesBackend(Target(namespace=far.namespace, kubeconfig=far.kubeconfig), {})
    try:
        runner = await backend.get(far.pod)
        tunnel = Tunnel(partial(backend.dial, runner), observer=True)
        forward = PortForward(tunnel, "127.0.0.1")
        try:
            await tunnel.connect()
            yield await forward.listen(far.port)
        finally:
            await forward.close()
    finally:
        await backend.close()


# -- the yardstick: a websocket for each connection, and nothing else ------------------------


@asynccontextmanager
async def _websocket(far: Far) -> AsyncIterator[int]:
    from kubernetes import client, config

    config.load_kube_config(far.kubeconfig)
    found = client.Configuration.get_default_copy()
    tls = ssl.create_default_context(cafile=found.ssl_ca_cert)
    if found.cert_file:
        tls.load_cert_chain(found.cert_file, found.key_file)
    authorization = found.get_api_key_with_prefix("authorization")
    headers = {"Authorization": authorization} if authorization else {}
    path = f"/api/v1/namespaces/{far.namespace}/pods/{far.pod}/portforward?ports={far.port}"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        websocket = await session.ws_connect(
            found.host + path, protocols=("v4.channel.k8s.io",), max_msg_size=0
        )
        up = asyncio.create_task(_to_websocket(reader, websocket))
        try:
            await _from_websocket(websocket, writer)
        finally:
            up.cancel()
            await websocket.close()
            writer.transport.abort()

    connector = aiohttp.TCPConnector(ssl=tls, limit=0)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=_BLOCK)
        yield server.sockets[0].getsockname()[1]
        server.close()


async def _to_websocket(
    reader: asyncio.StreamReader, websocket: aiohttp.ClientWebSocketResponse[Any]
) -> None:
    try:
        while data := await reader.read(_BLOCK):
            await websocket.send_bytes(b"\0" + data)
    except ConnectionError:
        # A client that was stopped in the middle.
        pass
    await websocket.close()


async def _from_websocket(
    websocket: aiohttp.ClientWebSocketResponse[Any], writer: asyncio.StreamWriter
) -> None:
    # The first message of either channel says the port.
    greetings = 2
    async for message in websocket:
        if message.type is not aiohttp.WSMsgType.BINARY:
            return
        if greetings and len(message.data) == 3:
            greetings -= 1
            continue
        try:
            writer.write(memoryview(message.data)[1:])
            await writer.drain()
        except ConnectionError:
            return


# -- the official client ---------------------------------------------------------------------


@asynccontextmanager
async def _official(far: Far) -> AsyncIterator[int]:
    """``kubernetes.stream.portforward``, which gives a socket; two threads join it with ours."""
    from kubernetes import client, config
    from kubernetes.stream import portforward

    config.load_kube_config(far.kubeconfig)
    # It replaces a method of the API client while it dials.
    dialling = threading.Lock()
    api = client.CoreV1Api()

    def serve(local: socket) -> None:
        with dialling:
            forward = portforward(
                api.connect_get_namespaced_pod_portforward,
                far.pod,
                far.namespace,
                ports=str(far.port),
            )
        remote = forward.socket(far.port)
        up = threading.Thread(target=_pump, args=(local, remote), daemon=True)
        up.start()
        _pump(remote, local)
        up.join()
        local.close()

    yield _accept(serve)


def _pump(source: Any, sink: Any) -> None:
    try:
        while data := source.recv(_BLOCK):
            sink.sendall(data)
        sink.shutdown(SHUT_WR)
    except OSError:
        # Either end was closed in the middle.
        return


# -- kubectl exec ----------------------------------------------------------------------------


@asynccontextmanager
async def _exec(far: Far) -> AsyncIterator[int]:
    """``kubectl exec -i`` for each connection, which is its stdin and stdout."""
    from gra_provisioner.backends.kubernetes.manifest import AGENT_PATH

    words = ["exec", "-i", far.pod, f"--container={far.container}", "--"]
    words += ["python3", "-I", "-S", AGENT_PATH, "bridge", "--port", str(far.port)]
    command = far.kubectl_command(*words)

    def serve(local: socket) -> None:
        with local:
            subprocess.run(command, stdin=local.fileno(), stdout=local.fileno(), check=False)

    yield _accept(serve)


def _accept(serve: Callable[[socket], None]) -> int:
    """Serve each connection in a thread until the process ends; the port."""
    server = create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            connection, _ = server.accept()
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    port: int = server.getsockname()[1]
    return port


WAYS: dict[str, Callable[[Far], AbstractAsyncContextManager[int]]] = {
    "gra": _gra,
    "websocket": _websocket,
    "official": _official,
    "exec": _exec,
}


async def _main(way: str, far: Far) -> None:
    async with WAYS[way](far) as port:
        print(json.dumps({"port": port}), flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], Far(**json.loads(sys.argv[2]))))
