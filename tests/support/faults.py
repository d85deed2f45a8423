"""A client of a kernel with a bad network between them, and what it must have heard all the same.

The client is a process in a network of its own (:mod:`tests.support.networks`), together with
toxiproxy.  What it dials is the proxy; sockets of this process lead out of that network::

    client ── agent.sock ──┐                         ┌── the agent's own socket      (local)
                           ├─ toxiproxy ── way out ──┤
    client ── its port ────┘                         └── the API server              (kubernetes)

Connections through it are real ones at every joint, so they can be slow, reset, or silent.
"""

from __future__ import annotations

import asyncio
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.support.cluster import Cluster
from tests.support.cutter import Cutter, SocketCutter, working
from tests.support.launches import kubeconfig
from tests.support.networks import Network, Way, network
from tests.support.toxiproxy import Proxy, toxiproxy
from tests.support.transcripts import Transcript, difference
from tests.support.waiting import WaitTimeout
from tests.support.workloads import Workload

_REPOSITORY = Path(__file__).parents[2]
_LOOPBACK = "127.0.0.1"

# What is promised, and what a machine that does other work too may take.
_RECOVERY = 2.0
_ALLOWANCE = 2.0
_EVENT_BOUND = 120.0
_END_BOUND = 30.0
_TAIL = 4000

_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _WayOut(Cutter):
    """Leads from a listener in another network to where that cannot reach."""

    def __init__(self, listener: socket.socket, dial: Callable[[], Awaitable[_Streams]]) -> None:
        super().__init__()
        self._listener = listener
        self._out = dial

    async def _listen(
        self, on_client: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]
    ) -> asyncio.Server:
        return await asyncio.start_server(on_client, sock=self._listener)

    async def _dial(self) -> _Streams:
        return await self._out()


class _WayIn(SocketCutter):
    """In the place of an agent's socket: leads to a port in another network."""

    def __init__(self, socket: Path, inside: Network, port: int) -> None:
        super().__init__(socket)
        self._inside = inside
        self._port = port

    async def _dial(self) -> _Streams:
        made = self._inside.unconnected()
        try:
            await asyncio.get_running_loop().sock_connect(made, (_LOOPBACK, self._port))
        except BaseException:
            made.close()
            raise
        return await asyncio.open_connection(sock=made)

    async def dial_agent(self) -> _Streams:
        """A connection to the agent itself."""
        return await super()._dial()


class BadNetwork:
    """The network of one client: good until something is done to it."""

    def __init__(self, inside: Network, proxy: Proxy, way_out: Cutter) -> None:
        self.inside = inside
        #: Adds and removes toxics, and drops connections.
        self.proxy = proxy
        self._way_out = way_out

    @property
    def dialled(self) -> int:
        """How many connections the client has made through it."""
        return self._way_out.dialled

    @contextmanager
    def silence(self, way: Way = "both") -> Iterator[None]:
        """All that the client sends (``out``), or gets (``in``), or both, is lost meanwhile."""
        with self.inside.silence(self.proxy.port, way):
            yield

    @contextmanager
    def resets(self) -> Iterator[Callable[[], int]]:
        """Whoever sends anything through it meanwhile has its connection reset.

        What is yielded tells how often that has happened.
        """
        with self.inside.resets(self.proxy.port) as count:
            yield count


class Talk:
    """A client's process at work, on one workload."""

    def __init__(self, process: subprocess.Popen[str], workload: Workload, folder: Path) -> None:
        self.workload = workload
        self.process = process
        #: When the network was good again, by the monotonic clock.
        self.returned: float | None = None
        #: Called with the path of each local runner's socket before the client dials it.
        self.on_runner: Callable[[Path], None] = lambda path: None
        self._folder = folder
        self._events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._read, name="events of a client")
        self._thread.start()

    def until_mark(self, name: str) -> None:
        """Wait until the client says that it is there; it waits for :meth:`go`.

        Other marks are passed.
        """
        while self._until("mark")["name"] != name:
            self.go()

    def go(self) -> None:
        """Let the client go on."""
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def network_is_back(self) -> None:
        """From now on, the time until the next message is looked at."""
        self.returned = time.monotonic()

    @contextmanager
    def asleep(self) -> Iterator[None]:
        """The process is stopped while the block runs, as by a lid that is closed."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def finish(self, timeout: float = _EVENT_BOUND) -> Transcript:
        """Let the client go on to its end; what it heard."""
        self._until("finished", timeout)
        assert self.process.wait(_END_BOUND) == 0, self._said()
        return Transcript.load(self._folder / "transcript.json")

    def _until(self, name: str, timeout: float = _EVENT_BOUND) -> dict[str, Any]:
        deadline = time.monotonic() + timeout
        while True:
            try:
                event = self._events.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise WaitTimeout(f"{name!r} of the client:\n{self._said()}", timeout) from None
            if event is None:
                raise AssertionError(f"the client ended before {name!r}:\n{self._said()}")
            if event["event"] == "runner":
                self.on_runner(Path(event["socket"]))
                self.go()
            elif event["event"] == "shutdown":
                assert not event["has_kernel"]
            elif event["event"] == name:
                return event
            elif event["event"] == "mark":
                self.go()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._events.put(json.loads(line))
        self._events.put(None)

    def _said(self) -> str:
        return (self._folder / "stderr").read_text(errors="replace")[-_TAIL:]

    def close(self) -> None:
        """End the client: it ends its kernel first, unless it is too late for that."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        try:
            self.process.wait(_END_BOUND)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(_END_BOUND)
        self._thread.join(_END_BOUND)
        self.process.stdout.close()


@contextmanager
def talking(
    workload: Workload,
    *,
    kernel_name: str = "gra",
    prefix: Sequence[str] = (),
    env: dict[str, str] | None = None,
) -> Iterator[Talk]:
    """A client at work while the block runs; ``prefix`` is a command that enters a network."""
    with tempfile.TemporaryDirectory(prefix="gra-talk-") as name:
        folder = Path(name)
        script = folder / "script.json"
        script.write_text(json.dumps(workload.script(kernel_name)))
        module = [sys.executable, "-m", "tests.support.faulty_client"]
        with (folder / "stderr").open("w") as stderr:
            process = subprocess.Popen(
                [*prefix, *module, str(script), str(folder / "transcript.json")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                cwd=_REPOSITORY,
                env={**os.environ, **(env or {})},
            )
        talk = Talk(process, workload, folder)
        try:
            yield talk
        finally:
            talk.close()


@contextmanager
def behind_bad_network(
    workload: Workload, folder: Path, cluster: Cluster | None
) -> Iterator[tuple[Talk, BadNetwork]]:
    """A client behind a network that is good at first, while the block runs.

    Its runner is a pod of the cluster, or a local process where that is None.
    """
    with ExitStack() as stack:
        inside = stack.enter_context(network())
        server = stack.enter_context(toxiproxy(inside.command(), inside.connect))
        listener = inside.listener()
        proxy = server.proxy(f"{_LOOPBACK}:{listener.getsockname()[1]}")
        ways_in: list[_WayIn] = []

        async def to_the_runner() -> _Streams:
            return await ways_in[-1].dial_agent()

        def on_runner(path: Path) -> None:
            way_in = stack.enter_context(working(_WayIn(path, inside, proxy.port)))
            ways_in.append(way_in)

        if cluster is None:
            env: dict[str, str] = {}
            way_out = stack.enter_context(working(_WayOut(listener, to_the_runner)))
        else:
            host, port, env = _through(proxy, folder, cluster)

            async def to_the_server() -> _Streams:
                return await asyncio.open_connection(host, port)

            way_out = stack.enter_context(working(_WayOut(listener, to_the_server)))
        talk = stack.enter_context(talking(workload, prefix=inside.command(), env=env))
        talk.on_runner = on_runner
        yield talk, BadNetwork(inside, proxy, way_out)


def _through(proxy: Proxy, folder: Path, cluster: Cluster) -> tuple[str, int, dict[str, str]]:
    """Host and port of the API server, and the variables that make gra go through the proxy."""
    words = ("config", "view", "--raw", "--minify", "--flatten")
    (known,) = (named["cluster"] for named in cluster.kubectl_json(*words)["clusters"])
    server = urlsplit(known["server"])
    assert server.hostname is not None
    changes = {
        "server": f"https://{proxy.address}{server.path}",
        # The name in the certificate stays that of the server.
        "tls-server-name": known.get("tls-server-name", server.hostname),
    }
    path = kubeconfig(cluster, folder / "behind-toxiproxy.json", cluster=changes)
    return server.hostname, server.port or 443, {"GRA_KUBECONFIG": str(path)}


def check(talk: Talk, heard: Transcript, undisturbed: Transcript) -> None:
    """The client heard what it would have heard without faults, soon, and never lost faith."""
    told = difference(undisturbed, heard)
    assert not told, f"not what an undisturbed client hears (-), but (+):\n{told}"
    if talk.returned is not None:
        late = heard.first_after(talk.returned)
        assert late is not None, "nothing was heard after the network was back"
        print(f"the first message came {late:.2f} s after the network was back")
        bound = _RECOVERY + _ALLOWANCE
        assert late <= bound, f"the first message came {late:.2f} s after the network was back"
    assert not heard.deaths, f"the kernel was taken for dead: {heard.deaths}"
