"""A Jupyter server in a process of its own, its REST API and kernel websockets."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
import websocket

from tests.support.cells import TIMEOUT, Cell, Message
from tests.support.places import Places
from tests.support.waiting import WaitTimeout, until

_SLICE = 0.5


class ServerKernel:
    """The websocket of one kernel, as a notebook in JupyterLab holds it."""

    def __init__(self, kernel_id: str, connection: websocket.WebSocket) -> None:
        self.kernel_id = kernel_id
        self._session = uuid.uuid4().hex
        self._connection = connection
        self.messages: list[Message] = []

    def send(self, kind: str, content: dict[str, Any], channel: str = "shell") -> str:
        """Send a message and return its id."""
        msg_id = uuid.uuid4().hex
        header = {
            "msg_id": msg_id,
            "msg_type": kind,
            "username": "test",
            "session": self._session,
            "date": "",
            "version": "5.3",
        }
        message = {
            "header": header,
            "parent_header": {},
            "metadata": {},
            "content": content,
            "channel": channel,
            "buffers": [],
        }
        self._connection.send(json.dumps(message))
        return msg_id

    def execute(self, code: str) -> str:
        content = {
            "code": code,
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": False,
            "stop_on_error": True,
        }
        return self.send("execute_request", content)

    def receive(self, timeout: float) -> Message:
        """The next message.  All that came are kept in :attr:`messages`.

        Raises :class:`websocket.WebSocketTimeoutException`.
        """
        deadline = time.monotonic() + timeout
        while True:
            # Each ping of the server's would begin a longer timeout anew.
            self._connection.settimeout(_SLICE)
            try:
                message: Message = json.loads(self._connection.recv())
            except websocket.WebSocketTimeoutException:
                if time.monotonic() >= deadline:
                    raise
            else:
                self.messages.append(message)
                return message

    def finish(self, *msg_ids: str, timeout: float = TIMEOUT) -> list[Cell]:
        """Read until all these cells are done."""
        cells = [Cell(msg_id) for msg_id in msg_ids]
        deadline = time.monotonic() + timeout
        try:
            while not all(cell.done for cell in cells):
                message = self.receive(deadline - time.monotonic())
                for cell in cells:
                    cell.take(message)
        except websocket.WebSocketTimeoutException:
            seen = [(cell.kinds(), cell.reply is not None) for cell in cells]
            raise WaitTimeout(f"cells to be done (outputs, replied: {seen})", timeout) from None
        return cells

    def run(self, code: str, *, timeout: float = TIMEOUT) -> Cell:
        (cell,) = self.finish(self.execute(code), timeout=timeout)
        return cell

    def until_state(self, state: str, *, timeout: float = TIMEOUT) -> None:
        """Read until a status message says ``state`` (``restarting``, ``idle``, ``dead``)."""
        deadline = time.monotonic() + timeout
        states = []
        try:
            while state not in states:
                message = self.receive(deadline - time.monotonic())
                if message["header"]["msg_type"] == "status":
                    states.append(message["content"]["execution_state"])
        except websocket.WebSocketTimeoutException:
            raise WaitTimeout(f"the kernel's state {state} (got {states})", timeout) from None

    def close(self) -> None:
        self._connection.close()


@dataclass
class JupyterServer:
    """A running server.  ``log`` is where its output goes."""

    process: subprocess.Popen[bytes]
    url: str
    token: str
    log: Path
    _kernels: list[ServerKernel] = field(default_factory=list)

    def request(
        self, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> requests.Response:
        return requests.request(
            method,
            f"{self.url}{path}",
            json=body,
            headers={"Authorization": f"token {self.token}"},
            timeout=TIMEOUT,
        )

    def start_session(self, kernel_name: str, notebook: str = "notebook.ipynb") -> ServerKernel:
        """Open a notebook with a kernel, as Lab does, and connect to it."""
        body = {
            "path": notebook,
            "name": notebook,
            "type": "notebook",
            "kernel": {"name": kernel_name},
        }
        response = self.request("POST", "api/sessions", body)
        if response.status_code != 201:
            raise AssertionError(f"no session: {response.status_code} {response.text}")
        return self.connect(response.json()["kernel"]["id"])

    def connect(self, kernel_id: str) -> ServerKernel:
        url = self.url.replace("http", "ws", 1)
        connection = websocket.create_connection(
            f"{url}api/kernels/{kernel_id}/channels",
            header=[f"Authorization: token {self.token}"],
            timeout=TIMEOUT,
        )
        kernel = ServerKernel(kernel_id, connection)
        self._kernels.append(kernel)
        return kernel

    def kill(self) -> None:
        """End the server as the kernel's OOM killer would: it has no say in it."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(30)

    def stop(self, timeout: float = 30.0) -> None:
        for kernel in self._kernels:
            kernel.close()
        try:
            # The server logs in its signal handler.  Where that meets a log line being written,
            # Python raises ("reentrant call") and the signal has had no effect: it gets another.
            for _ in range(2):
                self.process.send_signal(signal.SIGTERM)
                with suppress(subprocess.TimeoutExpired):
                    self.process.wait(timeout / 3)
                    return
            self.process.wait(timeout / 3)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise WaitTimeout(f"the server to stop\n{self.log.read_text()}", timeout) from None


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def jupyter_server(
    places: Places,
    env: Mapping[str, str] | None = None,
    module: str = "jupyter_server",
    *,
    port: int | None = None,
) -> Iterator[JupyterServer]:
    """``jupyter server`` with the notebooks of ``places``, stopped at the end of the block.

    ``env`` is the whole environment of its process; this one's by default.  ``module`` is what
    Python runs: the server alone, or one with pages.  ``port`` is a free one by default.
    """
    log = places.root / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", module, "--no-browser", "--allow-root"),
                *("--ip=127.0.0.1", f"--port={port or _free_port()}", "--debug"),
                f"--ServerApp.root_dir={places.work}",
            ],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=env,
        )
    # jupyter_server writes this file once it listens.
    record = places.runtime / f"jpserver-{process.pid}.json"

    def listening() -> bool:
        if process.poll() is not None:
            raise AssertionError(f"the server ended: {process.returncode}\n{log.read_text()}")
        return record.is_file() and record.stat().st_size > 0

    try:
        until(listening, "jupyter server to listen", 60)
        info = json.loads(record.read_text())
        server = JupyterServer(process, info["url"], info["token"], log)
        until(lambda: _answers(server), "jupyter server to answer", 60)
    except BaseException:
        process.kill()
        process.wait()
        raise
    try:
        yield server
    finally:
        server.stop()


def _answers(server: JupyterServer) -> bool:
    try:
        return server.request("GET", "api/status").ok
    except requests.ConnectionError:
        return False
