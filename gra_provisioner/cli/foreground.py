"""A process in a runner in the place of this one: its output on ours, and our signals to it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import signal
from collections.abc import Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any

import typer

from ..execution import KILLED_AFTER, Ended
from .stopping import handle_signals

if TYPE_CHECKING:
    from ..tunnel.process import RemoteProcess
    from .exec_output import Sink

_BLOCK = 1 << 16
# Of Ctrl-C that a command may ignore.
_PATIENCE = 2
#: What shells say of a program whose output nobody reads any more.
BROKEN_PIPE = 128 + signal.SIGPIPE


def terminal_size() -> tuple[int, int]:
    """Rows and columns of the terminal that is our stdin."""
    try:
        columns, rows = os.get_terminal_size(0)
    except OSError:
        columns = rows = 0
    # A pseudo-terminal whose size nobody has set says 0.
    return rows or 24, columns or 80


class Foreground:
    """A process that has this one's stdin, stdout, stderr and signals."""

    def __init__(self, process: RemoteProcess, runner: str, sink: Sink) -> None:
        self._process = process
        self._runner = runner
        self._sink = sink
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.time()
        self._tasks: set[asyncio.Task[None]] = set()
        self._interrupts = 0
        self._timed_out = False
        self._hung_up: asyncio.Future[int] = self._loop.create_future()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something beside; an error of it ends the run."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_done)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not self._hung_up.done():
            self._hung_up.set_exception(error)

    def take_signals(self, *, leave_at_term: bool) -> None:
        """Pass on what this process is told; a hang-up ends it here, and so there.

        ``leave_at_term``: so does a SIGTERM, of what is kept, or ended by other means.
        """
        leave = partial(self._hang_up, 128 + signal.SIGTERM)
        handle_signals(
            {
                signal.SIGINT: self._on_interrupt,
                signal.SIGTERM: leave if leave_at_term else self._pass_on_term,
                signal.SIGHUP: lambda: self._hang_up(128 + signal.SIGHUP),
            }
        )

    def _pass_on_term(self) -> None:
        self.spawn(self._process.signal(signal.SIGTERM))

    def follow_size(self) -> None:
        """Tell the command's terminal when ours changes its size."""
        resized = lambda: self.spawn(self._process.resize(*terminal_size()))  # noqa: E731
        handle_signals({signal.SIGWINCH: resized})

    def time_out(self) -> None:
        """End the command: SIGTERM, SIGKILL 5 s later."""
        self._timed_out = True
        self.spawn(self._process.signal(signal.SIGTERM))
        self._loop.call_later(KILLED_AFTER, self._kill)

    def _kill(self) -> None:
        if not self._hung_up.done():
            self.spawn(self._process.signal(signal.SIGKILL))

    def _on_interrupt(self) -> None:
        self._interrupts += 1
        if self._interrupts > _PATIENCE:
            self._kill()
            return
        self.spawn(self._process.signal(signal.SIGINT))
        if self._interrupts == _PATIENCE:
            typer.echo("Ctrl-C once more kills it.", err=True)

    def _hang_up(self, exit_code: int) -> None:
        if not self._hung_up.done():
            self._hung_up.set_result(exit_code)

    async def give(self, data: bytes) -> None:
        """All of the command's stdin."""
        await self._process.write(data)
        self._process.finish()

    def feed(self) -> None:
        """Pass our stdin on, in a thread that may stay in its read at the end."""
        while True:
            try:
                data = os.read(0, _BLOCK)
            except OSError:
                # A terminal that is gone.
                data = b""
            work = self._process.write(data) if data else self._finish()
            try:
                asyncio.run_coroutine_threadsafe(work, self._loop).result()
            except (RuntimeError, concurrent.futures.CancelledError):
                # The loop has ended, with the command.
                work.close()
                return
            if not data:
                return

    async def _finish(self) -> None:
        self._process.finish()

    async def to_end(self) -> int:
        """Print until the command has ended; the exit code for this one."""
        printing = asyncio.create_task(self._print())
        try:
            await asyncio.wait((printing, self._hung_up), return_when="FIRST_COMPLETED")
            if not printing.done():
                return self._hung_up.result()
            return await printing
        finally:
            printing.cancel()
            self._hung_up.cancel()

    async def _print(self) -> int:
        try:
            while (piece := await self._process.read()) is not None:
                # Whoever reads slowly holds the command up, not the connection.
                await self._loop.run_in_executor(None, self._sink.take, piece)
            seconds = self._loop.time() - self._started
            end = Ended(self._runner, await self._process.wait(), seconds, self._timed_out)
            await self._loop.run_in_executor(None, self._sink.end, end)
        except BrokenPipeError:
            return BROKEN_PIPE
        return end.exit_code
