"""``gra console``: ``jupyter console`` on the kernel of a running runner, in this terminal."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import signal
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ..errors import GraError
from .attach import attach_with_line
from .connection_file import connection_file
from .options import RunnerName
from .output import print_error, reported_errors
from .runners import open_service
from .stopping import Stop, Stopper, handle_signals, terminated

if TYPE_CHECKING:
    from ..attachment import Attachment

# Seconds for a console that is told to end.
_GRACE = 5.0


def console(name: RunnerName) -> None:
    """Open a Jupyter console on the kernel of a runner; the runner goes on when it is left.

    Ctrl-C interrupts the kernel while a cell runs.
    """
    from jupyter_core.paths import jupyter_runtime_dir

    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise typer.BadParameter(
            "It needs a terminal as stdin and stdout. For other clients: gra attach; for code from "
            "a pipe: gra exec."
        )
    path = Path(jupyter_runtime_dir(), f"kernel-{name}-{os.getpid()}.json").absolute()
    with reported_errors():
        _require_console()
        code = asyncio.run(_run(name, path))
    if code is None:
        typer.echo(f"The kernel of {name} was shut down.", err=True)
    elif not code:
        typer.echo(f"{name} goes on.", err=True)
    raise typer.Exit(code or 0)


def _require_console() -> None:
    if importlib.util.find_spec("jupyter_console") is None:
        raise GraError(
            f"The package jupyter_console is not installed in {sys.prefix}.",
            hint=f"Install it: {sys.executable} -m pip install jupyter-console",
            reason="ConsoleMissing",
        )


async def _run(name: str, path: Path) -> int | None:
    """Attach, and let the console have the terminal: the exit code, ``None`` without a kernel."""
    stopper = Stopper()
    handle_signals(
        {
            signum: partial(stopper.request, terminated(signum))
            for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        }
    )
    async with open_service(only=name) as service:
        attachment = await stopper.until(attach_with_line(service, name))
        if isinstance(attachment, Stop):
            return attachment.exit_code
        try:
            with connection_file(path, attachment.connection_info), _terminal_restored():
                code = await stopper.until(_console(attachment, path))
        finally:
            await attachment.close()
    return code.exit_code if isinstance(code, Stop) else code


@contextlib.contextmanager
def _terminal_restored() -> Iterator[None]:
    """A console that is ended while it reads a line leaves the terminal as it needs it."""
    import termios

    before = termios.tcgetattr(0)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


async def _console(attachment: Attachment, path: Path) -> int | None:
    """Run the console until it is left: its exit code; or until somebody shuts the kernel down.

    Raises what :meth:`gra_provisioner.attachment.Attachment.wait` does.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gra_provisioner.cli.console_app", "--existing", str(path)
    )
    left = asyncio.ensure_future(process.wait())
    ended = asyncio.ensure_future(attachment.wait())
    interrupts: set[asyncio.Task[None]] = set()
    handle_signals({signal.SIGINT: partial(_interrupt, attachment, interrupts.add)})
    try:
        await asyncio.wait({left, ended}, return_when=asyncio.FIRST_COMPLETED)
        if left.done():
            code = left.result()
            return code if code >= 0 else 128 - code
        await _end(process)
        # Behind whatever the console has written last.
        typer.echo(err=True)
        await ended
        return None
    finally:
        await _end(process)
        for task in (left, ended, *interrupts):
            task.cancel()


def _interrupt(attachment: Attachment, remember: Callable[[asyncio.Task[None]], None]) -> None:
    """Ctrl-C is a signal only while a cell runs: at its prompt the console reads it as a key."""

    async def interrupt() -> None:
        try:
            await attachment.interrupt()
        except GraError as error:
            print_error(error, as_json=False)

    remember(asyncio.ensure_future(interrupt()))


async def _end(process: asyncio.subprocess.Process) -> None:
    """End the console if it is there yet."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(asyncio.shield(asyncio.ensure_future(process.wait())), _GRACE)
    except asyncio.TimeoutError:
        process.kill()
        await process.wait()
