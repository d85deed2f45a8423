"""The far end of the TCP benchmarks: ``python -m tests.benchmarks.tcp_server [HOST]``.

It prints its port.  A connection begins with 18 bytes, big-endian: what is wanted (``e`` echo,
``d`` send down, ``u`` take up, ``h`` take nothing for so many seconds), the kind of content
(:mod:`.content`), and, twice, a size in bytes: of the whole and of one write.  The answer is one
byte.  One more byte from the client begins it.  What was taken up is answered by one byte once all
of it is there; what was sent down, by the client's closing.

Standard library only, because it also runs in a pod.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
import threading
import time

from tests.benchmarks.content import pieces, pool_of

HEADER = struct.Struct(">ccQQ")
ECHO, DOWN, UP, HOLD = b"e", b"d", b"u", b"h"
READY, GO, DONE = b"+", b"g", b"!"


def read_exactly(connection: socket.socket, buffer: memoryview) -> bool:
    """Fill ``buffer``; False if the connection ended first."""
    while len(buffer):
        count = connection.recv_into(buffer)
        if not count:
            return False
        buffer = buffer[count:]
    return True


def drain(connection: socket.socket, size: int, block: int) -> int:
    """Read ``size`` bytes and forget them; how many came before the connection ended."""
    buffer = bytearray(block)
    left = size
    while left:
        count = connection.recv_into(buffer, min(block, left))
        if not count:
            break
        left -= count
    return size - left


def fill(connection: socket.socket, kind: bytes, size: int, block: int) -> None:
    """Write ``size`` bytes of a kind, ``block`` at a time."""
    for piece in pieces(kind, size, block):
        connection.sendall(piece)


def _serve(connection: socket.socket) -> None:
    with connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        header = bytearray(HEADER.size)
        if not read_exactly(connection, memoryview(header)):
            return
        wanted, kind, size, block = HEADER.unpack(header)
        # Making it takes a while, the first time.
        pool_of(kind)
        connection.sendall(READY)
        if connection.recv(1) != GO:
            return
        if wanted == ECHO:
            buffer = memoryview(bytearray(block))
            while read_exactly(connection, buffer):
                connection.sendall(buffer)
        elif wanted == DOWN:
            fill(connection, kind, size, block)
            # Some of what is compared forget what they still hold when this end closes.
            connection.recv(1)
        elif wanted == UP and drain(connection, size, block) == size:
            connection.sendall(DONE)
        elif wanted == HOLD:
            time.sleep(size)


def _serve_quietly(connection: socket.socket) -> None:
    try:
        _serve(connection)
    except ConnectionError:
        # A client that was stopped in the middle.
        return


def main(host: str) -> None:
    """Serve until killed, each connection in a thread; socket calls release the GIL."""
    with socket.create_server((host, 0)) as server:
        print(json.dumps({"port": server.getsockname()[1]}), flush=True)
        while True:
            connection, _ = server.accept()
            threading.Thread(target=_serve_quietly, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1")
