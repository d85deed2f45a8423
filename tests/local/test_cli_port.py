"""``gra port``: what listens in a runner is reached from this machine."""

from __future__ import annotations

import json
import random
import signal
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from tests.support.cli import GRA, gra, read_line, stop
from tests.support.runners import Runners

pytestmark = pytest.mark.gra_only

_BOUND = 60.0
# Gives back what it gets, and says so at the end of that.
_ECHO = """
import socketserver

class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(65536):
            self.request.sendall(data)
        self.request.sendall(b"that was all")

class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 50

with Server(("127.0.0.1", 0), Echo) as server:
    print(server.server_address[1], flush=True)
    server.serve_forever()
"""


@pytest.fixture
def runner(runners: Runners) -> Iterator[str]:
    """A runner without a kernel."""
    created = gra("create", "--no-kernel")
    assert created.returncode == 0, created.stderr
    name = created.stdout.strip()
    yield name
    gra("delete", name)


@pytest.fixture
def echo(runner: str) -> Iterator[int]:
    """The port of a server in the runner."""
    with subprocess.Popen(
        [*GRA, "exec", "--file", "-", runner],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(_ECHO.encode())
        process.stdin.close()
        try:
            yield int(read_line(process.stdout, "the server's port"))
        finally:
            stop(process, signal.SIGTERM, "the server to end")


@contextmanager
def _forwarded(runner: str, *ports: str) -> Iterator[tuple[subprocess.Popen[bytes], list[int]]]:
    """``gra port`` while the block runs, and the local ports."""
    with subprocess.Popen(
        [*GRA, "port", "--json", runner, *ports],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
    ) as process:
        try:
            assert process.stdout is not None
            said = json.loads(read_line(process.stdout, "the ports"))
            assert (said["runner"], said["address"]) == (runner, "127.0.0.1")
            yield process, [pair["local"] for pair in said["ports"]]
        finally:
            stop(process, signal.SIGINT, "gra port to end")


def _through(port: int, data: bytes) -> bytes:
    """What comes back for ``data`` and its end."""
    with (
        socket.create_connection(("127.0.0.1", port), _BOUND) as connection,
        ThreadPoolExecutor(1) as pool,
    ):

        def send() -> None:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)

        sending = pool.submit(send)
        received = b""
        while block := connection.recv(1 << 16):
            received += block
        sending.result()
        return received


def test_many_connections_to_a_server_in_the_runner(runner: str, echo: int) -> None:
    with _forwarded(runner, f"0:{echo}", f"0:{echo}") as (process, (one, other)):
        data = random.Random(1).randbytes(5 << 20)
        assert _through(one, data) == data + b"that was all"

        with ThreadPoolExecutor(20) as pool:
            words = [b"%d" % number for number in range(40)]
            answers = pool.map(_through, [one, other] * 20, words)
            assert list(answers) == [word + b"that was all" for word in words]

        assert stop(process, signal.SIGINT, "gra port to end") == 0


@pytest.mark.same_with_pods("the connection is refused by the same agent")
def test_a_port_where_nobody_listens_closes_the_connection_and_says_so(runner: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        nobody = server.getsockname()[1]
    with (
        _forwarded(runner, f"0:{nobody}") as (process, (local,)),
        socket.create_connection(("127.0.0.1", local), _BOUND) as connection,
    ):
        assert connection.recv(1) == b""
        assert process.stderr is not None
        assert f"port {nobody} of the runner" in read_line(process.stderr, "why")


@pytest.mark.same_with_pods("nothing is asked of the runner")
def test_a_local_port_that_is_taken_is_told(runner: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        done = gra("port", runner, f"{taken}:80")

    assert done.returncode == 1
    assert f"127.0.0.1:{taken} cannot be listened on: Address already in use" in done.stderr
    assert "Reason: PortUnavailable" in done.stderr


def test_the_runners_end_ends_it_with_the_reason(runner: str) -> None:
    with _forwarded(runner, "0:80") as (process, _):
        assert gra("delete", runner).returncode == 0
        assert process.wait(_BOUND) in {3, 6}
        assert process.stderr is not None
        assert json.loads(process.stderr.read())["reason"] in {"RunnerNotFound", "RunnerEnded"}


@pytest.mark.parametrize("port", ["0", "65536", "http", "80:", "a:80", "1:2:3", "-1:80"])
@pytest.mark.same_with_pods("nothing is asked of a runner")
def test_what_is_no_port_is_refused(port: str) -> None:
    done = gra("port", "runner-1", "--", port)

    assert done.returncode == 2
    assert "is no port" in " ".join(done.stderr.replace("│", " ").split())
