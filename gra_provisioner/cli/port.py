"""``gra port``: ports of a runner on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import GraError
from .options import JsonOption, RunnerName
from .output import print_json, reported_errors
from .runners import open_service
from .stopping import Stop, Stopper, handle_signals, terminated
from .terminal import waiting_line

if TYPE_CHECKING:
    from ..tunnel.forward import PortForward


def port(
    name: RunnerName,
    ports: Annotated[
        list[str],
        typer.Argument(
            metavar="[LOCAL:]PORT...",
            help="8080: the same here, 9000:8080: as 9000 here, 0:8080: as any free one.",
        ),
    ],
    address: Annotated[
        str, typer.Option("--address", metavar="ADDRESS", help="Where to listen on this machine.")
    ] = "127.0.0.1",
    as_json: JsonOption = False,
) -> None:
    """Serve ports of a runner on this machine until Ctrl-C.

    What listens on the runner's 127.0.0.1 can then be reached here, a web server for example.
    Connections live on when the link drops.
    """
    pairs = [_pair(text) for text in ports]
    with reported_errors(as_json):
        stop = asyncio.run(_serve(name, pairs, address, as_json))
    raise typer.Exit(stop.exit_code)


def _pair(text: str) -> tuple[int, int]:
    """The local port and the runner's."""
    local, colon, remote = text.rpartition(":")
    words = [local if colon else remote, remote]
    numbers = [int(word) if word.isdecimal() and len(word) < 6 else -1 for word in words]
    if not (0 <= numbers[0] < 1 << 16 and 0 < numbers[1] < 1 << 16):
        raise typer.BadParameter(
            f"{text!r} is no port, nor LOCAL:PORT: from 1 to 65535, LOCAL also 0.",
            param_hint="PORT",
        )
    return numbers[0], numbers[1]


async def _serve(name: str, pairs: list[tuple[int, int]], address: str, as_json: bool) -> Stop:
    stopper = Stopper()
    handle_signals(
        {
            # Ctrl-C is the way to end this command, no failure.
            signal.SIGINT: partial(stopper.request, Stop("SIGINT", 0)),
            signal.SIGTERM: partial(stopper.request, terminated(signal.SIGTERM)),
            signal.SIGHUP: partial(stopper.request, terminated(signal.SIGHUP)),
        }
    )

    async def work() -> None:
        async with open_service(only=name) as service, contextlib.AsyncExitStack() as stack:
            with waiting_line() as on_phase:
                forward = await stack.enter_async_context(service.forward(name, address, on_phase))
            for local, remote in pairs:
                await _listen(forward, local, remote)
            if as_json:
                served = [{"local": local, "port": remote} for local, remote in forward.ports]
                print_json({"runner": name, "address": address, "ports": served}, indent=None)
            else:
                for local, remote in forward.ports:
                    typer.echo(f"{address}:{local} -> {name}:{remote}")
                typer.echo("Ctrl-C ends it.", err=True)
            await forward.wait()

    stop = await stopper.until(work())
    return stop if isinstance(stop, Stop) else Stop("ended", 0)


async def _listen(forward: PortForward, local: int, remote: int) -> None:
    try:
        await forward.listen(remote, local)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        raise GraError(
            f"{forward.address}:{local} cannot be listened on: {why}",
            hint=f"Choose another port of this machine, or any: 0:{remote}",
            reason="PortUnavailable",
        ) from None
