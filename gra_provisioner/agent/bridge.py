"""``agent.pyz bridge --port N``: joins stdin and stdout with the agent's port.

Run by exec in the runner's container where its ports cannot be forwarded (gVisor), or only exec is
allowed.  The bytes are those of the tunnel, as on any other connection.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
from typing import List

_CHUNK = 1 << 16


def bridge(argv: List[str]) -> int:
    """Carry bytes until either side ends.  The exit code: 1 where nobody listens."""
    port = int(argv[argv.index("--port") + 1])
    try:
        peer = socket.create_connection(("127.0.0.1", port))
    except OSError as error:
        os.write(2, f"the agent cannot be reached: {error.strerror}\n".encode())
        return 1
    # Both ends write small frames and wait for answers.
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    threading.Thread(target=_to_agent, args=(peer,), daemon=True).start()
    stdout = sys.stdout.fileno()
    try:
        while True:
            data = peer.recv(_CHUNK)
            if not data:
                return 0
            view = memoryview(data)
            while view:
                view = view[os.write(stdout, view) :]
    except OSError:
        # Either end is gone, the agent with a reset as it may be.
        return 0


def _to_agent(peer: socket.socket) -> None:
    stdin = sys.stdin.fileno()
    try:
        while True:
            data = os.read(stdin, _CHUNK)
            if not data:
                return
            peer.sendall(data)
    except OSError:
        # Either end is gone.
        return
    finally:
        # A half-close alone would leave the agent waiting for its client.  The other direction
        # sees the end too, and ends the process.
        with contextlib.suppress(OSError):
            peer.shutdown(socket.SHUT_RDWR)
