"""The client of a kernel, as a process of its own, for tests that do bad things to its network.

``python -m tests.support.faulty_client SCRIPT TRANSCRIPT`` starts a kernel by a manager, does
what the script (a JSON file, see :mod:`tests.support.workloads`) says, and writes down all that it
heard.  It says on standard output, a JSON object a line, when something can be done to it, and goes
on when it reads a line; at the end of its input it ends its kernel and itself.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import zmq
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from gra_provisioner.backends.local import LocalBackend
from gra_provisioner.runner import Runner
from tests.support.transcripts import CHANNELS, Transcript, normalised

Step = Mapping[str, Any]

_READY_BOUND = 90.0
_BOUND = 600.0
_ASK_EVERY = 0.5
# The second that jupyter_client waits for an answer, and two for a machine that is busy.
_HEARTBEAT = 3.0
_PROBE_EVERY = 0.2
# How long one look at the channels waits, in ms, and how many messages of one it takes at most.
_TURN = 50
_BATCH = 200


class Orders:
    """Lines on standard input: each says that the client may go on."""

    def __init__(self) -> None:
        self._count = 0

    def fileno(self) -> int:
        return sys.stdin.fileno()

    def read(self) -> None:
        """Read what is there, to be called when there is something."""
        data = os.read(self.fileno(), 4096)
        if not data:
            raise SystemExit("nobody is there any more")
        self._count += data.count(b"\n")

    def take(self) -> bool:
        """Whether there is one; it is used up."""
        if not self._count:
            return False
        self._count -= 1
        return True

    def wait(self) -> None:
        """Wait for one while nothing else happens."""
        while not self.take():
            if not select.select([self.fileno()], [], [], _BOUND)[0]:
                raise SystemExit(f"waited {_BOUND:g} s for an order")
            self.read()


def say(event: str, **data: object) -> None:
    """Tell whoever started this process."""
    print(json.dumps({"event": event, "at": time.monotonic(), **data}), flush=True)


class Client:
    """Does the steps of one script and keeps what it hears."""

    def __init__(
        self,
        manager: KernelManager,
        client: BlockingKernelClient,
        orders: Orders,
        steps: Sequence[Step],
    ) -> None:
        self._steps = steps
        self._manager = manager
        self._client = client
        self._orders = orders
        self._heard: dict[str, list[dict[str, Any]]] = {channel: [] for channel in CHANNELS}
        self._arrivals: list[float] = []
        self._deaths: list[str] = []
        # The requests by their ids, as the transcript names them.
        self._requests: dict[str, str] = {}
        self._probes: set[str] = set()
        self._open: set[tuple[str, str]] = set()
        self._unread: dict[str, float] = {}
        self._answers: list[str] = []
        self._marks: dict[str, str] = {}
        self._due: list[str] = []
        # When it was asked last whether the kernel is alive.
        self._asked = 0.0
        # At a restart others ask for something as well, as often as they like.
        self._only_own = any(step["do"] == "restart" for step in steps)
        self._beats = True

    # -- steps ------------------------------------------------------------------------------

    def run(self) -> Transcript:
        """Do all steps; all that was heard."""
        for step in self._steps:
            self._do(step)
        messages = {
            channel: normalised(self._heard[channel], self._requests) for channel in CHANNELS
        }
        return Transcript(messages, self._arrivals, self._deaths)

    def _do(self, step: Step) -> None:
        """Do one step and wait until all is answered."""
        if step["do"] == "restart":
            self._mark(step["mark"])
            self._manager.restart_kernel(now=step["now"])
            self._client.wait_for_ready(timeout=_READY_BOUND)
            self._until_beating()
            return
        if step["do"] == "shutdown":
            self._mark(step["mark"])
            self._client.stop_channels()
            self._manager.shutdown_kernel(now=step["now"])
            say("shutdown", has_kernel=self._manager.has_kernel)
            return
        self._answers = list(step.get("answers", ()))
        self._marks = dict(step.get("marks", {}))
        self._send(step)
        while self._open:
            self._pump()
            while self._due:
                mark = self._due.pop(0)
                self._mark(mark)
                for request in step.get("meanwhile", {}).get(mark, ()):
                    if request["do"] == "ignore":
                        self._unread[request["channel"]] = time.monotonic() + request["seconds"]
                    else:
                        self._send(request)
        if self._answers or self._marks:
            raise SystemExit(f"never came: {self._answers} {self._marks}")

    def _until_beating(self) -> None:
        """In a restart, the old kernel's heart has really stopped."""
        deadline = time.monotonic() + _READY_BOUND
        while not self._client.hb_channel.is_beating():
            if time.monotonic() > deadline:
                raise SystemExit(f"waited {_READY_BOUND:g} s for the new kernel's heartbeat")
            time.sleep(_TURN / 1000)

    def _send(self, request: Step) -> None:
        session = self._client.session
        message = session.msg(request["type"], request["content"])
        channel = request["channel"]
        msg_id = message["header"]["msg_id"]
        name = f"request {len(self._requests) + 1}, {request['type']}"
        self._requests[msg_id] = name
        # All are answered by an `idle`, and all but those of comms by a reply.
        self._open.add((msg_id, "idle"))
        if not request["type"].startswith("comm_"):
            self._open.add((msg_id, "reply"))
        buffers = [bytes(range(256)) * (size // 256) for size in request.get("buffers", ())]
        socket = self._channel(channel).socket
        session.send(socket, message, buffers=buffers)

    def _mark(self, name: str) -> None:
        """Say so, and read on until one may go on.

        Meanwhile something always goes to the kernel and back, of which nothing is kept.
        """
        say("mark", name=name)
        deadline = time.monotonic() + _BOUND
        probed = time.monotonic()
        while not self._orders.take():
            self._pump()
            now = time.monotonic()
            if now - probed >= _PROBE_EVERY:
                probed = now
                probe = self._client.session.msg("kernel_info_request", {})
                self._probes.add(probe["header"]["msg_id"])
                self._client.control_channel.send(probe)
            if now > deadline:
                raise SystemExit(f"waited {_BOUND:g} s for an order")

    # -- messages ---------------------------------------------------------------------------

    def _channel(self, name: str) -> Any:
        return getattr(self._client, f"{name}_channel")

    def _pump(self) -> None:
        """Take what has come, for a moment at most."""
        poller = zmq.Poller()
        poller.register(self._orders.fileno(), zmq.POLLIN)
        sockets = {}
        now = time.monotonic()
        for channel in CHANNELS:
            if self._unread.get(channel, 0.0) <= now:
                socket = self._channel(channel).socket
                sockets[socket] = channel
                poller.register(socket, zmq.POLLIN)
        for ready, _ in poller.poll(_TURN):
            if ready == self._orders.fileno():
                self._orders.read()
            else:
                self._read(ready, sockets[ready])
        self._look()

    def _read(self, socket: Any, channel: str) -> None:
        session = self._client.session
        for _ in range(_BATCH):
            try:
                frames = socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            self._arrivals.append(time.monotonic())
            _, parts = session.feed_identities(frames)
            self._take(channel, session.deserialize(parts))

    def _take(self, channel: str, message: dict[str, Any]) -> None:
        parent = message["parent_header"].get("msg_id", "")
        kind, content = message["header"]["msg_type"], message["content"]
        if parent in self._probes or (parent not in self._requests and self._only_own):
            return
        self._heard[channel].append(message)
        if kind == "status" and content["execution_state"] == "idle":
            self._open.discard((parent, "idle"))
        elif kind.endswith("_reply"):
            self._open.discard((parent, "reply"))
        elif kind == "input_request":
            self._due += filter(None, [self._marks.pop(content["prompt"], "")])
            # The answer follows the mark, if there is one.
            while self._due:
                self._mark(self._due.pop(0))
            self._client.input(self._answers.pop(0))
        elif kind == "display_data":
            text = content["data"].get("text/plain", "")
            self._due += filter(None, [self._marks.pop(text, "")])

    def _look(self) -> None:
        """Whether the client takes its kernel for alive."""
        now = time.monotonic()
        beats = self._client.hb_channel.is_beating()
        if self._beats and not beats:
            self._deaths.append(f"{now:.2f}: the heartbeat stopped")
        self._beats = beats
        if now - self._asked >= _ASK_EVERY:
            self._asked = now
            if not self._client.is_alive() or not self._manager.is_alive():
                self._deaths.append(f"{now:.2f}: is_alive() was false")


def announce_runners(orders: Orders) -> None:
    """Say where the agent of each local runner listens, and go on when that was taken care of."""
    create: Callable[..., Any] = LocalBackend.create

    async def create_and_say(backend: LocalBackend, *args: Any, **kwargs: Any) -> Runner:
        runner: Runner = await create(backend, *args, **kwargs)
        say("runner", socket=str(backend._folder / runner.name / "agent.sock"))
        await asyncio.to_thread(orders.wait)
        return runner

    LocalBackend.create = create_and_say  # type: ignore[method-assign, assignment]


def main() -> None:
    """Do what the script says."""
    script = json.loads(Path(sys.argv[1]).read_text())
    orders = Orders()
    announce_runners(orders)
    manager = KernelManager(kernel_name=script["kernel_name"])
    manager.start_kernel()
    client = manager.blocking_client()
    client.context.setsockopt(zmq.RCVHWM, script["high_water"])
    try:
        client.hb_channel.time_to_dead = _HEARTBEAT
        client.start_channels()
        client.wait_for_ready(timeout=_READY_BOUND)
        reply = client.execute_interactive(script["setup"], timeout=_READY_BOUND)
        if reply["content"]["status"] != "ok":
            raise SystemExit(f"the setup failed: {reply['content']}")
        say("started")
        Client(manager, client, orders, script["steps"]).run().save(Path(sys.argv[2]))
        say("finished")
    finally:
        client.stop_channels()
        if manager.has_kernel:
            manager.shutdown_kernel(now=True)


if __name__ == "__main__":
    main()
