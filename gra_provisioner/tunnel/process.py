"""A process in a runner, as this process sees it: started, fed, read, signalled, waited for."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections import deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..agent.stream import Stream
from ..errors import GraError, RequestError, from_wire
from ..execution import KILLED_AFTER, LIMIT, Bounded, Ended, Execution, ProcessExit
from .client import Tunnel
from .links import Dial

STDOUT, STDERR = "stdout", "stderr"
# How long, in seconds, a process goes on whose client is gone without a word: killed, or cut off.
KEPT = 600.0
# Stands for the Python that runs the agent, as the first word of a command.
RUNNERS_PYTHON = "{python}"


@dataclass(frozen=True)
class Output:
    """What a process has written, in pieces as they came; ``source`` is stdout or stderr."""

    source: str
    data: bytes


class RemoteProcess:
    """One process in a runner, over a tunnel of its own.

    Output is read piece by piece with :meth:`read`, and whoever does not read holds the process up
    as a full pipe would; nothing of it is lost when the link drops.  Closing while it runs hangs
    up on it (SIGHUP) unless it was started to be kept, and so does an absence of more than ``keep``
    seconds.  All methods belong to the loop on which it was started.
    """

    def __init__(self, dial: Dial, keep: float = KEPT) -> None:
        self._tunnel = Tunnel(dial, self._on_event, keep=keep)
        self._id = 0
        self._stdin: Stream | None = None
        self._pieces: deque[tuple[Stream, Output]] = deque()
        self._read: tuple[Stream, int] | None = None
        self._open: set[str] = set()
        self._exit: ProcessExit | None = None
        self._error: GraError | None = None
        # Set whenever something has come that a reader or writer may wait for.
        self._changed = asyncio.Event()

    async def start(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        tty: tuple[int, int] | None = None,
        keep_running: bool = False,
    ) -> None:
        """Connect and start ``argv``, with ``env`` on top of the agent's environment.

        ``tty``: on a terminal of so many rows and columns; then all output is stdout.
        ``keep_running``: the end of this object does not hang up on it; what it writes from then
        on is dropped.  Raises the agent's :class:`~..errors.RequestError`
        (``ExecutableNotFound``, ``WorkingDirectoryMissing``, …) or what the tunnel does.
        """
        await self._tunnel.connect()
        args: dict[str, Any] = {"argv": list(argv), "env": dict(env or {})}
        if cwd is not None:
            args["cwd"] = cwd
        if tty is not None:
            args["tty"] = list(tty)
        if keep_running:
            args["keep"] = True
        started = await self._tunnel.request("exec.start", args)
        self._id = started["exec"]
        self._open = {STDOUT} if tty is not None else {STDOUT, STDERR}
        self._stdin = self._stream("stdio", STDOUT)
        if STDERR in self._open:
            self._stream("stderr", STDERR)

    def _stream(self, fd: str, source: str) -> Stream:
        target = {"kind": "exec", "exec": self._id, "fd": fd}
        return self._tunnel.open(target, lambda stream: _Reader(self, stream, source))

    async def read(self) -> Output | None:
        """The next piece of output; None once the process has ended and all of it was read.

        Raises :class:`~..errors.GraError` where the rest is lost: with what ended the runner, or
        :class:`~..errors.SessionLost`.
        """
        if self._read is not None:
            # The piece before is done with, so the process may write as much again.
            (stream, size), self._read = self._read, None
            stream.consumed(size)
        while not self._pieces:
            if self._error is not None:
                raise self._error
            if not self._open and self._exit is not None:
                return None
            await self._wait()
        stream, piece = self._pieces.popleft()
        self._read = stream, len(piece.data)
        return piece

    async def write(self, data: bytes) -> None:
        """Write to the process's stdin; waits while too much is on its way.

        What a process does not read before it ends is dropped, as with a pipe.
        """
        stream = self._stdin
        if stream is None:
            raise RuntimeError("the process was not started")
        stream.write(data)
        while stream.backlog > stream.high_water and not self._is_over(stream):
            await self._wait()

    def finish(self) -> None:
        """End the process's stdin."""
        if self._stdin is not None:
            self._stdin.finish()

    async def wait(self) -> ProcessExit:
        """How the process ended, once its output was read to the end (:meth:`read` gave None)."""
        while self._exit is None:
            if self._error is not None:
                raise self._error
            await self._wait()
        return self._exit

    async def signal(self, signum: int) -> None:
        """Send a signal to the process's group; nothing happens once it has ended."""
        await self._ask("exec.signal", signum=signum)

    async def resize(self, rows: int, columns: int) -> None:
        """Give the process's terminal a size; nothing happens once it has ended."""
        await self._ask("exec.resize", tty=[rows, columns])

    async def _ask(self, method: str, **args: Any) -> None:
        try:
            await self._tunnel.request(method, {"exec": self._id, **args})
        except RequestError as error:
            if error.code != "NoSuchProcess":
                raise

    async def close(self) -> None:
        """Hang up on the process if it still runs, and release the connection."""
        await self._tunnel.close()

    # -- inside -----------------------------------------------------------------------------

    async def _wait(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def _is_over(self, stream: Stream) -> bool:
        return stream.closed or self._exit is not None or self._error is not None

    def _on_event(self, name: str, data: dict[str, Any]) -> None:
        if name == "exec.exited" and data.get("exec") == self._id:
            self._exit = ProcessExit(data.get("code"), data.get("signal"))
        elif name == "tunnel.session_lost":
            self._error = from_wire(data)
        self._changed.set()

    def _came(self, stream: Stream, piece: Output) -> None:
        self._pieces.append((stream, piece))
        self._changed.set()

    def _finished(self, source: str) -> None:
        self._open.discard(source)
        self._changed.set()

    def _lost(self, reason: str, message: str) -> None:
        if self._exit is None or self._open:
            ended = self._tunnel.ended
            self._error = (
                ended.result()
                if ended.done()
                else from_wire({"reason": reason, "message": message})
            )
        self._changed.set()

    def _drained(self) -> None:
        self._changed.set()


class _Reader:
    """The :class:`~..agent.stream.StreamHandler` of one of a process's streams."""

    def __init__(self, process: RemoteProcess, stream: Stream, source: str) -> None:
        self._process = process
        self._stream = stream
        self._source = source

    def on_data(self, data: memoryview) -> None:
        """See :class:`~..agent.stream.StreamHandler`."""
        self._process._came(self._stream, Output(self._source, bytes(data)))

    def on_finish(self) -> None:
        """See :class:`~..agent.stream.StreamHandler`."""
        self._process._finished(self._source)

    def on_reset(self, reason: str, message: str) -> None:
        """See :class:`~..agent.stream.StreamHandler`."""
        self._process._lost(reason, message)

    def on_drain(self) -> None:
        """See :class:`~..agent.stream.StreamHandler`."""
        self._process._drained()


async def stream_to_end(
    process: RemoteProcess, runner: str, *, stdin: bytes = b"", timeout: float | None = None
) -> AsyncGenerator[Output | Ended, None]:
    """Feed a process and read it to its end: its output, piece by piece, and how it ended.

    After ``timeout`` seconds it is ended: SIGTERM to its process group, SIGKILL 5 s later.  Raises
    what :meth:`RemoteProcess.read` does.
    """
    loop = asyncio.get_running_loop()
    started = loop.time()
    timed_out = False

    async def feed() -> None:
        await process.write(stdin)
        process.finish()

    async def end() -> None:
        nonlocal timed_out
        await asyncio.sleep(timeout or 0.0)
        timed_out = True
        await process.signal(signal.SIGTERM)
        await asyncio.sleep(KILLED_AFTER)
        await process.signal(signal.SIGKILL)

    beside = [asyncio.create_task(feed())]
    if timeout is not None:
        beside.append(asyncio.create_task(end()))
    try:
        while (piece := await process.read()) is not None:
            yield piece
    finally:
        for task in beside:
            task.cancel()
        await asyncio.wait(beside)
    yield Ended(runner, await process.wait(), loop.time() - started, timed_out)


async def kept_of(pieces: AsyncGenerator[Output | Ended, None], limit: int = LIMIT) -> Execution:
    """What :func:`stream_to_end` gives, in one, with ``limit`` bytes of stdout and of stderr."""
    captured = {STDOUT: Bounded(limit), STDERR: Bounded(limit)}
    async with contextlib.aclosing(pieces):
        async for piece in pieces:
            if isinstance(piece, Ended):
                return Execution(piece, captured[STDOUT].captured(), captured[STDERR].captured())
            captured[piece.source].add(piece.data)
    raise RuntimeError("a process's stream ended without its end")
