"""The ports of a kernel: chosen before it starts, since its connection file must name them."""

from __future__ import annotations

import errno
import os
import socket
import sys
from typing import Dict, List, Sequence


class HeldPorts:
    """A free port of 127.0.0.1 for each name, held for one kernel after the other.

    ``held``: a socket stays bound to each port without listening, so that no other program is
    given it, neither before the kernel binds it nor between two kernels.  Linux lets a second
    socket bind the same port if both have SO_REUSEADDR (socket(7)); libzmq's listeners do
    (src/tcp_listener.cpp), and so do those of Go's, Rust's and Java's ZeroMQ.  A kernel that
    does not, or another system, needs ``held=False``: then the ports are free when they are
    chosen, and any program can take one before the kernel does.
    """

    def __init__(self, names: Sequence[str], held: bool = True) -> None:
        self._sockets: List[socket.socket] = []
        held = held and sys.platform.startswith("linux")
        self.numbers: Dict[str, int] = {}
        try:
            for name in names:
                sock = socket.socket()
                self._sockets.append(sock)
                if held:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind(("127.0.0.1", 0))
                self.numbers[name] = sock.getsockname()[1]
        except OSError:
            self.close()
            raise
        if not held:
            self.close()

    def close(self) -> None:
        """Hold them no longer."""
        for sock in self._sockets:
            sock.close()
        self._sockets.clear()


def says_taken(lines: Sequence[str]) -> bool:
    """Whether a program's last lines say that a port it wanted to listen on was taken."""
    text = os.strerror(errno.EADDRINUSE)
    return any(text in line or "EADDRINUSE" in line for line in lines)
