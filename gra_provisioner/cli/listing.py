"""``gra list``: runners in a table or in data, once or as they change."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import signal
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from ..runner import ChangeKind, Runner
from ..selection import Selection, SortKey, select
from .options import JsonOption
from .output import reported_errors
from .runners import open_service
from .selection_options import (
    EveryOwnerOption,
    KernelFilter,
    LabelFilter,
    NotebookFilter,
    OwnerOption,
    ProfileFilter,
    StatusOption,
    check_owner,
    selection,
)
from .stopping import Stop, Stopper, handle_signals, terminated
from .terminal import can_rewrite
from .views import VIEWS, Format, View, columns, none, rows

if TYPE_CHECKING:
    from ..service import RunnerService


# How often the table of a watch shows new ages, and asks the agents.
_REDRAWN_EVERY = 2.0


def list_runners(
    everybody: EveryOwnerOption = False,
    owner: OwnerOption = None,
    status: StatusOption = None,
    profile: ProfileFilter = None,
    label: LabelFilter = None,
    kernel: KernelFilter = None,
    notebook: NotebookFilter = None,
    sort: Annotated[
        SortKey,
        typer.Option(help="age: the youngest first; cpu, memory: who uses most first."),
    ] = SortKey.NAME,
    reverse: Annotated[bool, typer.Option("--reverse", help="The other way round.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, metavar="N", help="Only the first N.")] = None,
    inspect: Annotated[
        bool | None,
        typer.Option(
            "--inspect/--no-inspect",
            help="Ask each agent for kernel, CPU and memory. Default: up to 50 runners.",
            show_default=False,
        ),
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Go on with what changes, until Ctrl-C.")
    ] = False,
    output: Annotated[Format, typer.Option("--output", "-o")] = Format.TABLE,
    as_json: JsonOption = False,
) -> None:
    """Show your runners, ended and lost ones included."""
    check_owner(everybody=everybody, owner=owner)
    if as_json and output not in (Format.TABLE, Format.JSON):
        raise typer.BadParameter(f"Choose one of --json and --output {output.value}.")
    form = Format.JSON if as_json else output
    chosen = selection(
        statuses=status,
        profile=profile,
        labels=label,
        kernel=kernel,
        notebook=notebook,
        sort=sort.value,
        reverse=reverse,
        limit=limit,
    )
    live = form in (Format.TABLE, Format.WIDE) and can_rewrite(sys.stdout)
    if watch and not live and (sort is not SortKey.NAME or reverse or limit is not None):
        raise typer.BadParameter("Changes come as they are made: no --sort, --reverse or --limit.")

    async def run() -> Stop | None:
        async with open_service() as service:
            mine = dataclasses.replace(chosen, owner=None if everybody else owner or service.owner)
            view = VIEWS[form](service, mine)
            if not watch:
                await _once(service, mine, view, inspect)
                return None
            stopper = Stopper()
            handle_signals(
                {
                    # Ctrl-C is the way to end a watch, no failure.
                    signal.SIGINT: partial(stopper.request, Stop("SIGINT", 0)),
                    signal.SIGTERM: partial(stopper.request, terminated(signal.SIGTERM)),
                }
            )
            if live:
                return await stopper.until(_redraw(service, mine, form, inspect))
            return await stopper.until(_follow(service, mine, view))

    with reported_errors(form in (Format.JSON, Format.YAML)):
        stop = asyncio.run(run())
    if stop is not None:
        raise typer.Exit(stop.exit_code)


async def _once(
    service: RunnerService, chosen: Selection, view: View, inspect: bool | None
) -> None:
    async for part in _parts(service, chosen, inspect):
        view.part(part)
    view.end()


async def _parts(
    service: RunnerService, chosen: Selection, inspect: bool | None
) -> AsyncGenerator[Sequence[Runner], None]:
    """The runners in the order that is asked for; in parts, where they come in that order."""
    from ..runner_reader import INSPECTED_BY_DEFAULT

    plain = dataclasses.replace(chosen, sort="name", reverse=False, limit=None)
    if chosen != plain:
        found = [runner async for part in service.pages(plain) for runner in part]
        if inspect or (inspect is None and len(found) <= INSPECTED_BY_DEFAULT):
            found = [*await service.inspect(found)]
        yield select(found, chosen)
        return
    count = 0
    async for part in service.pages(plain):
        count += len(part)
        is_inspected = inspect or (inspect is None and count <= INSPECTED_BY_DEFAULT)
        yield await service.inspect(part) if is_inspected else part


async def _follow(service: RunnerService, chosen: Selection, view: View) -> None:
    async with contextlib.aclosing(service.watch(chosen)) as changes:
        async for change in changes:
            view.change(change)


async def _redraw(
    service: RunnerService, chosen: Selection, form: Format, inspect: bool | None
) -> None:
    """A table on the terminal that is always that of now."""
    from rich.live import Live
    from rich.text import Text

    from ..runner_reader import INSPECTED_BY_DEFAULT
    from .output import console

    known: dict[str, Runner] = {}
    synced, stirred = asyncio.Event(), asyncio.Event()

    async def take() -> None:
        async with contextlib.aclosing(service.watch(chosen)) as changes:
            async for change in changes:
                runner = change.runner
                if runner is None:
                    # Of stale runners each row says so.
                    if change.kind is ChangeKind.SYNCED:
                        synced.set()
                elif change.kind is ChangeKind.DELETED:
                    known.pop(runner.name, None)
                else:
                    known[runner.name] = runner
                stirred.set()

    async def draw() -> None:
        await synced.wait()
        screen = console()
        with Live(console=screen, auto_refresh=False, vertical_overflow="visible") as shown:
            while True:
                stirred.clear()
                found: Sequence[Runner] = select(known.values(), chosen)
                if inspect or (inspect is None and len(found) <= INSPECTED_BY_DEFAULT):
                    found = select(await service.inspect(found), chosen)
                lines = (
                    columns(form).format(rows(found, form, time.time()))
                    if found
                    else [none(chosen)]
                )
                # What does not fit would be drawn again and again below itself.
                shown.update(Text.from_ansi("\n".join(lines[: screen.height - 1])), refresh=True)
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(stirred.wait(), _REDRAWN_EVERY)

    work = {asyncio.create_task(take()), asyncio.create_task(draw())}
    try:
        done, _ = await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in work:
            task.cancel()
        await asyncio.wait(work)
