"""The measuring client, a process of its own: ``python -m tests.benchmarks.measuring``.

It shares neither interpreter nor GIL with what it measures.  Requests and answers are lines of
JSON on stdin and stdout; each public function is a request.  Times are seconds.
"""

from __future__ import annotations

import json
import math
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import zmq
from jupyter_client.session import Session

from tests.benchmarks.content import INCOMPRESSIBLE, pieces, pool_of
from tests.benchmarks.tcp_server import (
    DONE,
    DOWN,
    ECHO,
    GO,
    HEADER,
    HOLD,
    READY,
    UP,
    drain,
    fill,
    read_exactly,
)

Connection = Mapping[str, Any]
# A host and a port.
Address = tuple[str, int]

_BLOCK = 1 << 18
_WARM_UP = 20
_DIAL_WITHIN = 30.0
# How long a transfer may stand still.
_MOVE_WITHIN = 60.0
_BEAT_EVERY = 0.02
_ANSWER_WITHIN_MS = 60_000
_SYNC_EVERY_MS = 100
_SYNC_TRIES = 300

_context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()


def _dial(
    address: Address, wanted: bytes, size: int, block: int, kind: bytes = INCOMPRESSIBLE
) -> socket.socket:
    """A connection whose other end is ready."""
    # JSON knows no tuples.
    host, port = address
    connection = socket.create_connection((host, port), timeout=_DIAL_WITHIN)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(HEADER.pack(wanted, kind, size, block))
    if connection.recv(1) != READY:
        connection.close()
        raise RuntimeError(f"nothing answers behind {address}")
    connection.settimeout(_MOVE_WITHIN)
    return connection


def ping(address: Address, count: int, size: int) -> list[float]:
    """Send ``size`` bytes and wait for their echo, ``count`` times; the time of each."""
    payload = bytes(size)
    buffer = memoryview(bytearray(size))
    times = []
    with _dial(address, ECHO, 0, size) as connection:
        connection.sendall(GO)
        for number in range(_WARM_UP + count):
            start = time.perf_counter()
            connection.sendall(payload)
            if not read_exactly(connection, buffer):
                raise RuntimeError(f"the echo of {address} ended after {number} round trips")
            times.append(time.perf_counter() - start)
    return times[_WARM_UP:]


def first_byte(address: Address, count: int) -> list[float]:
    """Connect and wait for the first byte, ``count`` times; the time of each."""
    times = []
    for _ in range(count):
        start = time.perf_counter()
        with _dial(address, ECHO, 0, 1):
            times.append(time.perf_counter() - start)
    return times


def transfer(
    address: Address, up: bool, size: int, streams: int, kind: str = INCOMPRESSIBLE.decode()
) -> float:
    """Move ``size`` bytes over ``streams`` connections at once; the time until all are there."""
    share, content = size // streams, kind.encode()
    pool_of(content)
    wanted = UP if up else DOWN
    connections = [_dial(address, wanted, share, _BLOCK, content) for _ in range(streams)]
    failures: list[str] = []

    def move(connection: socket.socket) -> None:
        with connection:
            connection.sendall(GO)
            if up:
                fill(connection, content, share, _BLOCK)
                done = connection.recv(1) == DONE
            else:
                done = drain(connection, share, _BLOCK) == share
            ends.append(time.perf_counter())
        if not done:
            failures.append(f"a connection to {address} ended early")

    ends: list[float] = []
    start = time.perf_counter()
    threads = [threading.Thread(target=move, args=(one,)) for one in connections]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures or len(ends) < streams:
        raise RuntimeError("; ".join(failures) or f"a connection to {address} failed")
    return max(ends) - start


def stall(address: Address, up: bool, size: int, seconds: float) -> int:
    """Have ``size`` bytes wait for a reader that reads nothing; how many this end got rid of."""
    with _dial(
        address, HOLD if up else DOWN, math.ceil(seconds) if up else size, _BLOCK
    ) as connection:
        connection.sendall(GO)
        if not up:
            time.sleep(seconds)
            return 0
        deadline = time.monotonic() + seconds
        sent = 0
        for piece in pieces(INCOMPRESSIBLE, size, _BLOCK):
            while piece:
                connection.settimeout(max(0.01, deadline - time.monotonic()))
                try:
                    count = connection.send(piece)
                except (TimeoutError, ConnectionError):
                    return sent
                sent += count
                piece = piece[count:]
    return sent


def beat(address: Address, gap: float, within: float) -> float | None:
    """Ask for an echo all the time, until one comes after none came for ``gap`` seconds.

    The time on the system's monotonic clock; None if the connection ended or none came ``within``.
    """
    done = threading.Event()

    def ask() -> None:
        try:
            while not done.wait(_BEAT_EVERY):
                connection.sendall(b"x")
        except OSError:
            # The reader sees why.
            return

    with _dial(address, ECHO, 0, 1) as connection:
        connection.sendall(GO)
        asking = threading.Thread(target=ask)
        asking.start()
        heard = time.monotonic()
        deadline = heard + within
        try:
            while heard < deadline:
                connection.settimeout(max(0.01, deadline - time.monotonic()))
                if not connection.recv(_BLOCK):
                    return None
                before, heard = heard, time.monotonic()
                if heard - before >= gap:
                    return heard
        except (TimeoutError, ConnectionError):
            return None
        finally:
            done.set()
            connection.settimeout(0.1)
            asking.join()
    return None


def _connect(kind: int, port: int) -> zmq.Socket[bytes]:
    sock = _context.socket(kind)
    sock.linger = 0
    sock.rcvhwm = 0
    sock.connect(f"tcp://127.0.0.1:{port}")
    return sock


def _session(connection: Connection) -> Session:
    return Session(key=connection["key"].encode(), signature_scheme=connection["signature_scheme"])


def _wait_for_reply(shell: zmq.Socket[bytes], what: str) -> None:
    if not shell.poll(_ANSWER_WITHIN_MS):
        raise RuntimeError(f"waited {_ANSWER_WITHIN_MS / 1000:g} s for the reply to a {what}")
    shell.recv_multipart()


def kernel_info(connection: Connection, count: int) -> list[float]:
    """Ask for kernel_info over one DEALER socket, ``count`` times; the time of each."""
    session = _session(connection)
    times = []
    with _connect(zmq.DEALER, connection["shell_port"]) as shell:
        for _ in range(_WARM_UP + count):
            request = session.serialize(session.msg("kernel_info_request"))
            start = time.perf_counter()
            shell.send_multipart(request)
            _wait_for_reply(shell, "kernel_info_request")
            times.append(time.perf_counter() - start)
    return times[_WARM_UP:]


def _synchronise(session: Session, shell: zmq.Socket[bytes], iopub: zmq.Socket[bytes]) -> None:
    """Return once messages of the stub kernel arrive on ``iopub``."""
    iopub.subscribe(b"stream")
    for _ in range(_SYNC_TRIES):
        session.send(shell, "sync_request")
        _wait_for_reply(shell, "sync_request")
        if iopub.poll(_SYNC_EVERY_MS):
            while iopub.poll(_SYNC_EVERY_MS):
                iopub.recv_multipart()
            return
    raise RuntimeError("nothing of what the kernel publishes arrives")


def subscribe(connection: Connection, count: int, size: int) -> float:
    """Have the stub kernel publish; the time from the request to the last message."""
    session = _session(connection)
    with (
        _connect(zmq.DEALER, connection["shell_port"]) as shell,
        _connect(zmq.SUB, connection["iopub_port"]) as iopub,
    ):
        _synchronise(session, shell, iopub)
        iopub.rcvtimeo = _ANSWER_WITHIN_MS
        start = time.perf_counter()
        session.send(shell, "publish_request", {"count": count, "size": size})
        for _ in range(count):
            iopub.recv_multipart()
        elapsed = time.perf_counter() - start
        _wait_for_reply(shell, "publish_request")
    return elapsed


def hold(connection: Connection) -> bool:
    """Connect to all channels of a stub kernel, as a client does, and stay connected."""
    kinds = {"stdin": zmq.DEALER, "control": zmq.DEALER, "hb": zmq.REQ}
    _held.extend(_connect(kind, connection[f"{name}_port"]) for name, kind in kinds.items())
    shell = _connect(zmq.DEALER, connection["shell_port"])
    iopub = _connect(zmq.SUB, connection["iopub_port"])
    _synchronise(_session(connection), shell, iopub)
    _held.extend((shell, iopub))
    return True


_held: list[zmq.Socket[bytes]] = []

_REQUESTS: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (ping, first_byte, transfer, stall, beat, kernel_info, subscribe, hold)
}


def main() -> None:
    """Answer requests until stdin ends."""
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(_REQUESTS[request.pop("do")](**request)), flush=True)


if __name__ == "__main__":
    main()
