"""Whatever comes to an agent's socket: it lives on, serves, and stays small."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from itertools import repeat

import pytest

from gra_provisioner.agent import wire
from gra_provisioner.errors import GraError, ProtocolMismatch, RequestError
from gra_provisioner.tunnel.client import Tunnel
from tests.support.agents import (
    Pipe,
    RawPeer,
    connected_tunnel,
    folder_of,
    hello,
    kernel_answers,
    resident,
    running_agent,
)
from tests.support.places import Places

pytestmark = [
    pytest.mark.gra_only,
    pytest.mark.local_only("the test holds the agent's process and its socket in its own hands"),
]

# What an agent may grow by while it is under attack, besides what it uses anyway.
_GROWTH = 24 << 20


def _mutilated(rng: random.Random) -> bytes:
    """A stream that is right up to some place, or nearly."""
    greeting = wire.PREFACE + wire.pack_json(wire.HELLO, hello(f"fuzz-{rng.random()}"))
    frames = b"".join(
        wire.pack(
            rng.choice([*range(12), wire.DATA, wire.OPEN]),
            rng.choice([0, 1, 2, 3, 2**32 - 1]),
            rng.choice([0, 1, 5, 2**40, 2**64 - 1]),
            rng.choice([b"", b"{}", b'{"kind":"tcp"}', b"garbage\n", rng.randbytes(30)]),
        )
        for _ in range(rng.randrange(8))
    )
    data = bytearray(greeting + frames if rng.random() < 0.8 else rng.randbytes(200))
    for _ in range(rng.choice([0, 0, 1, 3])):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data[: rng.randrange(len(data) + 1)] if rng.random() < 0.5 else data)


async def test_an_agent_survives_hundreds_of_garbled_connections(places: Places) -> None:
    seed = random.randrange(2**32)
    rng = random.Random(seed)
    print(f"seed {seed}")
    async with running_agent(places) as (backend, runner):
        assert runner.pid is not None
        async with connected_tunnel(backend, runner) as tunnel:
            await kernel_answers(tunnel)
            before = resident(runner.pid)
            for _ in range(400):
                with RawPeer(folder_of(places, runner)) as peer:
                    peer.send(_mutilated(rng))

            info = await tunnel.request("info")
            assert info["kernel"]["state"] == "idle", f"seed {seed}"
            assert resident(runner.pid) - before < _GROWTH, f"seed {seed}"
        # Faults of ours would have left a traceback.
        assert (folder_of(places, runner) / "agent.err").read_text() == "", f"seed {seed}"


async def test_two_hundred_silent_connections_disturb_nobody(places: Places) -> None:
    async with running_agent(places) as (backend, runner):
        assert runner.pid is not None
        with ExitStack() as stack:
            peers = [stack.enter_context(RawPeer(folder_of(places, runner))) for _ in range(200)]
            async with connected_tunnel(backend, runner) as tunnel:
                await kernel_answers(tunnel)
                assert (await tunnel.request("info"))["clients"] == 1
            assert len(peers) == 200


async def test_a_peer_that_says_nothing_is_shown_out(places: Places) -> None:
    async with running_agent(places) as (_, runner):
        with RawPeer(folder_of(places, runner)) as silent:
            assert silent.is_closed_by_peer()


async def test_a_client_of_another_version_is_told_so(places: Places) -> None:
    async with running_agent(places) as (_, runner):
        with RawPeer(folder_of(places, runner)) as peer:
            kind, answer = peer.greet(hello(version=99))

            assert kind == wire.REJECT
            assert answer["reason"] == "ProtocolMismatch"
            assert "99" in answer["message"]
            assert answer["hint"]
            assert answer["versions"] == [wire.VERSION]
            assert peer.is_closed_by_peer()


async def test_a_client_learns_that_the_versions_differ(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_agent(places) as (backend, runner):
        monkeypatch.setattr(wire, "VERSION", 99)
        with pytest.raises(ProtocolMismatch, match="99") as raised:
            async with connected_tunnel(backend, runner):
                pass

        assert raised.value.code == "ProtocolMismatch"
        assert "version of gra" in raised.value.hint


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"epoch": 5}, "SessionLost"),
        ({"epoch": 1, "resumes": True}, "SessionLost"),
        ({"epoch": "1"}, "BadRequest"),
        ({"epoch": None}, "BadRequest"),
        ({"session": 5}, "BadRequest"),
        ({"session": ""}, "BadRequest"),
        ({"session": "x" * 1000}, "BadRequest"),
        ({"version": None}, "ProtocolMismatch"),
        ({"version": "1"}, "ProtocolMismatch"),
    ],
    ids=repr,
)
async def test_a_wrong_hello_is_rejected(
    places: Places, changes: dict[str, object], reason: str
) -> None:
    async with running_agent(places) as (_, runner):
        with RawPeer(folder_of(places, runner)) as peer:
            kind, answer = peer.greet(hello(**changes))

            assert (kind, answer["reason"]) == (wire.REJECT, reason)


async def test_a_session_that_was_resumed_elsewhere_is_not_taken_back(places: Places) -> None:
    async with running_agent(places) as (_, runner):
        folder = folder_of(places, runner)
        with RawPeer(folder) as first, RawPeer(folder) as second, RawPeer(folder) as third:
            assert first.greet(hello("s", epoch=1))[0] == wire.HELLO
            assert second.greet(hello("s", epoch=2))[0] == wire.HELLO
            assert first.is_closed_by_peer()
            kind, answer = third.greet(hello("s", epoch=2))
            assert (kind, answer["reason"]) == (wire.REJECT, "SessionTaken")
            assert "result" in second.request(b'{"id": 1, "method": "info"}')


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"this is not JSON", "BadRequest"),
        (b"\xff\xfe", "BadRequest"),
        (b"[]", "BadRequest"),
        (b"[" * 100_000, "BadRequest"),
        (b'{"id": 1}', "BadRequest"),
        (b'{"id": 1, "method": 5}', "BadRequest"),
        (b'{"id": 1, "method": "info", "params": []}', "BadRequest"),
        (b'{"id": 1, "method": "make.coffee"}', "UnknownMethod"),
        (b'{"id": 1, "method": "kernel.start"}', "BadRequest"),
        (b'{"id": 1, "method": "kernel.start", "params": {"argv": "ls"}}', "BadRequest"),
        (b'{"id": 1, "method": "kernel.signal", "params": {"signum": 1e99}}', "BadRequest"),
        (b'{"id": 1, "method": "kernel.signal", "params": {"signum": 99999}}', "BadRequest"),
        (b'{"id": 1, "method": "kernel.connection"}', "NoKernel"),
        (b'{"id": 1, "method": "shutdown", "params": {"grace": -1}}', "BadRequest"),
        (b'{"id": 1, "method": "shutdown", "params": {"grace": NaN}}', "BadRequest"),
        (b'{"id": 1, "method": "exec.signal", "params": {"exec": 7, "signum": 9}}', ""),
        (b'{"id": 1, "method": "exec.resize", "params": {"exec": 7}}', "BadRequest"),
        (b'{"id": 1, "method": "exec.start", "params": {"argv": ["a\\u0000b"]}}', ""),
        (b'{"id": 1, "method": "exec.start", "params": {"argv": ["no-such-program"]}}', ""),
        (b'{"id": 1, "method": "exec.start", "params": {"argv": ["ls"], "tty": [0]}}', ""),
    ],
    ids=lambda value: value[:60].decode("latin-1") if isinstance(value, bytes) else "",
)
async def test_a_wrong_request_has_an_error_for_an_answer(
    places: Places, line: bytes, reason: str
) -> None:
    async with running_agent(places) as (_, runner):
        with RawPeer(folder_of(places, runner)) as peer:
            peer.greet(hello())
            answer = peer.request(line)

            assert answer["error"]["message"]
            assert answer["error"]["reason"] != "InternalError"
            assert reason in ("", answer["error"]["reason"])
            again = peer.request(b'{"id": 2, "method": "info"}', offset=len(line) + 1)
            assert again["id"] == 2
            assert "result" in again
        assert (folder_of(places, runner) / "agent.err").read_text() == ""


async def test_a_request_that_is_too_large_is_refused_at_once(places: Places) -> None:
    async with (
        running_agent(places) as (backend, runner),
        connected_tunnel(backend, runner) as tunnel,
    ):
        args = {"argv": ["true"], "env": {"LARGE": "x" * (9 << 20)}}
        with pytest.raises(RequestError, match=r"exec\.start") as raised:
            await tunnel.request("exec.start", args)

        assert raised.value.code == "RequestTooLarge"
        assert (await tunnel.request("info"))["clients"] == 1


async def test_a_line_without_end_is_cut_off_and_costs_no_memory(places: Places) -> None:
    async with running_agent(places) as (backend, runner):
        assert runner.pid is not None
        before = resident(runner.pid)
        with RawPeer(folder_of(places, runner)) as peer:
            peer.greet(hello())
            block = bytes(1 << 18)
            for number in range(100):
                peer.send(wire.pack(wire.DATA, 1, number * len(block), block))
        async with connected_tunnel(backend, runner) as tunnel:
            assert (await tunnel.request("info"))["clients"] == 1

        assert resident(runner.pid) - before < _GROWTH


def _is_held_up(peer: RawPeer, frames: Iterable[bytes]) -> bool:
    """Send for as long as the agent takes it; whether it stopped to."""
    peer.socket.settimeout(1.0)
    try:
        for frame in frames:
            peer.socket.sendall(frame)
    except (TimeoutError, ConnectionResetError, BrokenPipeError):
        return True
    return False


@pytest.mark.parametrize("line", [b"0", b"", b'{"method": "info"}'], ids=repr)
async def test_who_asks_without_reading_is_held_up(places: Places, line: bytes) -> None:
    async with running_agent(places) as (backend, runner):
        assert runner.pid is not None
        before = resident(runner.pid)
        with RawPeer(folder_of(places, runner)) as peer:
            peer.greet(hello(window=1 << 30))
            block = (line + b"\n") * ((1 << 16) // (len(line) + 1))
            frames = (wire.pack(wire.DATA, 1, n * len(block), block) for n in range(1000))
            assert _is_held_up(peer, frames)
            async with connected_tunnel(backend, runner) as tunnel:
                await tunnel.request("info")
            assert resident(runner.pid) - before < _GROWTH


async def test_who_pings_without_reading_is_held_up(places: Places) -> None:
    async with running_agent(places) as (backend, runner):
        assert runner.pid is not None
        before = resident(runner.pid)
        with RawPeer(folder_of(places, runner)) as peer:
            peer.greet(hello())
            block = wire.pack(wire.PING, 0, 7) * 10_000
            assert _is_held_up(peer, repeat(block, 1000))
            async with connected_tunnel(backend, runner) as tunnel:
                await tunnel.request("info")
            assert resident(runner.pid) - before < _GROWTH


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ({}, "BadRequest"),
        ({"kind": "telepathy"}, "BadRequest"),
        ({"kind": ["tcp"]}, "BadRequest"),
        ({"kind": "kernel"}, "BadRequest"),
        ({"kind": "kernel", "channel": "telepathy"}, "BadRequest"),
        ({"kind": "tcp"}, "BadRequest"),
        ({"kind": "tcp", "port": 0}, "BadRequest"),
        ({"kind": "tcp", "port": 70000}, "BadRequest"),
        ({"kind": "tcp", "port": "80"}, "BadRequest"),
        ({"kind": "exec"}, "BadRequest"),
        ({"kind": "exec", "exec": 9, "fd": "stdio"}, "NoSuchProcess"),
    ],
    ids=json.dumps,
)
async def test_a_wrong_target_is_refused(
    places: Places, target: dict[str, object], reason: str
) -> None:
    async with (
        running_agent(places) as (backend, runner),
        connected_tunnel(backend, runner) as tunnel,
    ):
        pipe = Pipe.open(tunnel, **target)
        pipe.write(b"anyone there?")
        await pipe.ended("a stream to nowhere")

        assert pipe.reset is not None
        assert pipe.reset[0] == reason
        assert pipe.reset[1]
        assert (await tunnel.request("info"))["clients"] == 1


async def test_what_listens_there_is_no_agent(places: Places) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    async def dial(factory: Callable[[], asyncio.Protocol]) -> asyncio.Transport:
        transport, _ = await asyncio.get_running_loop().create_connection(
            factory, "127.0.0.1", port
        )
        return transport

    tunnel = Tunnel(dial)
    try:
        with pytest.raises(GraError, match="no agent") as raised:
            await tunnel.connect()
        assert raised.value.code == "ProtocolMismatch"
        assert raised.value.hint
    finally:
        await tunnel.close()
        server.close()
