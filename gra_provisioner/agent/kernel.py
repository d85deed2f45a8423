"""The kernel of a runner: its process, its ports, whether it listens, and how it ended."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import signal
import sys
from collections import deque
from typing import Any, Callable, Deque, Dict, List, Mapping, Optional, Sequence

from . import death
from .failure import AgentError
from .iopub import Follower
from .log import Log
from .ports import HeldPorts, says_taken
from .reaper import Reaper
from .spawn import ExitStatus, spawn

CHANNELS = ("shell", "iopub", "stdin", "control", "hb")

# Seconds between two looks whether the kernel listens yet.
_LOOK_EVERY = 0.01
# How long after its exit the kernel's last lines may take to arrive: a child of its own can hold
# the pipe open for ever.
_LAST_LINES = 0.3
_KEPT_LINES = 20
# A kernel that finds a port taken is started again with others, so many times in all.
_STARTS = 3
_NO_KERNEL = ("ExecutableNotFound", "ExecutableInvalid", "PermissionDenied")
_KEPT_LINE = 500
# In a traceback, or said by `python -m`: "/usr/bin/python3: No module named ipykernel_launcher".
_NO_IPYKERNEL = re.compile(r"(?:^(?P<python>/.*): )?No module named '?ipykernel(?:_launcher)?\b")


class Kernel:
    """At most one kernel process at a time; a restart starts the next in its place.

    ``on_event(name, data)`` is told ``kernel.started``, ``kernel.state`` and ``kernel.exited``.
    """

    def __init__(
        self,
        directory: str,
        reaper: Reaper,
        log: Log,
        on_event: Callable[[str, Dict[str, Any]], None],
        oom_kills: Callable[[], Optional[int]],
        memory_limit: Callable[[], Optional[int]],
        memory_peak: Callable[[], Optional[int]],
    ) -> None:
        self.state = "none"
        self.pid: Optional[int] = None
        self.incarnation = 0
        self.last_exit: Optional[Dict[str, Any]] = None
        self._directory = directory
        self._reaper = reaper
        self._log = log
        self._on_event = on_event
        self._oom_kills = oom_kills
        self._memory_limit = memory_limit
        self._memory_peak = memory_peak
        self._connection: Dict[str, Any] = {}
        self._ports: Optional[HeldPorts] = None
        self._starts_left = 0
        self._follower: Optional[Follower] = None
        self._requested = ""
        self._tail: Deque[str] = deque(maxlen=_KEPT_LINES)
        self._pipes: List[_LineReader] = []
        self._listening = asyncio.Event()
        self._exited = asyncio.Event()
        self._exited.set()
        self._kills_before: Optional[int] = None
        self._reporting: Optional[asyncio.Future[None]] = None
        self._following: Optional[asyncio.Future[None]] = None

    @property
    def alive(self) -> bool:
        """Whether there is a process."""
        return self.pid is not None

    @property
    def ports(self) -> Dict[str, int]:
        """The port of 127.0.0.1 for each channel; empty before the first kernel."""
        return self._ports.numbers if self._ports is not None else {}

    @property
    def running(self) -> Optional[Dict[str, Any]]:
        """The header of the request being run, or None."""
        return self._follower.activity.running if self._follower is not None else None

    @property
    def connection(self) -> Dict[str, Any]:
        """Key, signature scheme and names of the kernel, for a client that takes it over."""
        return dict(self._connection)

    async def start(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        cwd: Optional[str],
        key: str,
        signature_scheme: str = "hmac-sha256",
        names: Optional[Mapping[str, Any]] = None,
        timeout: float = 60.0,
    ) -> Dict[str, Any]:
        """Start a kernel and wait until it listens.

        Raises :class:`AgentError`: ``KernelRunning``, ``WorkingDirectoryMissing``,
        ``KernelNotFound``, ``KernelStartFailed`` (it ended, or it does not listen after
        ``timeout`` seconds; the kernel's last lines are in the details).
        """
        if not self.alive:
            await self._exited.wait()
        if self.alive or self._starts_left:
            raise AgentError("KernelRunning", "The runner's kernel is running already.")
        self._connection = {"key": key, "signature_scheme": signature_scheme, **(names or {})}
        self._starts_left = _STARTS
        try:
            await self._start_until_no_port_is_taken(argv, {**os.environ, **env}, cwd, timeout)
        finally:
            self._starts_left = 0
        if not self._listening.is_set():
            self.signal(signal.SIGKILL, "failed start")
            await self._exited.wait()
            raise AgentError(
                "KernelStartFailed",
                f"The kernel {argv[0]!r} did not listen on its ports within {timeout:g} s "
                "of its start.",
                "Its last lines may say what it waits for.",
                {"stderr": list(self._tail)},
            )
        return {"pid": self.pid, "incarnation": self.incarnation}

    def signal(self, signum: int, requested: str = "") -> bool:
        """Send a signal to the kernel's process group.  False if there is no kernel."""
        if self.pid is None:
            return False
        if requested:
            self._requested = requested
        try:
            os.killpg(self.pid, signum)
        except ProcessLookupError:
            return False
        return True

    def expect_exit(self) -> None:
        """Whoever asked knows that the kernel will end, so its end is no accident."""
        self._requested = self._requested or "shutdown"

    async def listening(self) -> int:
        """Wait until there is a kernel that listens; the number of its incarnation."""
        await self._listening.wait()
        return self.incarnation

    async def stop(self, grace: float) -> None:
        """End the kernel: SIGTERM, after ``grace`` seconds SIGKILL."""
        self._starts_left = 0
        if not self.alive:
            return
        self.signal(signal.SIGTERM, "shutdown")
        try:
            await asyncio.wait_for(self._exited.wait(), grace)
        except asyncio.TimeoutError:
            self.signal(signal.SIGKILL)
            await self._exited.wait()

    # -- inside -----------------------------------------------------------------------------

    async def _start_until_no_port_is_taken(
        self, argv: Sequence[str], env: Dict[str, str], cwd: Optional[str], timeout: float
    ) -> None:
        while True:
            if self._ports is None:
                self._ports = HeldPorts(CHANNELS, held=self._starts_left == _STARTS)
            self._starts_left -= 1
            path = self._write_connection_file()
            command = [word.replace("{connection_file}", path) for word in argv]
            if command[0] in ("python", "python3"):
                command[0] = sys.executable
            self._spawn(command, env, cwd)
            self._on_event("kernel.state", {"state": self.state})
            await self._listens_or_exits(timeout)
            if not self._exited.is_set():
                return
            if not self._starts_again:
                raise self._start_error(command)
            self._log.line("a port was taken: the kernel is started again with others")
            self._ports.close()
            self._ports = None

    async def _listens_or_exits(self, timeout: float) -> None:
        listens = asyncio.ensure_future(self._wait_until_listening())
        exits = asyncio.ensure_future(self._exited.wait())
        try:
            await asyncio.wait((listens, exits), timeout=timeout, return_when="FIRST_COMPLETED")
        except asyncio.CancelledError:
            # Whoever wanted it has left, and nobody would ever know whether it listens.
            self.signal(signal.SIGKILL, "cancelled start")
            raise
        finally:
            listens.cancel()
            exits.cancel()

    @property
    def _starts_again(self) -> bool:
        """Whether it ended for a port that another program has, and gets others."""
        return self._starts_left > 0 and says_taken(self._tail)

    def _write_connection_file(self) -> str:
        path = os.path.join(self._directory, "kernel.json")
        info: Dict[str, Any] = {f"{name}_port": port for name, port in self.ports.items()}
        info.update(ip="127.0.0.1", transport="tcp")
        info.update({name: self._connection[name] for name in ("key", "signature_scheme")})
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w") as file:
            json.dump(info, file)
        return path

    def _spawn(self, command: List[str], env: Dict[str, str], cwd: Optional[str]) -> None:
        null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        stdout, child_stdout = os.pipe()
        stderr, child_stderr = os.pipe()
        try:
            pid = spawn(command, env, cwd, (null, child_stdout, child_stderr))
        except AgentError as error:
            os.close(stdout)
            os.close(stderr)
            if error.reason in _NO_KERNEL:
                raise AgentError(
                    "KernelNotFound",
                    f"The kernel cannot be run: {error.message}",
                    error.hint or "Correct kernel_argv in the profile or kernelspec.",
                    error.details,
                ) from None
            raise
        finally:
            for fd in (null, child_stdout, child_stderr):
                os.close(fd)
        self._reaper.watch(pid, self._on_exit)
        self.pid = pid
        self.incarnation += 1
        self.state = "starting"
        self._requested = ""
        self._tail.clear()
        self._exited.clear()
        self._kills_before = self._oom_kills()
        loop = asyncio.get_running_loop()
        self._pipes = [
            _LineReader(loop, stdout, self._log, "stdout", None),
            _LineReader(loop, stderr, self._log, "stderr", self._tail),
        ]
        # For whoever cleans up after an agent that was killed.
        with open(os.path.join(self._directory, "kernel.pid"), "w", encoding="ascii") as file:
            file.write(f"{pid} {_start_ticks(pid)}")
        self._log.line(f"kernel {self.incarnation} started, pid {pid}")

    async def _wait_until_listening(self) -> None:
        self._follower = await self._follow()
        # What it said while it started says nothing about a later end.
        self._tail.clear()
        self._set_state("idle")
        self._listening.set()
        self._on_event("kernel.started", {"pid": self.pid, "incarnation": self.incarnation})

    async def _follow(self) -> Follower:
        """Subscribe to iopub as soon as the kernel listens on it."""
        loop = asyncio.get_running_loop()
        while True:
            follower = Follower(loop, self._on_activity, self._on_follower_lost)
            try:
                await loop.create_connection(follower.protocol, "127.0.0.1", self.ports["iopub"])
            except OSError:
                await asyncio.sleep(_LOOK_EVERY)
                continue
            try:
                if await follower.ready:
                    return follower
            except asyncio.CancelledError:
                follower.abort()
                raise

    def _on_follower_lost(self) -> None:
        # The kernel has ended, as a rule, and its exit is about to be noticed; one that lives on
        # is followed again, so that busy does not stay for ever.
        if self.alive and self._listening.is_set():
            self._following = asyncio.ensure_future(self._follow_again())

    async def _follow_again(self) -> None:
        incarnation = self.incarnation
        await asyncio.sleep(_LOOK_EVERY)
        if not self.alive:
            return
        following = asyncio.ensure_future(self._follow())
        exits = asyncio.ensure_future(self._exited.wait())
        await asyncio.wait((following, exits), return_when="FIRST_COMPLETED")
        exits.cancel()
        if not following.done() or incarnation != self.incarnation:
            following.cancel()
            return
        self._follower = following.result()
        self._set_state("idle")

    def _on_activity(self, busy: bool) -> None:
        if self.alive:
            self._set_state("busy" if busy else "idle")

    def _set_state(self, state: str) -> None:
        if state != self.state:
            self.state = state
            self._on_event("kernel.state", {"state": state})

    def _on_exit(self, status: int) -> None:
        pid = self.pid
        self.pid = None
        self._listening.clear()
        if pid is not None:
            try:
                # What it started and did not take along: workers of a pool, shells.
                os.killpg(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                # There is nothing left of the group, or what is left is not ours to end.
                pass
        self._reporting = asyncio.ensure_future(self._report_exit(ExitStatus.from_wait(status)))

    async def _report_exit(self, status: ExitStatus) -> None:
        readers = [reader.done for reader in self._pipes]
        if readers:
            await asyncio.wait(readers, timeout=_LAST_LINES)
        for reader in self._pipes:
            reader.close()
        kills = self._oom_kills()
        before = self._kills_before
        oom = status.signal == signal.SIGKILL and None not in (kills, before) and kills != before
        running = self.running
        if self._follower is not None:
            self._follower.abort()
            self._follower = None
        report = death.explain(
            death.Exit(
                status.code,
                status.signal,
                self._requested,
                oom,
                list(self._tail),
                self._memory_limit(),
                self._memory_peak(),
            )
        )
        report["running"] = running
        report["incarnation"] = self.incarnation
        self.last_exit = report
        self._log.line(f"kernel {self.incarnation} ended: {report['message']}")
        self.state = "dead"
        if not self._starts_again:
            self._on_event("kernel.exited", report)
            self._on_event("kernel.state", {"state": "dead"})
        self._exited.set()

    def _start_error(self, command: List[str]) -> AgentError:
        report = self.last_exit or {}
        lines = list(report.get("stderr", ()))
        said = "\n".join(["Its last lines:", *lines]) if lines else "It wrote nothing to stderr."
        hint = "Run the same command in the runner's environment to see more."
        details: Dict[str, Any] = {name: report.get(name) for name in ("code", "signal")}
        details["stderr"] = lines
        missing = next(filter(None, map(_NO_IPYKERNEL.search, lines)), None)
        if missing is not None:
            python = shlex.quote(missing.group("python") or command[0])
            hint = f"Install what is missing: {python} -m pip install ipykernel"
            # For clients that know what can be done about it where the runner is.
            details["install"] = "ipykernel"
        return AgentError(
            "KernelStartFailed",
            f"The kernel ended while it was starting. {report.get('message', '')} {said}",
            hint,
            details,
        )


class _LineReader:
    """Reads a kernel's stdout or stderr line by line into the log and the list of last lines."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        fd: int,
        log: Log,
        source: str,
        tail: Optional[Deque[str]],
    ) -> None:
        self.done: asyncio.Future[None] = loop.create_future()
        self._loop = loop
        self._fd = fd
        self._log = log
        self._source = source
        self._tail = tail
        self._line = b""
        os.set_blocking(self._fd, False)
        loop.add_reader(self._fd, self._on_readable)

    def _on_readable(self) -> None:
        try:
            data = os.read(self._fd, 1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        *lines, self._line = (self._line + data).split(b"\n")
        if len(self._line) > 1 << 16:
            lines.append(self._line)
            self._line = b""
        for line in lines:
            self._say(line)

    def close(self) -> None:
        """Stop reading.  Called at the end of the pipe, or when nobody waits for it any more."""
        if self.done.done():
            return
        if self._line:
            self._say(self._line)
        self._loop.remove_reader(self._fd)
        os.close(self._fd)
        self.done.set_result(None)

    def _say(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace").rstrip("\r")
        if self._tail is not None:
            self._tail.append(text[:_KEPT_LINE])
        self._log.line(text, self._source)


def _start_ticks(pid: int) -> str:
    """The process's start time (proc(5)), which tells it from a later one with its pid."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b") ")[2].split()[19].decode()
    except (OSError, IndexError):
        return ""
