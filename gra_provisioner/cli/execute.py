"""``gra exec``: a command, or Python code, in a runner."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .exec_output import JsonLines, SameStreams, Sink
from .foreground import Foreground, terminal_size
from .launch_options import variable
from .options import JsonOption, RunnerName, parsed
from .output import print_json, reported_errors
from .runners import open_service
from .terminal import waiting_line

if TYPE_CHECKING:
    from ..service import RunnerService
    from ..tunnel.process import RemoteProcess


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
    bound = None if timeout is None else parsed(parse_bound, timeout, "--timeout")
    kept = parsed(parse_size, limit, "--limit")
    if file is not None:
        request = _python(request, file)
    with reported_errors(as_json or stream):
        if as_json:
            raise typer.Exit(asyncio.run(_to_json(request, bound, kept)))
        sink = JsonLines() if stream else SameStreams()
        raise typer.Exit(asyncio.run(_live(request, bound, sink)))


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
    async with open_service(only=request.runner) as service:
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
    async with (
        open_service(only=request.runner) as service,
        contextlib.AsyncExitStack() as stack,
    ):
        with waiting_line() as on_phase:
            process = await stack.enter_async_context(_started(service, request, on_phase))
        run = Foreground(process, request.runner, sink)
        run.take_signals(leave_at_term=request.keep)
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
    service: RunnerService, request: _Command, on_phase: Callable[[str, str], None]
) -> contextlib.AbstractAsyncContextManager[RemoteProcess]:
    return service.process(
        request.runner,
        request.argv,
        env=request.env,
        cwd=request.cwd,
        tty=terminal_size() if request.tty else None,
        keep_running=request.keep,
        on_phase=on_phase,
    )


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
