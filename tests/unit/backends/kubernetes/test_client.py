"""Requests to an API server that something stands in front of, and credentials that change."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import picows
import pytest
from aiohttp import web

from gra_provisioner.backends.kubernetes import client as module
from gra_provisioner.backends.kubernetes.client import Client
from gra_provisioner.backends.kubernetes.kubeconfig import Target, load_credentials
from gra_provisioner.errors import ClusterRefused, ClusterUnreachable, KubeconfigError
from tests.unit.backends.kubernetes.fake_api import client_of, kubeconfig, serving, status

SECRET = "s3cr3t-token"


class Frames(picows.WSListener):
    """Keeps what comes on a websocket."""

    def __init__(self) -> None:
        super().__init__()
        self._frames: asyncio.Queue[bytes] = asyncio.Queue()
        self.get = self._frames.get

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        self._frames.put_nowait(frame.get_payload_as_bytes())


@pytest.mark.parametrize("body", [b"<html>log in</html>", b"\xff\xfe", b"[]", b""])
async def test_a_login_page_in_place_of_the_api_server_says_nothing_of_runners(
    tmp_path: Path, body: bytes
) -> None:
    async def page(request: web.Request) -> web.Response:
        return web.Response(body=body, content_type="text/html")

    async with client_of(page, tmp_path) as client:
        with pytest.raises(ClusterUnreachable, match="is not the API server"):
            await client.request("GET", "pods")
        with pytest.raises(ClusterUnreachable, match="is not the API server"):
            await client.websocket(
                "runner-1", "portforward", [("ports", "1")], Frames(), "v4.channel.k8s.io"
            )


async def test_a_refusal_in_no_known_encoding_is_a_refusal(tmp_path: Path) -> None:
    async def gateway(request: web.Request) -> web.Response:
        return web.Response(body=b"\xff\xfe", status=502, headers={"Content-Type": "text/html"})

    async with client_of(gateway, tmp_path) as client:
        with pytest.raises(ClusterRefused) as caught:
            await client.request("GET", "pods")
    assert caught.value.status == 502


async def test_a_name_is_never_more_than_a_name(tmp_path: Path) -> None:
    seen: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request.raw_path)
        return web.json_response({})

    async with client_of(handler, tmp_path) as client:
        await client.request("GET", "pods", "../secrets/a?b")
    assert seen == ["/api/v1/namespaces/default/pods/..%2Fsecrets%2Fa%3Fb"]


async def test_a_token_that_has_expired_is_read_anew_and_connections_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_RELOAD_EVERY", 0.0)
    valid = "0"
    peers: set[object] = set()

    async def handler(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        peers.add(request.transport.get_extra_info("peername"))
        if request.headers["Authorization"] != f"Bearer {valid}":
            return status(401, "Unauthorized")
        if request.path.endswith("portforward"):
            socket = web.WebSocketResponse(protocols=("v4.channel.k8s.io",))
            await socket.prepare(request)
            return socket
        return web.json_response({})

    async with serving(handler) as server:
        config = kubeconfig(tmp_path / "config", server, {"token": valid})
        client = Client(Target(kubeconfig=str(config)), {})
        try:
            for turn in range(5):
                valid = str(turn)
                kubeconfig(tmp_path / "config", server, {"token": valid})
                await client.request("GET", "pods")
            assert len(peers) == 1
            valid = "last"
            kubeconfig(tmp_path / "config", server, {"token": valid})
            socket = await client.websocket(
                "runner-1", "portforward", [("ports", "1")], Frames(), "v4.channel.k8s.io"
            )
            socket.disconnect()
        finally:
            await client.close()


async def test_requests_that_meet_expired_credentials_at_once_read_them_once(
    tmp_path: Path,
) -> None:
    valid = "first"
    arrived = asyncio.Barrier(3) if hasattr(asyncio, "Barrier") else None

    async def handler(request: web.Request) -> web.Response:
        if request.headers["Authorization"] == f"Bearer {valid}":
            return web.json_response({})
        if arrived is not None:
            await arrived.wait()
        return status(401, "Unauthorized")

    async with serving(handler) as server:
        config = kubeconfig(tmp_path / "config", server, {"token": "first"})
        client = Client(Target(kubeconfig=str(config)), {})
        try:
            await client.request("GET", "pods")
            valid = "second"
            kubeconfig(tmp_path / "config", server, {"token": "second"})
            client._loaded = float("-inf")
            await asyncio.gather(*(client.request("GET", "pods") for _ in range(3)))
        finally:
            await client.close()


async def test_a_client_that_was_closed_opens_nothing(tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.json_response({})

    async with client_of(handler, tmp_path) as client:
        await client.request("GET", "pods")
        await client.close()
        with pytest.raises(ClusterUnreachable, match="closed"):
            await client.request("GET", "pods")


async def test_plain_http_where_tls_is_expected_is_no_matter_of_trust(tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.json_response({})

    async with serving(handler) as server:
        address = server.replace("http:", "https:")
        config = kubeconfig(tmp_path / "config", address, {"token": "first"})
        client = Client(Target(kubeconfig=str(config)), {})
        try:
            with pytest.raises(ClusterUnreachable, match="cannot be reached"):
                await client.request("GET", "pods")
        finally:
            await client.close()


@pytest.mark.parametrize(
    ("user", "said"),
    [
        ({"exec": {"args": [SECRET]}}, "command"),
        (
            {
                "token": SECRET,
                "auth-provider": {"name": "oidc", "config": {"refresh-token": SECRET}},
            },
            "client-id",
        ),
    ],
)
async def test_a_kubeconfig_that_lacks_a_field_is_told_without_the_secrets_beside_it(
    tmp_path: Path, user: dict[str, object], said: str
) -> None:
    config = kubeconfig(tmp_path / "config", "https://127.0.0.1:1", user)
    with pytest.raises(KubeconfigError) as caught:
        await load_credentials(Target(kubeconfig=str(config)), {}, tmp_path)
    assert said in caught.value.message
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"users": [{"user": {"token": SECRET}}, {"name": "u"}]}, "users is to be a list of named"),
        ({"users": [{"name": "other", "user": {"token": SECRET}}]}, "there is no user 'u'"),
        ({"clusters": [{"name": "c", "cluster": {"insecure": True}}]}, "has no server"),
        (
            {
                "clusters": [
                    {
                        "name": "c",
                        "cluster": {"server": "https://a", "proxy-url": f"socks5://u:{SECRET}@p"},
                    }
                ]
            },
            "is not http but socks5",
        ),
    ],
)
async def test_what_is_wrong_in_a_kubeconfig_is_named(
    tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    config = kubeconfig(tmp_path / "config", "https://127.0.0.1:1", {"token": SECRET})
    config.write_text(json.dumps({**json.loads(config.read_text()), **changes}))
    with pytest.raises(KubeconfigError) as caught:
        await load_credentials(Target(kubeconfig=str(config)), {}, tmp_path)
    assert said in caught.value.message
    assert SECRET not in str(caught.value)


async def test_a_context_without_a_user_is_let_in_as_nobody(tmp_path: Path) -> None:
    config = kubeconfig(tmp_path / "config", "https://127.0.0.1:1", {})
    context = {"contexts": [{"name": "x", "context": {"cluster": "c"}}], "users": []}
    config.write_text(json.dumps({**json.loads(config.read_text()), **context}))
    found = await load_credentials(Target(kubeconfig=str(config)), {}, tmp_path)
    assert found.configuration.api_key == {}


async def test_a_websocket_is_given_up_when_its_handshake_is_never_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ANSWER_WITHIN", 0.2)

    async def handler(request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        return web.Response()

    async with client_of(handler, tmp_path) as client:
        with pytest.raises(ClusterUnreachable, match="did not answer in time"):
            await client.websocket(
                "runner-1", "portforward", [("ports", "1")], Frames(), "v4.channel.k8s.io"
            )


async def test_a_websocket_outlives_the_time_for_its_handshake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ANSWER_WITHIN", 0.2)

    async def handler(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(protocols=("v4.channel.k8s.io",))
        await socket.prepare(request)
        await asyncio.sleep(0.6)
        await socket.send_bytes(b"late")
        return socket

    frames = Frames()
    async with client_of(handler, tmp_path) as client:
        socket = await client.websocket(
            "runner-1", "portforward", [("ports", "1")], frames, "v4.channel.k8s.io"
        )
        assert await asyncio.wait_for(frames.get(), 5.0) == b"late"
        socket.disconnect()
