"""A kernel that does on its channels what a cell says, down to half a message and no more.

Run as a program it is the kernel: ``python scripted_kernel.py CONNECTION_FILE``.  A cell is a
list of steps, one a line, carried out after ``busy``; behind the last come the reply and ``idle``.

``stream TEXT``       a whole stream message
``stream TEXT * N``   the same N times
``half stream N``     the first half of a stream message with N characters
``half reply``        the first half of the execute_reply
``idle``, ``reply``   the status or the reply before its time
``wait SECONDS``      do nothing
``die``               SIGKILL to itself

Of libzmq it has nothing, because that sends whole messages only.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import selectors
import signal
import socket
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from gra_provisioner.agent import zmtp

ARGV = ("python", str(Path(__file__).resolve()), "{connection_file}")

_TYPES = {"shell": "ROUTER", "control": "ROUTER", "stdin": "ROUTER", "hb": "REP", "iopub": "PUB"}
_DELIMITER = b"<IDS|MSG>"


class _Connection:
    """One client's connection to one channel."""

    def __init__(self, sock: socket.socket, channel: str) -> None:
        self.socket = sock
        self.channel = channel
        self.splitter = zmtp.Splitter(1 << 24)
        self.ready = False
        self.send(zmtp.GREETING + zmtp.ready(_TYPES[channel]))

    def send(self, data: bytes) -> None:
        """Send, if the peer is still there."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            self.ready = False


class ScriptedKernel:
    """Serves the five ports of a connection file, one thing at a time."""

    def __init__(self, info: Mapping[str, Any]) -> None:
        self._key = str(info["key"]).encode()
        self._session = uuid.uuid4().hex
        self._subscribers: list[_Connection] = []
        self._selector = selectors.DefaultSelector()
        for channel in _TYPES:
            listener = socket.create_server((info["ip"], info[f"{channel}_port"]))
            self._selector.register(listener, selectors.EVENT_READ, channel)

    def serve(self) -> None:
        """Serve until told to shut down, or until a script ends the process."""
        while True:
            for key, _ in self._selector.select():
                if isinstance(key.data, str):
                    self._accept(key.fileobj, key.data)  # type: ignore[arg-type]
                else:
                    self._read(key.data)

    def _accept(self, listener: socket.socket, channel: str) -> None:
        sock, _ = listener.accept()
        connection = _Connection(sock, channel)
        self._selector.register(sock, selectors.EVENT_READ, connection)
        if channel == "iopub":
            self._subscribers.append(connection)

    def _read(self, connection: _Connection) -> None:
        try:
            data = connection.socket.recv(1 << 16)
        except ConnectionResetError:
            data = b""
        if not data:
            self._selector.unregister(connection.socket)
            connection.socket.close()
            if connection in self._subscribers:
                self._subscribers.remove(connection)
            return
        for message in connection.splitter.feed(data):
            if message.command:
                connection.ready = True
            elif connection.channel == "hb":
                connection.send(zmtp.encode(message.frames))
            elif connection.channel in ("shell", "control"):
                self._on_request(connection, message.frames)

    def _on_request(self, connection: _Connection, frames: Sequence[bytes]) -> None:
        at = frames.index(_DELIMITER)
        header, content = json.loads(frames[at + 2]), json.loads(frames[at + 5])
        kind = header["msg_type"]
        self._publish("status", header, execution_state="busy")
        if kind == "execute_request":
            self._run(connection, header, content["code"])
            return
        if kind == "kernel_info_request":
            connection.send(
                self._message(
                    "kernel_info_reply",
                    header,
                    status="ok",
                    protocol_version="5.3",
                    implementation="scripted",
                    implementation_version="1",
                    language_info={"name": "steps", "mimetype": "text/plain"},
                    banner="",
                )
            )
        elif kind == "shutdown_request":
            connection.send(self._message("shutdown_reply", header, status="ok", restart=False))
            sys.exit()
        self._publish("status", header, execution_state="idle")

    def _run(self, connection: _Connection, header: Mapping[str, Any], code: str) -> None:
        reply = self._message(
            "execute_reply",
            header,
            status="ok",
            execution_count=1,
            user_expressions={},
            payload=[],
        )
        said: set[str] = set()
        for line in [*code.splitlines(), "reply", "idle"]:
            verb, _, rest = line.strip().partition(" ")
            if verb == "stream":
                text, _, count = rest.partition(" * ")
                for _ in range(int(count or 1)):
                    self._publish("stream", header, name="stdout", text=f"{text}\n")
            elif line == "half reply":
                connection.send(reply[: len(reply) // 2])
            elif verb == "half":
                text = "h" * int(rest.removeprefix("stream "))
                whole = self._message("stream", header, topic=b"stream", name="stdout", text=text)
                self._to_subscribers(whole[: len(whole) // 2])
            elif verb == "wait":
                time.sleep(float(rest))
            elif verb == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            elif verb == "idle" and verb not in said:
                self._publish("status", header, execution_state="idle")
            elif verb == "reply" and verb not in said:
                connection.send(reply)
            elif verb not in ("idle", "reply"):
                raise ValueError(f"no step: {line!r}")
            said.add(verb)

    def _publish(self, kind: str, parent: Mapping[str, Any], **content: Any) -> None:
        topic = b"kernel.scripted." + kind.encode()
        self._to_subscribers(self._message(kind, parent, topic=topic, **content))

    def _to_subscribers(self, data: bytes) -> None:
        for subscriber in self._subscribers:
            if subscriber.ready:
                subscriber.send(data)

    def _message(
        self, kind: str, parent: Mapping[str, Any], *, topic: bytes | None = None, **content: Any
    ) -> bytes:
        # https://jupyter-client.readthedocs.io/en/stable/messaging.html#the-wire-protocol
        header = {
            "msg_id": uuid.uuid4().hex,
            "msg_type": kind,
            "session": self._session,
            "username": "kernel",
            "date": datetime.now(timezone.utc).isoformat(),
            "version": "5.3",
        }
        parts = [json.dumps(part).encode() for part in (header, parent, {}, content)]
        signature = hmac.new(self._key, b"".join(parts), hashlib.sha256).hexdigest().encode()
        start = [topic] if topic is not None else []
        return zmtp.encode([*start, _DELIMITER, signature, *parts])


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ScriptedKernel(json.loads(Path(sys.argv[1]).read_text())).serve()
