"""``gra logs``: what runners wrote, and what they write."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import signal
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from .completion import runner_names
from .options import JsonOption
from .output import reported_errors
from .runners import open_service
from .stopping import Stop, Stopper, handle_signals, terminated

if TYPE_CHECKING:
    from ..logs import LogLine, LogQuery

# What shells say of a program whose output nobody reads any more.
_BROKEN_PIPE = 128 + signal.SIGPIPE
# Ctrl-C where it is not the way to end.
_INTERRUPTED = 130


def logs(
    names: Annotated[
        list[str],
        typer.Argument(metavar="NAME", help="For example runner-1.", autocompletion=runner_names),
    ],
    follow: Annotated[
        bool,
        typer.Option("--follow", "-f", help="Go on with what is written, until Ctrl-C or the end."),
    ] = False,
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            metavar="TIME",
            help="Only lines of the last 10m (or 90s, 2h, …), or from 2026-11-21T15:00:00Z on.",
        ),
    ] = None,
    tail: Annotated[
        int | None,
        typer.Option(
            "--tail", "-n", min=0, metavar="N", help="Only the last N lines of each runner."
        ),
    ] = None,
    sources: Annotated[
        list[str] | None,
        typer.Option(
            "--source",
            "-s",
            metavar="SOURCE",
            help="Only lines of agent, kernel (or only its stdout, stderr), or of another "
            "container of the pod. Can be given several times.",
        ),
    ] = None,
    timestamps: Annotated[
        bool, typer.Option("--timestamps", "-t", help="Show when each line was written (UTC).")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what runners wrote: their agents, their kernels, the other containers of their pods.

    Each line begins with its source, unless only one is asked for; with several runners, their
    names stand before it. With --follow it goes on until the runners have ended. With --json each
    line is an object: runner, time, source, text.
    """
    from ..logs import LogQuery

    query = LogQuery(
        follow=follow,
        since=None if since is None else _moment(since, time.time()),
        tail=tail,
        sources=frozenset(sources or ()),
    )
    names = list(dict.fromkeys(names))
    with reported_errors(as_json):
        stop = asyncio.run(_print(names, query, timestamps, as_json))
    raise typer.Exit(stop.exit_code)


def _moment(text: str, now: float) -> float:
    """Seconds since the epoch, from a duration before now or a time."""
    from ..units import parse_bound

    try:
        return now - parse_bound(int(text) if text.isdecimal() else text)
    except ValueError:
        pass
    try:
        # Python's own parser knows Z from 3.11 on.  A time without an offset is local.
        return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f'{text!r} is no duration such as "10m", "90s" or "1h30m", nor a time such as '
            '"2026-11-21T15:00:00Z".',
            param_hint="--since",
        ) from None


async def _print(names: Sequence[str], query: LogQuery, timestamps: bool, as_json: bool) -> Stop:
    from .log_output import write_lines

    stopper = Stopper()
    handle_signals(
        {
            # Ctrl-C is the way to end what goes on, no failure.
            signal.SIGINT: partial(
                stopper.request, Stop("SIGINT", 0 if query.follow else _INTERRUPTED)
            ),
            signal.SIGTERM: partial(stopper.request, terminated(signal.SIGTERM)),
            signal.SIGHUP: partial(stopper.request, terminated(signal.SIGHUP)),
        }
    )
    encode = _encoder(names, query, timestamps, as_json)

    async def work() -> None:
        async with open_service() as service:
            lines = service.logs(names, query, _ignore if as_json else _notice)
            async with contextlib.aclosing(lines):
                await write_lines(lines, encode)

    try:
        stop = await stopper.until(work())
    except BrokenPipeError:
        return Stop("nobody reads it", _BROKEN_PIPE)
    return stop if isinstance(stop, Stop) else Stop("ended", 0)


def _encoder(
    names: Sequence[str], query: LogQuery, timestamps: bool, as_json: bool
) -> Callable[[LogLine], bytes]:
    from .log_output import Layout, json_line, not_writable, painter, unpainted

    if sys.stdout is None:
        raise not_writable("it is closed")
    if as_json:
        return json_line
    terminal = sys.stdout.isatty()
    layout = Layout(
        runners=names,
        sources=len(query.chosen) != 1,
        times=timestamps,
        terminal=terminal,
        paint=painter() if terminal else unpainted,
    )
    return layout.line


def _notice(message: str) -> None:
    typer.echo(message, err=True)


def _ignore(message: str) -> None:
    """Programs want lines and errors only."""
