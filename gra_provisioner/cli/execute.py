"""``gra exec``: a command, or Python code, in a runner."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import dataclasses
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from ..execution import KILLED_AFTER, Ended
from .exec_output import JsonLines, SameStreams, Sink
from .launch_options import variable
from .options import JsonOption, RunnerName
from .output import print_json, reported_errors
from .runners import open_service
from .stopping import handle_signals

if TYPE_CHECKING:
    from ..service import RunnerService
    from ..tunnel.process import RemoteProcess

T = TypeVar("T")

_BLOCK = 1 << 16
# Of Ctrl-C that a command may ignore.
_PATIENCE = 2
# What shells say of a program whose output nobody reads any more.
_BROKEN_PIPE = 128 + signal.SIGPIPE


@dataclass(frozen=True)
class _Command:
    """What to run and how; ``code`` is for Python's stdin instead of ours."""

    runner: str
    argv: tuple[str, ...]
    env: dict[str, str]
    cwd: str | None
    interactive: bool
    tty: bool
    keep: bool
    code: bytes | None = None


def execute(
    name: RunnerName,
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="-- COMMAND", help="And its arguments. With --file: those of the code."
        ),
    ] = None,
    file: Annotated[
        str | None,
        typer.Option(
            "--file",
            "-f",
            metavar="FILE",
            help="Python code to run with the runner's Python; - reads it from stdin.",
        ),
    ] = None,
    interactive: Annotated[
        bool, typer.Option("--stdin", "-i", help="Pass this command's stdin on.")
    ] = False,
    tty: Annotated[
        bool, typer.Option("--tty", "-t", help="Run it on a terminal, as large as this one.")
    ] = False,
    env: Annotated[
        list[str] | None,
        typer.Option(
            "--env",
            "-e",
            metavar="NAME[=VALUE]",
            help="Set a variable; without VALUE as it is here.",
        ),
    ] = None,
    cwd: Annotated[
        str | None, typer.Option("--cwd", metavar="FOLDER", help="Where in the runner it runs.")
    ] = None,
    timeout: Annotated[
        str | None,
        typer.Option("--timeout", metavar="TIME", help="End it after so long, for example 30s."),
    ] = None,
    limit: Annotated[
        str,
        typer.Option("--limit", metavar="SIZE", help="Of each output in JSON; the middle goes."),
    ] = "1Mi",
    keep: Annotated[
        bool,
        typer.Option("--keep", help="Let it go on, unread, where this command ends before it."),
    ] = False,
    stream: Annotated[
        bool, typer.Option("--stream", help="Print output as JSON lines, as it is written.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Run a command in a runner; its exit code becomes this command's.

    Output comes as it is written, stdout and stderr apart. Ctrl-C goes to the command; the third
    one kills it. With --json one object is printed at the end: exit_code, stdout, stderr (each with
    what was left out of it), duration, timed_out. With --stream each piece of output is an object
    in a line of its own, and the last line tells the end. Without a command, Python code is read
    from stdin, unless that is a terminal.
    """
    from ..units import parse_bound, parse_size

    if stream and as_json:
        raise typer.BadParameter("Choose one of --stream (as it comes) and --json (at the end).")
    if tty and (as_json or stream):
        raise typer.BadParameter("A terminal's output is no JSON: use --tty, --json or --stream.")
    if tty and not sys.stdin.isatty():
        raise typer.BadParameter("--tty needs a terminal as stdin.")
    if not command and file is None:
        if sys.stdin.isatty():
            raise typer.BadParameter("Name a command behind --, or a file with --file.")
        file = "-"
    if file == "-" and interactive:
        raise typer.BadParameter("stdin is either the code (--file -) or passed on (--stdin).")
    request = _Command(
        name,
        tuple(command or ()),
        {name: value for name, value, _ in map(variable, env or ())},
        cwd,
        interactive or tty,
        tty,
        keep,
    )
    bound = None if timeout is None else _parsed(parse_bound, timeout, "--timeout")
    kept = _parsed(parse_size, limit, "--limit")
    if file is not None:
        request = _python(request, file)
    with reported_errors(as_json or stream):
        if as_json:
            raise typer.Exit(asyncio.run(_to_json(request, bound, kept)))
        sink = JsonLines() if stream else SameStreams()
        raise typer.Exit(asyncio.run(_live(request, bound, sink)))


def _parsed(parse: Callable[[object], T], text: str, option: str) -> T:
    try:
        return parse(int(text) if text.isdecimal() else text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r}: {error}", param_hint=option) from None


def _python(request: _Command, file: str) -> _Command:
    """The command that runs a file of code, which is read here."""
    try:
        code = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"{file}: {error.strerror}", param_hint="--file") from None
    from ..tunnel.process import RUNNERS_PYTHON

    if not request.interactive:
        argv = (RUNNERS_PYTHON, "-", *request.argv)
        return dataclasses.replace(request, argv=argv, code=code)
    # Its stdin is not free for the code.
    argv = (RUNNERS_PYTHON, "-c", code.decode("utf-8", "surrogateescape"), *request.argv)
    return dataclasses.replace(request, argv=argv)


async def _to_json(request: _Command, timeout: float | None, limit: int) -> int:
    """Run it to its end and print what came of it."""
    stdin = request.code
    if stdin is None:
        stdin = sys.stdin.buffer.read() if request.interactive else b""
    async with open_service() as service:
        done = await service.execute(
            request.runner,
            request.argv,
            env=request.env,
            cwd=request.cwd,
            stdin=stdin,
            timeout=timeout,
            limit=limit,
            keep_running=request.keep,
        )
    print_json(done.public())
    return done.ended.exit_code


async def _live(request: _Command, timeout: float | None, sink: Sink) -> int:
    """Run it with its output on ours as it comes."""
    async with open_service() as service, _started(service, request) as process:
        run = _Run(process, request.runner, sink)
        run.take_signals(keep=request.keep)
        if request.tty:
            run.follow_size()
        timer = None
        if timeout is not None:
            timer = asyncio.get_running_loop().call_later(timeout, run.time_out)
        with _raw_terminal() if request.tty else contextlib.nullcontext():
            if request.code is not None:
                run.spawn(run.give(request.code))
            elif request.interactive:
                threading.Thread(target=run.feed, daemon=True).start()
            else:
                process.finish()
            try:
                return await run.to_end()
            finally:
                if timer is not None:
                    timer.cancel()


def _started(
    service: RunnerService, request: _Command
) -> contextlib.AbstractAsyncContextManager[RemoteProcess]:
    return service.process(
        request.runner,
        request.argv,
        env=request.env,
        cwd=request.cwd,
        tty=_size() if request.tty else None,
        keep_running=request.keep,
    )


def _size() -> tuple[int, int]:
    try:
        columns, rows = os.get_terminal_size(0)
    except OSError:
        columns = rows = 0
    # A pseudo-terminal whose size nobody has set says 0.
    return rows or 24, columns or 80


@contextlib.contextmanager
def _raw_terminal() -> Iterator[None]:
    """Every key goes to the command, Ctrl-C too (termios(3))."""
    import termios
    import tty

    before = termios.tcgetattr(0)
    tty.setraw(0)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


class _Run:
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

    def take_signals(self, *, keep: bool) -> None:
        """Pass on what this process is told; a hang-up ends it here, and so there.

        What is to be kept is left at a SIGTERM, too.
        """
        leave = partial(self._hang_up, 128 + signal.SIGTERM)
        handle_signals(
            {
                signal.SIGINT: self._on_interrupt,
                signal.SIGTERM: leave if keep else self._pass_on_term,
                signal.SIGHUP: lambda: self._hang_up(128 + signal.SIGHUP),
            }
        )

    def _pass_on_term(self) -> None:
        self.spawn(self._process.signal(signal.SIGTERM))

    def follow_size(self) -> None:
        """Tell the command's terminal when ours changes its size."""
        resized = lambda: self.spawn(self._process.resize(*_size()))  # noqa: E731
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
            return _BROKEN_PIPE
        return end.exit_code
