"""Toxiproxy: a TCP proxy that makes a network slow, small, stalling or broken, as it is told.

::

    with toxiproxy() as server:
        proxy = server.proxy("127.0.0.1:6443")
        ...                               # clients dial proxy.address
        with proxy.slow_link(megabits=50, latency=40):
            ...
        cut = proxy.limit_data(100)       # each connection ends after 100 bytes to the client
        proxy.remove(cut)
        proxy.drop()                      # all connections end, new ones are let in

Toxics change what connections that are there already carry from then on, and that of new ones.
Their kinds and attributes: https://github.com/Shopify/toxiproxy#toxics.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from tests.cluster import golang
from tests.cluster.layout import Layout
from tests.support.waiting import until

Direction = Literal["upstream", "downstream"]
Address = tuple[str, int]
Connect = Callable[[Address], socket.socket]

_LOOPBACK = "127.0.0.1"
_START_BOUND = 20.0
_ANSWER_BOUND = 10.0
_END_BOUND = 10.0


class ToxiproxyError(AssertionError):
    """Toxiproxy refused a request, or did not start.  The text is its own."""


def _connect(address: Address) -> socket.socket:
    return socket.create_connection(address, timeout=_ANSWER_BOUND)


class Server:
    """A running server, as seen through its HTTP API at ``port`` of 127.0.0.1."""

    def __init__(self, port: int, connect: Connect = _connect) -> None:
        self.port = port
        self._connect = connect
        self._names = (f"proxy-{number}" for number in itertools.count(1))

    def proxy(self, upstream: str, listen: str = f"{_LOOPBACK}:0") -> Proxy:
        """A new proxy before ``upstream``; both are "host:port", and port 0 means any."""
        made = self.request(
            "POST",
            "/proxies",
            {"name": next(self._names), "listen": listen, "upstream": upstream, "enabled": True},
        )
        return Proxy(self, made["name"], made["listen"])

    def version(self) -> str:
        return str(self.request("GET", "/version")["version"])

    def request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """A request of the API and its answer.  Raises :class:`ToxiproxyError`."""
        connection = http.client.HTTPConnection(_LOOPBACK, self.port, timeout=_ANSWER_BOUND)
        connection.sock = self._connect((_LOOPBACK, self.port))
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            response = connection.getresponse()
            answer = response.read().decode()
        finally:
            connection.close()
        if response.status >= 400:
            raise ToxiproxyError(f"{method} {path}: {response.status} {answer.strip()}")
        return json.loads(answer) if answer else None


class Proxy:
    """One address before another.

    ``stream`` of a toxic says which bytes it meets: those that go ``downstream``, to the client, or
    ``upstream``, to the server.
    """

    def __init__(self, server: Server, name: str, address: str) -> None:
        self.name = name
        #: Where it listens, as "host:port".
        self.address = address
        self._server = server
        self._numbers = itertools.count(1)

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    def add(self, kind: str, stream: Direction = "downstream", **attributes: int) -> str:
        """Add a toxic of this kind; its name."""
        name = f"{kind}-{stream}-{next(self._numbers)}"
        self._request(
            "POST",
            "/toxics",
            {"name": name, "type": kind, "stream": stream, "attributes": attributes},
        )
        return name

    def remove(self, toxic: str) -> None:
        """Remove a toxic by its name.  Connections that it held up carry on."""
        self._request("DELETE", f"/toxics/{toxic}")

    def clear(self) -> None:
        """Remove all toxics."""
        for toxic in self._request("GET", "/toxics"):
            self.remove(toxic["name"])

    @contextmanager
    def toxic(
        self, kind: str, stream: Direction = "downstream", **attributes: int
    ) -> Iterator[None]:
        """A toxic while the block runs."""
        name = self.add(kind, stream, **attributes)
        try:
            yield
        finally:
            self.remove(name)

    @contextmanager
    def slow_link(
        self, *, latency: int = 0, jitter: int = 0, megabits: float | None = None
    ) -> Iterator[None]:
        """A slow link while the block runs.

        ``latency`` is milliseconds of one way, so a round trip takes twice of it; ``jitter`` is the
        most that it differs by; ``megabits`` is the bandwidth of each direction in Mbit/s.
        """
        names = []
        try:
            for stream in ("upstream", "downstream"):
                if latency or jitter:
                    names.append(self.latency(latency, jitter, stream))
                if megabits is not None:
                    names.append(self.bandwidth(round(megabits * 1e6 / 8 / 1024), stream))
            yield
        finally:
            for name in names:
                self.remove(name)

    def latency(self, latency: int, jitter: int = 0, stream: Direction = "downstream") -> str:
        """Data comes later by ``latency`` ± ``jitter`` milliseconds."""
        return self.add("latency", stream, latency=latency, jitter=jitter)

    def bandwidth(self, rate: int, stream: Direction = "downstream") -> str:
        """At most ``rate`` KiB pass in a second."""
        return self.add("bandwidth", stream, rate=rate)

    def timeout(self, milliseconds: int = 0, stream: Direction = "downstream") -> str:
        """Data is swallowed, and after this time the connection ends; 0: when it is removed."""
        return self.add("timeout", stream, timeout=milliseconds)

    def reset_peer(self, milliseconds: int = 0, stream: Direction = "downstream") -> str:
        """Connections made from now on are reset (RST) after this time, others just end."""
        return self.add("reset_peer", stream, timeout=milliseconds)

    def limit_data(self, count: int, stream: Direction = "downstream") -> str:
        """Each connection ends after so many more bytes."""
        return self.add("limit_data", stream, bytes=count)

    def slicer(
        self, size: int, variation: int = 0, delay: int = 0, stream: Direction = "downstream"
    ) -> str:
        """Data comes in pieces of ``size`` ± ``variation`` bytes, ``delay`` microseconds apart."""
        return self.add("slicer", stream, average_size=size, size_variation=variation, delay=delay)

    def disable(self) -> None:
        """End all connections and let no new one in."""
        self._request("POST", "", {"enabled": False})

    def enable(self) -> None:
        """Let connections in again."""
        self._request("POST", "", {"enabled": True})

    def drop(self) -> None:
        """End all connections.  New ones are let in."""
        self.disable()
        self.enable()

    def _request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        return self._server.request(method, f"/proxies/{self.name}{path}", body)


def program() -> Path:
    """The server's program, built if it is not in the cache.

    Raises :class:`~tests.cluster.layout.ClusterError` if it cannot be built.
    """
    return golang.build(golang.toxiproxy(), Layout.of_user().cache) / "toxiproxy-server"


@contextmanager
def toxiproxy(prefix: Sequence[str] = (), connect: Connect = _connect) -> Iterator[Server]:
    """A server on a free port of 127.0.0.1 while the block runs.

    With ``prefix``, the words of a command that enters another network, it runs there; then
    ``connect`` makes connections from here to addresses there, and port 8474 is taken to be free.
    """
    port = 8474 if prefix else _free_port()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [*prefix, str(program()), "-host", _LOOPBACK, "-port", str(port)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "LOG_LEVEL": "warn"},
        )
        try:
            server = Server(port, connect)
            until(lambda: _answers(server, process, log.fileno()), "toxiproxy", _START_BOUND)
            yield server
        finally:
            process.terminate()
            try:
                process.wait(_END_BOUND)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(_END_BOUND)


def _answers(server: Server, process: subprocess.Popen[bytes], log: int) -> bool:
    if process.poll() is not None:
        said = os.pread(log, 4096, 0).decode(errors="replace")
        raise ToxiproxyError(f"toxiproxy ended with {process.returncode}:\n{said}")
    with contextlib.suppress(OSError, http.client.HTTPException):
        return bool(server.version())
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        return int(probe.getsockname()[1])
