"""A kernel as far as its sockets, that publishes on iopub as fast as it can.

Started by an agent as any kernel: ``python -m tests.benchmarks.stub_kernel -f FILE``.  On shell it
answers ``sync_request`` (one message on iopub, so that a subscriber sees that it is subscribed) and
``publish_request`` (``count`` messages of ``size`` bytes on iopub).  Where the reader is slower
than the kernel, the kernel waits: nothing is dropped here.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import zmq
from jupyter_client.session import Session

# ipykernel's sockets have libzmq's default.
_HIGH_WATER = 1000
TOPIC = b"stream.stdout"


def _frames(session: Session, size: int) -> list[bytes]:
    """A stream message whose frames have ``size`` bytes together, if that is enough for one."""

    def build(text: str) -> list[bytes]:
        message = session.msg("stream", {"name": "stdout", "text": text})
        return session.serialize(message, TOPIC)

    return build("x" * max(0, size - sum(map(len, build("")))))


def _bind(context: zmq.Context[zmq.Socket[bytes]], kind: int, port: int) -> zmq.Socket[bytes]:
    socket = context.socket(kind)
    socket.linger = 0
    socket.bind(f"tcp://127.0.0.1:{port}")
    return socket


def main(connection_file: Path) -> None:
    """Serve until killed."""
    info: dict[str, Any] = json.loads(connection_file.read_text())
    session = Session(key=info["key"].encode(), signature_scheme=info["signature_scheme"])
    context = zmq.Context()
    others = [
        _bind(context, kind, info[f"{name}_port"])
        for name, kind in {"stdin": zmq.ROUTER, "control": zmq.ROUTER, "hb": zmq.REP}.items()
    ]
    iopub = context.socket(zmq.XPUB)
    iopub.setsockopt(zmq.XPUB_NODROP, 1)
    iopub.sndhwm = _HIGH_WATER
    iopub.bind(f"tcp://127.0.0.1:{info['iopub_port']}")
    shell = _bind(context, zmq.ROUTER, info["shell_port"])
    # The agent's own subscriber asks for status messages only, once it has seen their topic.
    iopub.recv()
    session.send(iopub, "status", {"execution_state": "idle"}, ident=b"kernel.stub.status")
    while others:
        idents, request = session.recv(shell, mode=0)
        if request is None:
            continue
        if request["msg_type"] == "publish_request":
            frames = _frames(session, request["content"]["size"])
            for _ in range(request["content"]["count"]):
                iopub.send_multipart(frames)
        else:
            iopub.send_multipart(_frames(session, 0))
        session.send(shell, "stub_reply", {}, parent=request, ident=idents)


if __name__ == "__main__":
    main(Path(sys.argv[sys.argv.index("-f") + 1]))
