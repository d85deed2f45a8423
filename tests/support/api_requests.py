"""Counts the requests that are made of the API server, on the way to it."""

from __future__ import annotations

import re
import socket
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.cli import read_line
from tests.support.cluster import Cluster

_REQUEST = re.compile(rb"(?:GET|POST|PUT|PATCH|DELETE) (/api\S*) HTTP/1\.1\r\n")
_LONGEST_HEAD = 4096


class RequestCounter(socketserver.ThreadingTCPServer):
    """Passes connections on to a port of this host, and keeps the requests that go there."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Passage)
        self.port = port
        self.requests: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Passage(socketserver.BaseRequestHandler):
    server: RequestCounter

    def handle(self) -> None:
        with socket.create_connection(("127.0.0.1", self.server.port)) as there:
            back = threading.Thread(target=_copy, args=(there, self.request))
            back.start()
            _copy(self.request, there, self.server.requests)
            back.join()


def _copy(source: socket.socket, sink: socket.socket, requests: list[str] | None = None) -> None:
    unread = b""
    try:
        while data := source.recv(1 << 16):
            sink.sendall(data)
            if requests is not None:
                unread += data
                end = 0
                for found in _REQUEST.finditer(unread):
                    requests.append(found[1].decode())
                    end = found.end()
                unread = unread[end:][-_LONGEST_HEAD:]
    except OSError:
        # One end is gone.
        pass
    finally:
        for connection in (source, sink):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def counted_requests(cluster: Cluster, kubeconfig: Path) -> Iterator[RequestCounter]:
    """What passes requests to the API server on, in the kubeconfig's name, and counts them."""
    command = [cluster._program(), "--kubeconfig", kubeconfig]
    with subprocess.Popen(
        [*command, "proxy", "--port=0"], stdout=subprocess.PIPE, bufsize=0
    ) as proxy:
        try:
            assert proxy.stdout is not None
            line = read_line(proxy.stdout, "kubectl proxy to say where it listens")
            with RequestCounter(int(line.rpartition(":")[2])) as counter:
                thread = threading.Thread(target=counter.serve_forever)
                thread.start()
                try:
                    yield counter
                finally:
                    counter.shutdown()
                    thread.join()
        finally:
            proxy.kill()
