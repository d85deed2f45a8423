"""``gra kernel``: what a kernelspec's ``argv`` runs, for clients that ignore provisioners.

To its client it is the kernel's process: it serves the channels of the connection file that
the client wrote, passes on interrupts, and ends when the kernel does.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import AsyncIterator, Coroutine, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..environment import difference
from ..errors import GraError, KernelDied
from ..progress import LaunchProgress
from .connection_file import read_connection_file
from .launch_options import ProfileOption
from .output import launch_observers, print_error, reported_errors
from .stopping import Stop, Stopper, handle_signals, terminated

if TYPE_CHECKING:
    from ..attachment import Attachment
    from ..profiles import Config

_PARENT_POLL = 1.0
_KERNEL_FILE = re.compile(r"kernel-(?P<id>[0-9a-fA-F-]{36})\.json", re.ASCII)


def kernel(
    file: Annotated[
        Path,
        typer.Option(
            "--file", "-f", metavar="FILE", help="Connection file that the client has written."
        ),
    ],
    profile: ProfileOption = None,
) -> None:
    """Start a runner and be its kernel's process to a Jupyter client.

    Clients run this, people seldom do. SIGINT interrupts the kernel; SIGTERM, and the end of
    the client (JPY_PARENT_PID), delete the runner. The exit code is the kernel's.
    """
    from ..profiles import load_config

    with reported_errors():
        code = asyncio.run(_run(load_config(os.environ), profile, file.absolute(), os.environ))
    raise typer.Exit(code)


async def _run(config: Config, profile: str | None, path: Path, environ: Mapping[str, str]) -> int:
    """Run the kernel to its end: the exit code."""
    from ..profiles import resolve
    from ..service import RunnerService, labels_of_this_process

    spec = resolve(config, {} if profile is None else {"profile": profile}, "gra kernel")
    connection_info = read_connection_file(path)
    # jupyter_client and those that follow it name the file after the kernel's id.
    match = _KERNEL_FILE.fullmatch(path.name)
    labels = labels_of_this_process(
        kernel_id=match["id"] if match else None,
        kernel_name=connection_info.get("kernel_name") or None,
        notebook=environ.get("JPY_SESSION_NAME"),
        owner=config.owner,
    )
    stopper = Stopper()
    interrupts: asyncio.Queue[None] = asyncio.Queue()
    handle_signals(
        {
            signal.SIGINT: partial(interrupts.put_nowait, None),
            signal.SIGTERM: partial(stopper.request, terminated(signal.SIGTERM)),
            signal.SIGHUP: partial(stopper.request, terminated(signal.SIGHUP)),
        }
    )
    async with (
        _background(_watch_parent(stopper, environ.get("JPY_PARENT_PID"))),
        RunnerService.from_config(config) as service,
    ):

        async def launch() -> Attachment:
            with LaunchProgress(launch_observers()) as progress:
                return await service.launch(
                    spec,
                    labels,
                    connection_info=connection_info,
                    # What the client changed cannot be told from what it inherited.
                    env=difference(environ, environ, spec.forward_env),
                    cwd=str(Path.cwd()),
                    folder=str(Path.cwd()),
                    on_phase=progress,
                )

        attachment = await stopper.until(launch())
        if isinstance(attachment, Stop):
            return attachment.exit_code
        try:
            async with _background(_pass_interrupts(interrupts, attachment)):
                stop = await stopper.until(attachment.wait())
                return 0 if stop is None else stop.exit_code
        except KernelDied as error:
            print_error(error, as_json=False)
            return _exit_code(error)
        finally:
            await attachment.delete()


def _exit_code(error: KernelDied) -> int:
    """The dead kernel's exit code, as a shell gives it: 128 + number for a signal."""
    code = error.details.get("code")
    if not isinstance(code, int):
        return error.exit_code
    return code if code >= 0 else 128 - code


@contextlib.asynccontextmanager
async def _background(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Runs a coroutine that has no end of its own beside the body."""
    task = asyncio.ensure_future(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _pass_interrupts(interrupts: asyncio.Queue[None], attachment: Attachment) -> None:
    while True:
        await interrupts.get()
        try:
            await attachment.interrupt()
        except GraError as error:
            print_error(error, as_json=False)


async def _watch_parent(stopper: Stopper, parent: str | None) -> None:
    """Ask for the end when the client is gone, which jupyter_client names in JPY_PARENT_PID.

    As ipykernel's ParentPollerUnix: with a process in between (a shell, ``conda run``) only
    init as the new parent counts.
    """
    if not parent:
        return
    original = os.getppid()
    direct = parent == str(original)
    while True:
        current = os.getppid()
        if (direct and current != original) or (not direct and current == 1):
            stopper.request(Stop("the client is gone", 1))
            return
        await asyncio.sleep(_PARENT_POLL)
