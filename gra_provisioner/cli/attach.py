"""``gra attach``: the channels of a running runner, for any Jupyter client on this machine."""

from __future__ import annotations

import asyncio
import shlex
import signal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .connection_file import connection_file
from .options import JsonOption, RunnerName
from .output import print_json, reported_errors
from .runners import open_service
from .stopping import Stop, Stopper, handle_signals, terminated
from .terminal import waiting_line

if TYPE_CHECKING:
    from ..attachment import Attachment
    from ..service import RunnerService


def attach(
    name: RunnerName,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file",
            "-f",
            metavar="FILE",
            help="Connection file to write. Default: kernel-NAME.json in Jupyter's runtime folder.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Serve the kernel of a runner to local clients until Ctrl-C.

    The first line is the connection file's path. The file holds the kernel's key, is readable
    by you only, and is removed at the end; the runner goes on.
    """
    from jupyter_core.paths import jupyter_runtime_dir

    path = file or Path(jupyter_runtime_dir(), f"kernel-{name}.json")
    with reported_errors(as_json):
        stop = asyncio.run(_serve(name, path.absolute(), as_json))
    if stop is None:
        typer.echo(f"{name} has ended.", err=True)
    else:
        raise typer.Exit(stop.exit_code)


async def _serve(name: str, path: Path, as_json: bool) -> Stop | None:
    """Serve until the runner ends by itself (``None``) or this process is asked to end."""
    stopper = Stopper()
    handle_signals(
        {
            # Ctrl-C is the way to end this command, no failure.
            signal.SIGINT: partial(stopper.request, Stop("SIGINT", 0)),
            signal.SIGTERM: partial(stopper.request, terminated(signal.SIGTERM)),
            signal.SIGHUP: partial(stopper.request, terminated(signal.SIGHUP)),
        }
    )
    async with open_service(only=name) as service:
        attachment = await stopper.until(attach_with_line(service, name))
        if isinstance(attachment, Stop):
            return attachment
        try:
            with connection_file(path, attachment.connection_info):
                _announce(attachment.runner.name, path, as_json)
                return await stopper.until(attachment.wait())
        finally:
            await attachment.close()


async def attach_with_line(service: RunnerService, name: str) -> Attachment:
    """Connect, with a line on the terminal while that takes its time.

    Raises what :meth:`gra_provisioner.service.RunnerService.attach` does.
    """
    with waiting_line() as on_phase:
        return await service.attach(name, on_phase=on_phase)


def _announce(name: str, path: Path, as_json: bool) -> None:
    if as_json:
        print_json({"connection_file": str(path), "runner": name}, indent=None)
        return
    typer.echo(path)
    typer.echo(f"jupyter console --existing {shlex.quote(str(path))}")
    typer.echo(f"Attached to {name}. Ctrl-C detaches; the runner goes on.", err=True)
