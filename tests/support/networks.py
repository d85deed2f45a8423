"""A network of a test's own, in which packets can be lost without a word.

It is a network namespace with a loopback device and nothing else (network_namespaces(7)), held by
a process that ends with the test's, which takes the namespace and its packet filter along.
"""

from __future__ import annotations

import ctypes
import os
import platform
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TypeVar

import pytest

T = TypeVar("T")
# As the client sees it: what it sends, what it gets, or either.
Way = Literal["out", "in", "both"]

_LOOPBACK = "127.0.0.1"
_CLONE_NEWNET = 0x40000000
_BOUND = 10.0
_BACKLOG = 64
_NEEDED = ("unshare", "nsenter", "ip", "nft")
# It says so when all is there, and ends when its standard input does.
_HOLD = "ip link set lo up && nft add table inet faults && echo ready && exec cat"
# Which end of a packet has the server's port: of one that goes out, of one that comes in.
_ENDS = ("dport", "sport")
# In the input hook: what is dropped on its way out, the sender is told of.
_CHAIN = "add chain inet faults lost {{ type filter hook input priority 0; }}\n{rules}"


class Network:
    """One such network.  ``pid`` is the process that holds it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def command(self, *words: str) -> list[str]:
        """The words of a command that runs another in this network, under the same process id."""
        return ["nsenter", f"--net=/proc/{self.pid}/ns/net", "--", *words]

    def connect(self, address: tuple[str, int]) -> socket.socket:
        """A connection from this process to an address in the network."""
        return self._inside(lambda: socket.create_connection(address, timeout=_BOUND))

    def unconnected(self) -> socket.socket:
        """An unconnected TCP socket of this process in the network, for an event loop."""

        def make() -> socket.socket:
            made = socket.socket()
            made.setblocking(False)
            return made

        return self._inside(make)

    def listener(self, port: int = 0) -> socket.socket:
        """A socket of this process that listens on a port of the network's 127.0.0.1."""
        return self._inside(lambda: socket.create_server((_LOOPBACK, port), backlog=_BACKLOG))

    # -- packets ----------------------------------------------------------------------------

    @contextmanager
    def silence(self, port: int, way: Way = "both") -> Iterator[None]:
        """Packets between clients and the TCP port are lost while the block runs.

        Nobody is told, and connections are there as before; TCP sends again what was lost.
        """
        ends = {"out": _ENDS[:1], "in": _ENDS[1:], "both": _ENDS}[way]
        with self._filter(*(f"tcp {end} {port} drop" for end in ends)):
            yield

    @contextmanager
    def resets(self, port: int) -> Iterator[Callable[[], int]]:
        """Whoever sends something on a connection to the TCP port is answered with RST.

        What is yielded tells how often that has happened.
        """
        # Those answers themselves get through.
        match = "tcp flags & rst == 0 counter reject with tcp reset"
        with self._filter(*(f"tcp {end} {port} {match}" for end in _ENDS)):
            yield self._rejected

    def _rejected(self) -> int:
        listed = self._nft("list chain inet faults lost")
        return sum(int(count) for count in re.findall(r"counter packets (\d+)", listed))

    @contextmanager
    def _filter(self, *rules: str) -> Iterator[None]:
        added = "".join(f"add rule inet faults lost {rule}\n" for rule in rules)
        self._nft(_CHAIN.format(rules=added))
        try:
            yield
        finally:
            self._nft("flush chain inet faults lost\ndelete chain inet faults lost\n")

    def _nft(self, commands: str) -> str:
        done = subprocess.run(
            self.command("nft", "-f", "-"),
            check=False,
            capture_output=True,
            text=True,
            input=commands,
            timeout=_BOUND,
        )
        if done.returncode != 0:
            raise AssertionError(f"nft: {done.stderr.strip()}\n{commands}")
        return done.stdout

    # -- inside -----------------------------------------------------------------------------

    def _inside(self, make: Callable[[], T]) -> T:
        """Call this in a thread that is in the network.  A socket stays where it was made."""
        made: list[T] = []
        failed: list[BaseException] = []

        def work() -> None:
            try:
                self._enter()
                made.append(make())
            except BaseException as error:  # noqa: BLE001
                failed.append(error)

        thread = threading.Thread(target=work, name="in another network")
        thread.start()
        thread.join(2 * _BOUND)
        if failed:
            raise failed[0]
        if not made:
            raise AssertionError(f"waited {2 * _BOUND:g} s for a socket in the network")
        return made[0]

    def _enter(self) -> None:
        # os.setns is there from Python 3.12 on.
        libc = ctypes.CDLL(None, use_errno=True)
        fd = os.open(f"/proc/{self.pid}/ns/net", os.O_RDONLY)
        try:
            if libc.setns(fd, _CLONE_NEWNET) != 0:
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number))
        finally:
            os.close(fd)


@contextmanager
def network() -> Iterator[Network]:
    """A network of one's own while the block runs.

    Skips the test, saying why, where there can be none; with ``CI=true`` that is a failure.
    """
    _require()
    process = subprocess.Popen(
        ["unshare", "--net", "sh", "-c", _HOLD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            if process.stdout.readline() != "ready\n":
                pytest.skip(f"a network of the test's own cannot be made: {process.stderr.read()}")
            yield Network(process.pid)
        finally:
            process.stdin.close()
            try:
                process.wait(_BOUND)
            except subprocess.TimeoutExpired:
                process.kill()


def _require() -> None:
    if platform.system() != "Linux" or os.geteuid() != 0:
        pytest.skip("a network of the test's own needs Linux and root")
    search = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    missing = [name for name in _NEEDED if shutil.which(name, path=search) is None]
    if missing:
        pytest.skip(f"a network of the test's own needs {', '.join(missing)}; please install them")
    # The rules are of this process's namespace where /proc is another one's.
    assert Path("/proc/self/ns/net").exists()
