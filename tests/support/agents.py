"""Runners without Jupyter: agents of the local backend, and what a raw peer says to one."""

from __future__ import annotations

import json
import os
import socket
import socketserver
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from gra_provisioner.agent import wire
from gra_provisioner.agent.stream import Stream
from gra_provisioner.backends.local import LocalBackend
from gra_provisioner.runner import Buffers, Resources, Runner, RunnerLabels, RunnerSpec, Ttl
from gra_provisioner.tunnel.client import Tunnel
from tests.support.kernelspecs import IPYKERNEL_ARGV
from tests.support.places import Places
from tests.support.waiting import WaitTimeout, until_async

TTL = Ttl()
BUFFERS = Buffers()
LABELS = RunnerLabels(owner="tester")
PYTHON = sys.executable
BOUND = 30.0


def spec(
    *,
    ttl: Ttl = TTL,
    buffers: Buffers = BUFFERS,
    kernel_argv: tuple[str, ...] = IPYKERNEL_ARGV,
) -> RunnerSpec:
    """What a test's runner is to be."""
    resources = Resources(cpu=1, memory=2**30, ephemeral_storage=2**30)
    return RunnerSpec("test", resources, kernel_argv=kernel_argv, ttl=ttl, buffers=buffers)


def folder_of(places: Places, runner: Runner) -> Path:
    """Where a runner keeps its files."""
    return places.runners / runner.name


@asynccontextmanager
async def running_agent(
    places: Places, what: RunnerSpec | None = None, python: str = PYTHON
) -> AsyncIterator[tuple[LocalBackend, Runner]]:
    """A runner of the local backend while the block runs."""
    backend = LocalBackend(places.gra_state, python)
    runner = await backend.create(what or spec(), LABELS)
    try:
        yield backend, runner
    finally:
        await backend.delete(runner, grace=2.0)
        await backend.close()


@asynccontextmanager
async def connected_tunnel(
    backend: LocalBackend,
    runner: Runner,
    on_event: Callable[[str, dict[str, Any]], None] = lambda name, data: None,
    *,
    observer: bool = False,
) -> AsyncIterator[Tunnel]:
    """A tunnel to a runner while the block runs."""
    tunnel = Tunnel(partial(backend.dial, runner), on_event, observer=observer)
    await tunnel.connect()
    try:
        yield tunnel
    finally:
        await tunnel.close()


class Pipe:
    """Uses one stream of a tunnel: keeps what comes and lets a test wait for it."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.data = b""
        self.finished = False
        self.reset: tuple[str, str] | None = None

    @classmethod
    def open(cls, tunnel: Tunnel, **target: Any) -> Pipe:
        """A new stream to ``target``."""
        made: list[Pipe] = []

        def handler(stream: Stream) -> Pipe:
            made.append(cls(stream))
            return made[0]

        tunnel.open(target, handler)
        return made[0]

    def write(self, data: bytes) -> None:
        self.stream.write(data)

    def finish(self) -> None:
        self.stream.finish()

    async def ended(self, what: str) -> bytes:
        """Everything, once the other end has finished or reset the stream."""
        await until_async(lambda: self.finished or self.reset, f"the end of {what}", BOUND)
        return self.data

    async def until(self, text: bytes) -> None:
        """Wait until ``text`` has come."""
        try:
            await until_async(lambda: text in self.data, f"{text!r}", BOUND)
        except WaitTimeout as error:
            raise WaitTimeout(f"{text!r}; so far came {self.data[-300:]!r}", BOUND) from error

    def on_data(self, data: memoryview) -> None:
        self.data += data
        self.stream.consumed(len(data))

    def on_finish(self) -> None:
        self.finished = True

    def on_reset(self, reason: str, message: str) -> None:
        self.reset = (reason, message)

    def on_drain(self) -> None:
        """Tests write little."""


def hello(session: str = "raw", **changes: Any) -> dict[str, Any]:
    """What a client of this version says first."""
    value: dict[str, Any] = {
        "version": wire.VERSION,
        "session": session,
        "epoch": 1,
        "window": 1 << 20,
        "highest": 1,
        "streams": {"1": 0},
    }
    return {**value, **changes}


class RawPeer:
    """A plain socket to an agent, for what no client of ours would say."""

    def __init__(self, folder: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            # Blocking, as it fails else where the agent has not accepted the last ones yet.
            self.socket.connect(f"/proc/self/fd/{fd}/agent.sock")
            self.socket.settimeout(BOUND)
        finally:
            os.close(fd)

    def __enter__(self) -> RawPeer:
        return self

    def __exit__(self, *error: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send, if the agent has not closed the connection yet."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return

    def greet(self, value: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        """Say HELLO; the kind and the content of the answer."""
        self.send(wire.PREFACE + wire.pack_json(wire.HELLO, dict(value)))
        greeting = wire.Greeting()
        while True:
            data = self.socket.recv(1 << 16)
            if not data:
                raise AssertionError("the agent closed the connection and gave no answer")
            answer = greeting.feed(data)
            if answer is not None:
                return answer[0], answer[1]

    def is_closed_by_peer(self) -> bool:
        """Wait until the agent closes the connection; False if it does not."""
        try:
            while self.socket.recv(1 << 16):
                pass
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False
        return True

    def request(self, line: bytes, offset: int = 0) -> dict[str, Any]:
        """Write on the control stream; the first line that is no event."""
        self.send(wire.pack(wire.DATA, 1, offset, line + b"\n"))
        return self.response()

    def response(self) -> dict[str, Any]:
        """The next line on the control stream that is no event."""
        collector = _Lines()
        decoder = wire.FrameDecoder(collector)
        deadline = time.monotonic() + BOUND
        while time.monotonic() < deadline:
            decoder.feed(self.socket.recv(1 << 16))
            *whole, _ = collector.data.split(b"\n")
            for line in whole:
                value: dict[str, Any] = json.loads(line)
                if "event" not in value:
                    return value
        raise WaitTimeout(f"an answer on the control stream (got {collector.data!r})", BOUND)


class _Lines:
    def __init__(self) -> None:
        self.data = b""

    def on_frame(self, kind: int, stream: int, offset: int, payload: bytes) -> None:
        """Acknowledgements and the like."""

    def on_data(self, stream: int, offset: int, piece: memoryview) -> None:
        self.data += piece


def resident(pid: int) -> int:
    """The memory of a process in bytes (VmRSS)."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


async def kernel_answers(tunnel: Tunnel) -> dict[str, Any]:
    """Start a kernel in the runner; the answer to ``kernel.start``.

    It is of the standard library only and says on iopub, once and again, that it is idle.
    """
    args = {"argv": ["python", "-c", FAKE_KERNEL, "{connection_file}"], "key": "k"}
    answer: dict[str, Any] = await tunnel.request("kernel.start", args, timeout=BOUND)
    return answer


# Listens on all five ports, greets who comes to iopub as a PUB socket, and stays.
FAKE_KERNEL = """
import json, select, socket, struct, sys
info = json.load(open(sys.argv[1]))
listeners = {}
for name in ("shell", "iopub", "stdin", "control", "hb"):
    listeners[name] = socket.socket()
    listeners[name].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listeners[name].bind(("127.0.0.1", info[name + "_port"]))
    listeners[name].listen(10)
greeting = b"\\xff" + bytes(8) + b"\\x7f\\x03\\x00" + b"NULL".ljust(20, b"\\0") + bytes(32)
body = b"\\x05READY\\x0bSocket-Type" + struct.pack(">I", 3) + b"PUB"
ready = bytes((4, len(body))) + body
kept = []
while True:
    found, _, _ = select.select(list(listeners.values()), [], [])
    for listener in found:
        connection, _ = listener.accept()
        kept.append(connection)
        if listener is listeners["iopub"]:
            connection.sendall(greeting + ready)
"""


@contextmanager
def echo_server() -> Iterator[int]:
    """A TCP server that sends back what it gets, and ends after who asked has; its port."""

    class Echo(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            while data := self.request.recv(1 << 16):
                self.request.sendall(data)
            self.request.sendall(b"<end>")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join(BOUND)
