"""``agent.pyz s3-sidecar``: makes the mounts of one runner, and is pid 1 of its S3 sidecar.

In a pod it listens on a unix socket (``--socket``); what it mounts is in the variable
``GRA_S3_MOUNTS`` and cannot be changed over the socket.  For a local runner the agent starts it
and is at the other end of ``--fd``: then the mounts come from there, and its end is ours.

On the socket each side writes lines of JSON.  The agent: ``{"turn": N, "credentials": {...}}``, in
a pod with a descriptor of its mount namespace (``"namespace": true``, SCM_RIGHTS), else with
``"mounts"``.  The sidecar: ``{"turn": N, "mounts": [...]}``, for each of these and at each change,
with ``"error"`` where a request was refused.
"""

from __future__ import annotations

import argparse
import array
import asyncio
import json
import os
import signal
import socket
import struct
import sys
from typing import Any, Dict, List, Optional, Set

from ..failure import AgentError
from ..log import Log
from ..reaper import Reaper
from .ground import Container, Host
from .keeper import STUCK
from .mount import parse_all, parse_credentials
from .mounts import Mounts
from .s3fs import Cache

_LARGEST = 1 << 20
_CHUNK = 1 << 16
#: What a sidecar mounts, as JSON.
MOUNTS_VARIABLE = "GRA_S3_MOUNTS"


def _parse(argv: List[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="s3-sidecar", description="Mounts S3 for a runner.")
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--socket", help="listen on this unix socket")
    place.add_argument("--fd", type=int, help="serve this connected socket, and end with it")
    parser.add_argument("--user", type=int, help="the user that may connect, besides root")
    parser.add_argument("--secrets", default="/run/secrets/gra", help="the Secrets' files")
    parser.add_argument("--cache", default="/var/cache/gra-s3", help="for files in use")
    parser.add_argument("--cache-size", type=int, help="its bound in bytes")
    parser.add_argument("--own", help="a folder at and below which nothing is mounted")
    parser.add_argument("--grace", type=float, default=20.0, help="seconds for the last writes")
    parser.add_argument("--patience", type=float, default=STUCK, help="seconds for s3fs to answer")
    return parser.parse_args(argv)


class Sidecar:
    """See the module."""

    def __init__(self, options: argparse.Namespace, log: Log) -> None:
        loop = asyncio.get_running_loop()
        self.ending: asyncio.Future[str] = loop.create_future()
        self._options = options
        self._log = log
        self._turn = 0
        self._peers: Set[Peer] = set()
        self._told = False
        os.makedirs(options.cache, mode=0o700, exist_ok=True)
        self._reaper = Reaper(loop)
        self._container: Optional[Container] = None
        if options.socket:
            self._container = Container(os.path.join(options.cache, "staging"))
        files = os.path.join(options.cache, "files")
        os.makedirs(files, mode=0o700, exist_ok=True)
        size = options.cache_size or _space(files)
        self._mounts = Mounts(
            self._container or Host(options.own or options.cache),
            Cache(files, size),
            self._reaper,
            options.secrets,
            log.line,
            self._tell_soon,
            options.patience,
        )

    async def run(self) -> None:
        """Serve until a signal, or the end of the agent; then unmount."""
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, self.end, signal.Signals(signum).name)
        listener: Optional[socket.socket] = None
        if self._options.socket:
            self._mounts.add(parse_all(json.loads(os.environ.get(MOUNTS_VARIABLE) or "[]")))
            listener = _listen(self._options.socket)
            loop.add_reader(listener.fileno(), self._accept, listener)
        else:
            self._peers.add(Peer(self, socket.socket(fileno=self._options.fd)))
        self._log.line(f"mounter ready, pid {os.getpid()}")
        reason = await self.ending
        self._log.line(f"ending: {reason}")
        if listener is not None:
            loop.remove_reader(listener.fileno())
            listener.close()
        for peer in list(self._peers):
            peer.close()
        await self._mounts.close(self._options.grace)
        self._reaper.close()

    def end(self, reason: str) -> None:
        """Have :meth:`run` end."""
        if not self.ending.done():
            self.ending.set_result(reason)

    def _accept(self, listener: socket.socket) -> None:
        try:
            sock, _ = listener.accept()
        except OSError:
            # It is gone again, or there are no descriptors: the next one will do.
            return
        if _uid(sock) not in (0, self._options.user, os.geteuid()):
            sock.close()
            return
        peer = Peer(self, sock)
        self._peers.add(peer)
        peer.say(self._document())

    def take(self, peer: Peer, message: Dict[str, Any], fds: List[int]) -> None:
        """A request.  What is wrong with it is said to the agent."""
        error: Optional[AgentError] = None
        try:
            self._serve(message, fds)
        except AgentError as failure:
            error = failure
        document = self._document()
        if error is not None:
            document["error"] = error.to_wire()
        peer.say(document)

    def _serve(self, message: Dict[str, Any], fds: List[int]) -> None:
        turn = message.get("turn")
        if isinstance(turn, int):
            self._turn = turn
        container = self._container
        if container is None:
            self._mounts.add(parse_all(message.get("mounts") or []))
        elif message.get("namespace") and fds and container.use(fds.pop()):
            self._mounts.show_again()
        self._mounts.give(parse_credentials(message.get("credentials") or {}))

    def gone(self, peer: Peer) -> None:
        """A connection has ended."""
        self._peers.discard(peer)
        if self._container is None:
            self.end("the agent is gone")
        elif not self._peers:
            self._container.forget()

    def _document(self) -> Dict[str, Any]:
        return {"turn": self._turn, "mounts": self._mounts.documents()}

    def _tell_soon(self) -> None:
        if not self._told:
            self._told = True
            asyncio.get_running_loop().call_soon(self._tell)

    def _tell(self) -> None:
        self._told = False
        for peer in list(self._peers):
            peer.say(self._document())


class Peer:
    """A connected agent."""

    def __init__(self, sidecar: Sidecar, sock: socket.socket) -> None:
        self._sidecar = sidecar
        self._sock = sock
        self._in = b""
        self._out = b""
        self._fds: List[int] = []
        self._loop = asyncio.get_running_loop()
        sock.setblocking(False)
        self._loop.add_reader(sock.fileno(), self._on_readable)

    def say(self, document: Dict[str, Any]) -> None:
        """Write a line."""
        self._out += json.dumps(document).encode() + b"\n"
        self._flush()

    def _flush(self) -> None:
        if self._sock.fileno() < 0:
            return
        self._loop.remove_writer(self._sock.fileno())
        try:
            while self._out:
                self._out = self._out[self._sock.send(self._out) :]
        except BlockingIOError:
            if len(self._out) > _LARGEST:
                # It does not read.
                self.close()
            else:
                self._loop.add_writer(self._sock.fileno(), self._flush)
        except OSError:
            self.close()

    def _on_readable(self) -> None:
        try:
            data, fds = receive(self._sock)
        except BlockingIOError:
            return
        except OSError:
            data, fds = b"", []
        self._fds += fds
        self._in += data
        if not data or len(self._in) > _LARGEST:
            self.close()
            return
        *lines, self._in = self._in.split(b"\n")
        for line in lines:
            fds, self._fds = self._fds, []
            try:
                message = json.loads(line.decode())
            except (ValueError, RecursionError):
                message = None
            if isinstance(message, dict):
                self._sidecar.take(self, message, fds)
            # Those that nobody took.
            for fd in fds:
                os.close(fd)

    def close(self) -> None:
        """End the connection."""
        if self._sock.fileno() < 0:
            return
        self._loop.remove_reader(self._sock.fileno())
        self._loop.remove_writer(self._sock.fileno())
        self._sock.close()
        for fd in self._fds:
            os.close(fd)
        self._sidecar.gone(self)


def receive(sock: socket.socket) -> Any:
    """Bytes and the descriptors that came with them (unix(7), SCM_RIGHTS)."""
    numbers = array.array("i")
    data, ancillary, _, _ = sock.recvmsg(
        _CHUNK, socket.CMSG_SPACE(numbers.itemsize), getattr(socket, "MSG_CMSG_CLOEXEC", 0)
    )
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            numbers.frombytes(content[: len(content) - len(content) % numbers.itemsize])
    return data, numbers.tolist()


def _listen(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    if os.path.lexists(path):
        # Of one that was killed.
        os.unlink(path)
    listener.bind(path)
    # Who it is that connects is looked at.
    os.chmod(path, 0o666)  # noqa: S103
    listener.listen(16)
    listener.setblocking(False)
    return listener


def _uid(sock: socket.socket) -> int:
    """Who has connected (unix(7), SO_PEERCRED)."""
    size = struct.calcsize("3i")
    _, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return int(uid)


def _space(folder: str) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def main(argv: Optional[List[str]] = None) -> int:
    """Run until it is over; the exit code."""
    options = _parse(sys.argv[2:] if argv is None else argv)
    os.umask(0o077)
    log = Log()

    async def run() -> None:
        await Sidecar(options, log).run()

    asyncio.run(run())
    return 0
