"""A server on the loopback that answers as an API server, with the faults a real one has rarely."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from aiohttp import web

from gra_provisioner.backends.kubernetes.client import Client
from gra_provisioner.backends.kubernetes.kubeconfig import Target

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
PREFIX = "/api/v1/namespaces/default/"

# What :func:`client_of` says who it is.
TOKEN = "a-s3cr3t-token"


def kubeconfig(path: Path, server: str, user: Mapping[str, Any]) -> Path:
    """Write a kubeconfig for ``server``, without TLS."""
    content = {
        "current-context": "x",
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": dict(user)}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
    }
    path.write_text(json.dumps(content))
    return path


@contextlib.asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """The address of a server that gives all its requests to ``handler``."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def client_of(handler: Handler, folder: Path) -> AsyncIterator[Client]:
    """A client of such a server."""
    async with serving(handler) as server:
        config = kubeconfig(folder / "config", server, {"token": TOKEN})
        client = Client(Target(kubeconfig=str(config)), {})
        try:
            yield client
        finally:
            await client.close()


def status(code: int, reason: str, message: str = "so it is") -> web.Response:
    """A refusal."""
    body = {"kind": "Status", "code": code, "reason": reason, "message": message}
    return web.json_response(body, status=code)


class Watch:
    """The answer to a watch, written bit by bit."""

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self._response = web.StreamResponse()

    async def begin(self) -> None:
        """Accept it."""
        await self._response.prepare(self._request)

    async def send(self, kind: str, item: Mapping[str, Any]) -> None:
        """One event."""
        line = json.dumps({"type": kind, "object": item}).encode() + b"\n"
        await self._response.write(line)

    async def bookmark(self, version: int, *, ends_the_list: bool = False) -> None:
        """A bookmark."""
        meta: dict[str, Any] = {"resourceVersion": str(version)}
        if ends_the_list:
            meta["annotations"] = {"k8s.io/initial-events-end": "true"}
        await self.send("BOOKMARK", {"metadata": meta})

    async def cut(self) -> web.StreamResponse:
        """Lose the connection in the middle of a line, as a proxy that goes on as if it ended."""
        await self._response.write(b'{"type": "ADDED", "obj')
        await self._response.write_eof()
        return self._response

    async def end(self) -> web.StreamResponse:
        """End it as the server does after its time."""
        await self._response.write_eof()
        return self._response

    async def stay(self) -> web.StreamResponse:
        """Say nothing more until the client goes."""
        await asyncio.Event().wait()
        return self._response


def pod(name: str, version: int, uid: str = "") -> dict[str, Any]:
    """As little of a pod as the list of runners needs."""
    meta = {"name": name, "uid": uid or f"uid of {name}", "resourceVersion": str(version)}
    return {"metadata": meta}
