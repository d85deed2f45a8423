"""Running code in a kernel through a jupyter_client client, and what came back."""

from __future__ import annotations

import queue
import time
from dataclasses import dataclass, field
from typing import Any

from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.blocking.client import BlockingKernelClient

from tests.support.waiting import WaitTimeout

Message = dict[str, Any]

TIMEOUT = 60.0


@dataclass
class Cell:
    """The messages that answer one execute request."""

    msg_id: str
    outputs: list[Message] = field(default_factory=list)
    reply: Message | None = None
    idle: bool = False

    def take(self, message: Message) -> None:
        """Keep a message if it answers this cell.  Websocket and ZMQ messages look alike."""
        if message.get("parent_header", {}).get("msg_id") != self.msg_id:
            return
        if message["header"]["msg_type"] == "execute_reply":
            self.reply = message
        elif message["header"]["msg_type"].endswith("_reply"):
            return
        else:
            self.outputs.append(message)
            content = message["content"]
            if message["header"]["msg_type"] == "status" and content["execution_state"] == "idle":
                self.idle = True

    @property
    def done(self) -> bool:
        return self.idle and self.reply is not None

    @property
    def status(self) -> str:
        if self.reply is None:
            raise AssertionError(f"no execute_reply; got {self.kinds()}")
        return str(self.reply["content"]["status"])

    def of_type(self, kind: str) -> list[Message]:
        return [m for m in self.outputs if m["header"]["msg_type"] == kind]

    def kinds(self) -> list[str]:
        return [m["header"]["msg_type"] for m in self.outputs]

    def stream(self, name: str) -> str:
        return "".join(
            m["content"]["text"] for m in self.of_type("stream") if m["content"]["name"] == name
        )

    @property
    def text(self) -> str:
        return self.stream("stdout")

    @property
    def error(self) -> dict[str, Any]:
        """The content of the one error output."""
        errors = self.of_type("error")
        if len(errors) != 1:
            raise AssertionError(f"expected one error, got {self.kinds()}")
        content: dict[str, Any] = errors[0]["content"]
        return content


def run(
    client: BlockingKernelClient, code: str, *, timeout: float = TIMEOUT, **options: Any
) -> Cell:
    """Execute ``code`` and read until the cell is idle and replied to."""
    return finish(client, client.execute(code, **options), timeout=timeout)


def finish(client: BlockingKernelClient, msg_id: str, *, timeout: float = TIMEOUT) -> Cell:
    """Read both channels until the cell that was asked for as ``msg_id`` is done."""
    cell = Cell(msg_id)
    deadline = time.monotonic() + timeout
    try:
        while not cell.idle:
            cell.take(client.get_iopub_msg(timeout=max(0.0, deadline - time.monotonic())))
        while cell.reply is None:
            cell.take(client.get_shell_msg(timeout=max(0.0, deadline - time.monotonic())))
    except queue.Empty:
        missing = "its reply" if cell.idle else f"idle (got {cell.kinds()[-20:]})"
        raise WaitTimeout(f"a cell: {missing}", timeout) from None
    return cell


async def run_async(
    client: AsyncKernelClient, code: str, *, timeout: float = TIMEOUT, **options: Any
) -> Cell:
    """:func:`run` with an asynchronous client."""
    cell = Cell(client.execute(code, **options))
    try:
        while not cell.idle:
            cell.take(await client.get_iopub_msg(timeout=timeout))
        while cell.reply is None:
            cell.take(await client.get_shell_msg(timeout=timeout))
    except queue.Empty:
        raise WaitTimeout(f"a cell to be done (got {cell.kinds()[-20:]})", timeout) from None
    return cell


def until_output(client: BlockingKernelClient, text: str, *, timeout: float = TIMEOUT) -> None:
    """Read iopub until a stream message contains ``text``."""
    deadline = time.monotonic() + timeout
    seen = ""
    try:
        while text not in seen:
            message = client.get_iopub_msg(timeout=max(0.0, deadline - time.monotonic()))
            if message["header"]["msg_type"] == "stream":
                seen += message["content"]["text"]
    except queue.Empty:
        raise WaitTimeout(f"{text!r} in a kernel's output (got {seen!r})", timeout) from None


def control(
    client: BlockingKernelClient, kind: str, content: dict[str, Any], *, timeout: float = TIMEOUT
) -> dict[str, Any]:
    """Send a request on the control channel and return the content of its reply."""
    message = client.session.msg(kind, content)
    client.control_channel.send(message)
    deadline = time.monotonic() + timeout
    while True:
        try:
            reply = client.get_control_msg(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise WaitTimeout(f"the reply to {kind} on the control channel", timeout) from None
        if reply["parent_header"].get("msg_id") == message["header"]["msg_id"]:
            answer: dict[str, Any] = reply["content"]
            return answer
