"""Processes and ports in a runner, end to end through the tunnel."""

from __future__ import annotations

import asyncio
import signal
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gra_provisioner.errors import GraError
from gra_provisioner.tunnel.client import Tunnel
from tests.support.agents import Pipe, connected_tunnel, echo_server, running_agent
from tests.support.places import Places
from tests.support.processes import is_running
from tests.support.waiting import until_async

pytestmark = [
    pytest.mark.gra_only,
    pytest.mark.local_only("the test holds the agent's process and its socket in its own hands"),
]


@dataclass
class Client:
    """A tunnel to a runner and the events that came."""

    tunnel: Tunnel
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    async def start(self, *argv: str, **params: Any) -> tuple[int, Pipe]:
        """Start a process; its number and its stdio."""
        answer = await self.tunnel.request("exec.start", {"argv": list(argv), **params})
        number = int(answer["exec"])
        return number, Pipe.open(self.tunnel, kind="exec", exec=number, fd="stdio")

    def stderr(self, number: int) -> Pipe:
        return Pipe.open(self.tunnel, kind="exec", exec=number, fd="stderr")

    async def exit(self, number: int) -> tuple[int | None, int | None]:
        """Code and signal, once the agent has told of the exit."""

        def found() -> dict[str, Any] | None:
            for name, data in self.events:
                if name == "exec.exited" and data["exec"] == number:
                    return data
            return None

        data = await until_async(found, f"the exit of process {number}")
        assert data is not None
        return data["code"], data["signal"]


@pytest.fixture
async def client(places: Places) -> AsyncIterator[Client]:
    events: list[tuple[str, dict[str, Any]]] = []
    async with (
        running_agent(places) as (backend, runner),
        connected_tunnel(backend, runner, lambda name, data: events.append((name, data))) as tunnel,
    ):
        yield Client(tunnel, events)


async def test_stdout_stderr_and_exit_code_come_apart(client: Client) -> None:
    number, stdio = await client.start("sh", "-c", "echo out; echo err >&2; exit 7")
    stderr = client.stderr(number)

    assert await stdio.ended("stdout") == b"out\n"
    assert await stderr.ended("stderr") == b"err\n"
    assert await client.exit(number) == (7, None)


async def test_stdin_reaches_the_process_and_its_end_too(client: Client) -> None:
    number, stdio = await client.start("sh", "-c", "tr a-z A-Z; echo done")
    client.stderr(number)
    stdio.write(b"hello ")
    stdio.write(b"there\n")
    stdio.finish()

    assert await stdio.ended("stdout") == b"HELLO THERE\ndone\n"
    assert await client.exit(number) == (0, None)


async def test_many_megabytes_go_through_both_ways(client: Client) -> None:
    data = bytes(range(256)) * (20 << 12)
    number, stdio = await client.start("cat")
    client.stderr(number)
    for start in range(0, len(data), 1 << 20):
        stdio.write(data[start : start + (1 << 20)])
    stdio.finish()

    assert await stdio.ended("cat") == data


async def test_a_process_gets_directory_and_variables(client: Client) -> None:
    script = "pwd; echo $COLOUR"
    number, stdio = await client.start("sh", "-c", script, cwd="/", env={"COLOUR": "blue"})
    client.stderr(number)

    assert await stdio.ended("stdout") == b"/\nblue\n"


async def test_a_terminal_has_a_size_that_changes(client: Client) -> None:
    script = "stty size; while read -r line; do echo got $line; stty size; done"
    number, stdio = await client.start("bash", "-c", script, tty=[30, 100])
    await stdio.until(b"30 100")
    await client.tunnel.request("exec.resize", {"exec": number, "tty": [50, 120]})
    stdio.write(b"word\n")
    await stdio.until(b"got word")
    await stdio.until(b"50 120")
    # As ^D, so that the process reads an end.
    stdio.finish()

    assert await client.exit(number) == (0, None)


async def test_a_terminal_has_no_stderr_of_its_own(client: Client) -> None:
    # It is there for as long as its stderr is asked for.
    number, stdio = await client.start("sh", "-c", "echo err >&2; sleep 0.5", tty=[24, 80])
    stderr = client.stderr(number)

    await stderr.ended("the refused stream")
    assert stderr.reset is not None
    assert stderr.reset[0] == "NoSuchStream"
    assert await stdio.ended("the terminal") == b"err\r\n"


async def test_a_signal_ends_a_process(client: Client) -> None:
    number, stdio = await client.start("sh", "-c", "echo on; exec sleep 1000")
    client.stderr(number)
    await stdio.until(b"on")
    await client.tunnel.request("exec.signal", {"exec": number, "signum": signal.SIGTERM})

    assert await client.exit(number) == (None, signal.SIGTERM)


async def test_ctrl_c_on_a_terminal_interrupts(client: Client) -> None:
    number, stdio = await client.start("sh", "-c", "echo on; exec sleep 1000", tty=[24, 80])
    await stdio.until(b"on")
    stdio.write(b"\x03")

    assert await client.exit(number) == (None, signal.SIGINT)


async def test_a_process_is_hung_up_when_its_client_leaves(places: Places, client: Client) -> None:
    number, stdio = await client.start("sh", "-c", "echo $$; exec sleep 1000")
    client.stderr(number)
    await stdio.until(b"\n")
    pid = int(stdio.data)
    await client.tunnel.close()

    await until_async(lambda: not is_running(pid), "the client's process to end")


async def test_a_missing_program_is_named(client: Client) -> None:
    with pytest.raises(GraError, match="no-such-program") as raised:
        await client.start("no-such-program")
    assert raised.value.code == "ExecutableNotFound"
    assert raised.value.hint


async def test_another_clients_process_is_not_ours(places: Places) -> None:
    async with (
        running_agent(places) as (backend, runner),
        connected_tunnel(backend, runner) as mine,
        connected_tunnel(backend, runner) as other,
    ):
        answer = await mine.request("exec.start", {"argv": ["sleep", "1000"]})
        args = {"exec": answer["exec"], "signum": signal.SIGKILL}
        with pytest.raises(GraError, match="no running process"):
            await other.request("exec.signal", args)


async def test_a_port_in_the_runner_is_reached(client: Client) -> None:
    with echo_server() as port:
        pipe = Pipe.open(client.tunnel, kind="tcp", port=port)
        pipe.write(b"ping")
        await pipe.until(b"ping")
        pipe.write(b"pong")
        await pipe.until(b"pong")
        pipe.finish()

        assert await pipe.ended("the echo") == b"pingpong<end>"
        assert pipe.reset is None


async def test_a_client_that_says_all_at_once_gets_its_answer(client: Client) -> None:
    with echo_server() as port:
        pipe = Pipe.open(client.tunnel, kind="tcp", port=port)
        pipe.write(b"all I have to say")
        pipe.finish()

        assert await pipe.ended("the echo") == b"all I have to say<end>"
        assert pipe.reset is None


async def test_a_server_that_finishes_first_can_still_be_told(client: Client) -> None:
    heard = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"that was all")
        writer.write_eof()
        heard.set_result(await reader.read())
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        pipe = Pipe.open(client.tunnel, kind="tcp", port=port)
        assert await pipe.ended("the server's words") == b"that was all"
        pipe.write(b"thanks")
        pipe.finish()

        assert await asyncio.wait_for(heard, 30) == b"thanks"
        assert pipe.reset is None


async def test_connections_that_both_sides_have_ended_are_closed(
    places: Places, client: Client
) -> None:
    (record,) = places.runner_records().values()
    folder = Path(f"/proc/{record['agent_pid']}/fd")
    before = len(list(folder.iterdir()))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write_eof()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        for _ in range(20):
            pipe = Pipe.open(client.tunnel, kind="tcp", port=port)
            await pipe.ended("the server")
            pipe.finish()

        await until_async(
            lambda: len(list(folder.iterdir())) <= before, "the agent's connections to be closed"
        )


async def test_a_port_where_nobody_listens_is_refused(client: Client) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        pipe = Pipe.open(client.tunnel, kind="tcp", port=taken.getsockname()[1])
        pipe.write(b"anyone there?")
        await pipe.ended("the connection")

    assert pipe.reset is not None
    assert pipe.reset[0] == "ConnectionRefused"


async def test_a_server_that_hangs_up_is_told_from_one_that_finishes(client: Client) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        pipe = Pipe.open(client.tunnel, kind="tcp", port=port)
        pipe.write(b"x")
        await pipe.ended("the connection")

    assert pipe.reset is not None
    assert pipe.reset[0] == "ConnectionReset"
