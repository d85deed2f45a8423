"""The agent itself: who is connected, what they ask for, and when it is time to end."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from typing import Any, Awaitable, Callable, Dict, List, NamedTuple, Optional, Set

from . import DELETION_NOTE, params, wire
from .buffer import SendBuffer, SpillFile
from .control import ControlHandler
from .exec import ExecProcess
from .failure import AgentError
from .kernel import CHANNELS, Kernel
from .link import Link
from .log import Log
from .messages import dropped_text, parent_header, stream_message
from .reaper import Reaper
from .relay import IopubRelay, KernelRelay, Relay
from .s3.remote import S3Remote
from .session import Session
from .stream import Stream, StreamHandler
from .ttl import Facts, Ttl, decide
from .usage import UsageReader

_PYTHON = ".".join(map(str, sys.version_info[:3]))
# A peer that has connected must greet within this many seconds.
_GREET_WITHIN = 10.0
_LONGEST_NOTE = 300
# What may wait for a client on a channel other than iopub, which has the configured bound.
_SMALL_SPILL = 16 << 20
_LONGEST_ID = 64
# As the first word of a command: the Python that runs the agent.
_OWN_PYTHON = "{python}"
# Clients ping every 5 s; one that is silent for so long has lost its link.
_PATIENCE = 30.0
# How long a session waits for its client at the most, whatever the runner's own TTL.
_SESSION_KEPT = 24 * 3600.0


class Settings(NamedTuple):
    """What the backend starts an agent with.  Sizes in bytes, durations in seconds.

    ``directory`` is the runner's own: connection file and spill files go there.  ``scope`` says
    where usage is read: ``cgroup`` in a container, ``processes`` for a local runner.
    ``s3_socket`` is where a pod's S3 sidecar listens.
    """

    directory: str
    uid: str
    scope: str
    ttl: Ttl
    memory: int
    spill: int
    s3_socket: Optional[str] = None


class _Peer:
    """A client process: its session, the link that carries it now, and what it runs here."""

    def __init__(
        self,
        id: str,
        observer: bool,
        kept: float,
        dispatch: Callable[[_Peer, str, Dict[str, Any]], Awaitable[Any]],
        accept: Callable[[_Peer, Stream], StreamHandler],
        on_bye: Callable[[_Peer], None],
    ) -> None:
        self.observer = observer
        self.kept = kept
        self.link: Optional[Link] = None
        self.left = time.monotonic()
        self.execs: Set[int] = set()
        self.control: ControlHandler
        self._dispatch = dispatch
        self.session = Session(
            id, self._take_control, lambda: None, lambda stream: accept(self, stream)
        )
        self.session.on_bye = lambda: on_bye(self)

    def _take_control(self, stream: Stream) -> StreamHandler:
        self.control = ControlHandler(
            stream, lambda method, args: self._dispatch(self, method, args)
        )
        return self.control


class Agent:
    """Serves any number of clients of one runner until it is told, or it is time, to end."""

    def __init__(self, settings: Settings, log: Log, loop: asyncio.AbstractEventLoop) -> None:
        self.ending: asyncio.Future[str] = loop.create_future()
        self._settings = settings
        self._log = log
        self._loop = loop
        self._reaper = Reaper(loop)
        self._usage = UsageReader(settings.scope)
        self._kernel = Kernel(
            settings.directory,
            self._reaper,
            log,
            self._broadcast,
            self._oom_kills,
            self._memory_limit,
            self._usage.memory_peak,
        )
        self._s3 = S3Remote(
            *(settings.directory, settings.s3_socket, self._reaper, log),
            lambda mounts: self._broadcast("mounts", {"mounts": mounts}),
        )
        self._peers: Dict[str, _Peer] = {}
        self._execs: Dict[int, ExecProcess] = {}
        self._next_exec = 1
        self._started = time.monotonic()
        self._client_left: Optional[float] = self._started
        self._idle_since: Optional[float] = self._started
        self._ttl_timer: Optional[asyncio.TimerHandle] = None
        self._check_ttl()

    # -- links ------------------------------------------------------------------------------

    def link(self) -> Link:
        """The protocol for a connection that was accepted."""
        link = Link(self._on_greeting, self._on_lost, patience=_PATIENCE)
        self._loop.call_later(_GREET_WITHIN, self._require_greeting, link)
        return link

    def _require_greeting(self, link: Link) -> None:
        if link.session is None:
            link.abort(TimeoutError("the peer did not greet"))

    def _on_greeting(self, link: Link, kind: int, value: Dict[str, Any]) -> Optional[Session]:
        if kind != wire.HELLO:
            raise wire.WireError("a client says HELLO first")
        try:
            peer = self._admit(value)
        except AgentError as error:
            self._log.line(f"client refused: {error.reason}")
            link.send_greeting(wire.REJECT, {**error.to_wire(), "versions": [wire.VERSION]})
            link.close()
            return None
        if peer.link is not None:
            peer.link.abort(ConnectionError("the client has dialled again"))
        peer.session.link_down()
        hello = peer.session.hello()
        hello["agent"] = {"uid": self._settings.uid, "python": _PYTHON}
        link.send_greeting(wire.HELLO, hello)
        is_new = not peer.session.epoch
        peer.session.epoch = int(value["epoch"])
        peer.session.on_output = link.flush
        peer.session.send_now = link.send_now
        peer.session.acknowledge_soon = link.acknowledge_soon
        peer.link = link
        try:
            peer.session.link_up(value)
        except wire.WireError as error:
            if is_new:
                self._forget(peer, "BadHello", str(error))
            raise
        self._count_clients()
        return peer.session

    def _admit(self, hello: Dict[str, Any]) -> _Peer:
        if hello.get("version") != wire.VERSION:
            raise AgentError(
                "ProtocolMismatch",
                f"The runner's agent speaks version {wire.VERSION} of the protocol, the client "
                f"{hello.get('version')!r}.",
                "Use the version of gra that started the runner, or start a new runner.",
            )
        id = params.string(hello, "session")
        epoch = params.integer(hello, "epoch")
        if not 0 < len(id) <= _LONGEST_ID:
            raise AgentError("BadRequest", f"A session's id has 1 to {_LONGEST_ID} characters.")
        if hello.get("agent") not in (None, self._settings.uid):
            raise AgentError(
                "RunnerNotFound",
                "The runner does not exist any more, another one has its name.",
                "Restart the kernel to get a new runner.",
            )
        peer = self._peers.get(id)
        if peer is not None:
            if epoch <= peer.session.epoch:
                raise AgentError("SessionTaken", "Another process has resumed this session.")
            return peer
        if hello.get("resumes", epoch != 1):
            raise AgentError(
                "SessionLost",
                "The runner no longer has this session: the client was away for too long, or "
                "the agent is another one.",
            )
        # A session whose client will not come back in time holds buffers for nobody.
        kept = min(params.number(hello, "keep", _SESSION_KEPT), _SESSION_KEPT)
        if self._settings.ttl.orphan is not None:
            kept = min(kept, self._settings.ttl.orphan)
        observer = bool(hello.get("observer"))
        peer = _Peer(id, observer, kept, self._dispatch, self._accept, self._on_bye)
        self._peers[id] = peer
        return peer

    def _on_lost(self, link: Link, error: Optional[Exception]) -> None:
        for peer in self._peers.values():
            if peer.link is link:
                peer.link = None
                peer.left = time.monotonic()
                peer.session.link_down()
                if error is not None:
                    self._log.line(f"link lost: {error}")
        self._count_clients()

    def _on_bye(self, peer: _Peer) -> None:
        if peer.link is not None:
            # A websocket on the way may be closed much later than this end of the connection.
            peer.link.say_bye()
            peer.link.close()
        self._forget(peer, "ClientLeft", "the client has left")

    def _forget(self, peer: _Peer, reason: str, message: str) -> None:
        self._peers.pop(peer.session.id, None)
        peer.session.end(reason, message)
        for id in peer.execs & set(self._execs):
            self._execs[id].leave()
        self._count_clients()

    # -- streams ----------------------------------------------------------------------------

    def _accept(self, peer: _Peer, stream: Stream) -> StreamHandler:
        try:
            return self._handler(peer, stream)
        except AgentError as error:
            # Only after the session has taken note of the stream.
            self._loop.call_soon(stream.reset, error.reason, error.message)
            return _Refused(stream)

    def _handler(self, peer: _Peer, stream: Stream) -> StreamHandler:
        target = stream.target
        kind = target.get("kind")
        if kind == "kernel":
            channel = params.string(target, "channel")
            if channel not in CHANNELS:
                raise AgentError("BadRequest", f"A kernel has no channel {channel!r}.")
            limit = self._settings.spill if channel == "iopub" else _SMALL_SPILL
            spill = SpillFile(self._settings.directory, limit) if self._settings.spill else None
            stream.out = SendBuffer(self._settings.memory, spill)
            if channel == "iopub":
                return IopubRelay(stream, self._connector(channel), self._notice)
            return KernelRelay(stream, self._connector(channel))
        if kind == "tcp":
            port = params.integer(target, "port")
            if not 0 < port < 1 << 16:
                raise AgentError("BadRequest", f"{port} is no port: 1 to 65535.")
            return Relay(stream, self._port_connector(port))
        if kind == "exec":
            process = self._exec(peer, target)
            fd = params.string(target, "fd")
            if fd == "stderr":
                return process.attach_stderr(stream)
            if fd == "stdio":
                return process.attach_stdio(stream)
            raise AgentError("BadRequest", f"The parameter 'fd' is stdio or stderr, not {fd!r}.")
        raise AgentError("BadRequest", f"The agent has no streams of kind {kind!r}.")

    def _connector(self, channel: str) -> Callable[[asyncio.Protocol], Awaitable[None]]:
        async def connect(protocol: asyncio.Protocol) -> None:
            # For ever, if need be: a client's sockets reconnect to a kernel that has died, and
            # are there when it is started again.
            while True:
                await self._kernel.listening()
                try:
                    await self._loop.create_connection(
                        lambda: protocol, "127.0.0.1", self._kernel.ports[channel]
                    )
                except ConnectionRefusedError:
                    await asyncio.sleep(0.02)
                else:
                    return

        return connect

    def _port_connector(self, port: int) -> Callable[[asyncio.Protocol], Awaitable[None]]:
        async def connect(protocol: asyncio.Protocol) -> None:
            await self._loop.create_connection(lambda: protocol, "127.0.0.1", port)

        return connect

    def _notice(self, count: int, size: int, why: str, before: List[bytes]) -> List[bytes]:
        self._log.line(f"{count} messages of iopub dropped, {size} bytes")
        text = dropped_text(count, size, why)
        parent = parent_header(before) or self._kernel.running
        return stream_message(self._kernel.connection, parent, text)

    # -- requests ---------------------------------------------------------------------------

    async def _dispatch(self, peer: _Peer, method: str, args: Dict[str, Any]) -> Any:
        handlers: Dict[str, Callable[[_Peer, Dict[str, Any]], Awaitable[Any]]] = {
            "info": self._do_info,
            "mounts.start": self._do_mounts_start,
            "kernel.start": self._do_kernel_start,
            "kernel.signal": self._do_kernel_signal,
            "kernel.expect_exit": self._do_kernel_expect_exit,
            "kernel.connection": self._do_kernel_connection,
            "exec.start": self._do_exec_start,
            "exec.signal": self._do_exec_signal,
            "exec.resize": self._do_exec_resize,
            "shutdown": self._do_shutdown,
        }
        handler = handlers.get(method)
        if handler is None:
            raise AgentError(
                "UnknownMethod",
                f"The agent has no method {method!r}.",
                "The client may be newer than the runner: start a new runner.",
            )
        return await handler(peer, args)

    async def _do_info(self, peer: _Peer, args: Dict[str, Any]) -> Dict[str, Any]:
        return {
            "uid": self._settings.uid,
            "pid": os.getpid(),
            "age": time.monotonic() - self._started,
            "clients": self._clients(),
            "kernel": {
                "state": self._kernel.state,
                "pid": self._kernel.pid,
                "incarnation": self._kernel.incarnation,
                "running": self._kernel.running,
                "last_exit": self._kernel.last_exit,
            },
            "usage": self._read_usage(),
            "mounts": self._s3.documents(),
        }

    async def _do_mounts_start(self, peer: _Peer, args: Dict[str, Any]) -> Dict[str, Any]:
        return await self._s3.start(args)

    async def _do_kernel_start(self, peer: _Peer, args: Dict[str, Any]) -> Dict[str, Any]:
        # CPU use is told as a rate since the last look, so there must be a first one.
        self._read_usage()
        return await self._kernel.start(
            params.strings(args, "argv"),
            params.mapping(args, "env"),
            params.optional_string(args, "cwd"),
            params.string(args, "key"),
            params.string(args, "signature_scheme", "hmac-sha256"),
            params.mapping(args, "names"),
            params.number(args, "timeout", 60.0),
        )

    async def _do_kernel_signal(self, peer: _Peer, args: Dict[str, Any]) -> Dict[str, Any]:
        signum = params.integer(args, "signum")
        if not 0 <= signum < signal.NSIG:
            raise AgentError("BadRequest", f"The parameter 'signum' is no signal: {signum}.")
        requested = params.string(args, "requested", "")
        return {"delivered": self._kernel.signal(signum, requested)}

    async def _do_kernel_expect_exit(self, peer: _Peer, args: Dict[str, Any]) -> Dict[str, Any]:
        self._kernel.expect_exit()
        return {}

    async def _do_kernel_connection(self, peer: _Peer, args: Dict[str, Any]) -> Dict[str, Any]:
        if not self._kernel.connection:
            raise AgentError("NoKernel", "No kernel was started in this runner.")
        return self._kernel.connection

    async def _do_exec_start(self, peer: _Peer, args: Dict[str, Any]) -> Dict[str, Any]:
        command = params.strings(args, "argv")
        if command[:1] == [_OWN_PYTHON]:
            # Clients do not know where the runner's Python is.
            command = [sys.executable, *command[1:]]
        process = ExecProcess.start(
            command,
            {**os.environ, **params.mapping(args, "env")},
            params.optional_string(args, "cwd"),
            params.size(args, "tty"),
            self._loop,
            params.flag(args, "keep"),
        )
        self._reaper.watch(process.pid, process.on_child_exit)
        id, self._next_exec = self._next_exec, self._next_exec + 1
        self._execs[id] = process
        peer.execs.add(id)
        task = asyncio.ensure_future(self._follow_exec(peer, id, process))
        process.finished.add_done_callback(lambda _: task)
        return {"exec": id, "pid": process.pid}

    async def _follow_exec(self, peer: _Peer, id: int, process: ExecProcess) -> None:
        status = await process.finished
        self._execs.pop(id, None)
        peer.execs.discard(id)
        peer.control.event("exec.exited", {"exec": id, **status._asdict()})

    async def _do_exec_signal(self, peer: _Peer, args: Dict[str, Any]) -> Dict[str, Any]:
        self._exec(peer, args).signal(params.integer(args, "signum"))
        return {}

    async def _do_exec_resize(self, peer: _Peer, args: Dict[str, Any]) -> Dict[str, Any]:
        size = params.size(args, "tty")
        if size is None:
            raise AgentError("BadRequest", "The parameter 'tty' is to be [rows, columns].")
        self._exec(peer, args).resize(*size)
        return {}

    def _exec(self, peer: _Peer, args: Dict[str, Any]) -> ExecProcess:
        id = params.integer(args, "exec")
        if id not in peer.execs:
            raise AgentError("NoSuchProcess", f"This client has no running process {id}.")
        return self._execs[id]

    async def _do_shutdown(self, peer: _Peer, args: Dict[str, Any]) -> Dict[str, Any]:
        grace = params.number(args, "grace", 2.0)
        await self._kernel.stop(grace)
        self.end("Deleted: a client asked for it")
        return {}

    # -- time -------------------------------------------------------------------------------

    def end(self, reason: str) -> None:
        """Say why the agent is to end; whoever runs it sees :attr:`ending`."""
        if not self.ending.done():
            self.ending.set_result(reason)

    async def close(self, reason: str) -> None:
        """End the kernel and everything that was started here, and tell the clients why."""
        if self._ttl_timer is not None:
            self._ttl_timer.cancel()
        self._broadcast("runner.ending", {"reason": reason})
        for process in list(self._execs.values()):
            process.close()
        await self._kernel.stop(2.0)
        # The kernel's files are closed by now, and what was in them is in the bucket.
        await self._s3.close()
        await asyncio.sleep(0)
        for peer in list(self._peers.values()):
            if peer.link is not None:
                peer.link.close()
            self._forget(peer, "RunnerEnded", reason)
        self._reaper.close()

    def _clients(self) -> int:
        return sum(p.link is not None and not p.observer for p in self._peers.values())

    def _count_clients(self) -> None:
        if self._clients():
            self._client_left = None
        elif self._client_left is None:
            self._client_left = time.monotonic()
        self._check_ttl()

    def _check_ttl(self) -> None:
        if self._ttl_timer is not None:
            self._ttl_timer.cancel()
        now = time.monotonic()
        ttl = self._settings.ttl
        facts = Facts(self._started, self._client_left, self._idle_since)
        reason, wait = decide(ttl, facts, now)
        if reason is not None:
            self.end(reason)
            return
        for peer in [peer for peer in self._peers.values() if peer.link is None]:
            left = peer.left + peer.kept - now
            if left <= 0:
                # Which looks again.
                self._forget(peer, "SessionLost", "the client was away for too long")
                return
            wait = min(wait, left)
        self._ttl_timer = self._loop.call_later(min(wait, 60.0), self._check_ttl)

    # -- the kernel -------------------------------------------------------------------------

    def _broadcast(self, name: str, data: Dict[str, Any]) -> None:
        if name == "kernel.state":
            self._idle_since = None if data["state"] in ("busy", "starting") else time.monotonic()
            self._check_ttl()
        for peer in self._peers.values():
            peer.control.event(name, data)

    def _read_usage(self) -> Dict[str, Any]:
        pids = [os.getpid(), *(process.pid for process in self._execs.values())]
        if self._kernel.pid is not None:
            pids.append(self._kernel.pid)
        return dict(self._usage.read(pids, time.monotonic()))

    def _oom_kills(self) -> Optional[int]:
        return self._usage.oom_kills()

    def _memory_limit(self) -> Optional[int]:
        limit = self._read_usage()["memory_limit"]
        return int(limit) if limit is not None else None


class _Refused:
    """The handler of a stream that is about to be reset."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def on_data(self, data: memoryview) -> None:
        self._stream.consumed(len(data))

    def on_finish(self) -> None:
        """The reset is on its way."""

    def on_reset(self, reason: str, message: str) -> None:
        """Both sides agree."""

    def on_drain(self) -> None:
        """Nothing was written."""


def _terminated(agent: Agent, directory: str, signal_name: str) -> None:
    """End because of a signal.  Whoever deletes a local runner leaves a note of it before."""
    try:
        with open(os.path.join(directory, DELETION_NOTE), encoding="utf-8") as file:
            agent.end(f"Deleted: {file.read(_LONGEST_NOTE)}")
    except (OSError, UnicodeDecodeError):
        agent.end(f"Terminated: the agent got {signal_name}")


async def serve(
    settings: Settings,
    log: Log,
    listen: Callable[[Callable[[], Link]], Awaitable[asyncio.AbstractServer]],
    on_ready: Callable[[], None],
) -> str:
    """Run an agent until it ends; the reason.  ``on_ready`` is called once it can be dialled."""
    loop = asyncio.get_running_loop()
    agent = Agent(settings, log, loop)
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        name = signal.Signals(signum).name
        loop.add_signal_handler(signum, _terminated, agent, settings.directory, name)
    server = await listen(agent.link)
    on_ready()
    log.line(f"agent ready, pid {os.getpid()}, Python {_PYTHON}")
    reason = await agent.ending
    log.line(f"ending: {reason}")
    server.close()
    await agent.close(reason)
    # The last words are under way in the transports; they close once those are out.
    await asyncio.sleep(0.05)
    return reason
