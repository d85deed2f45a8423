"""``gra delete`` and ``gra prune``."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import GraError
from ..runner import Runner, RunnerStatus
from ..selection import Selection
from .completion import runner_names
from .options import JsonOption
from .output import print_error, print_json, reported_errors
from .runners import open_service
from .selection_options import LabelFilter, OwnerOption, ProfileFilter, StatusOption, selection
from .terminal import printable

if TYPE_CHECKING:
    from ..service import RunnerService
    from ..workspace.sync import Returned

_FINISHED = frozenset({RunnerStatus.ENDED, RunnerStatus.LOST})
# Each deletion waits for the end of what it deletes.
_AT_ONCE = 50

YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
GraceOption = Annotated[
    float, typer.Option(min=0, metavar="SECONDS", help="Kill what still runs after this.")
]


def delete_runners(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", autocompletion=runner_names)
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Delete all of your runners that these options leave.")
    ] = False,
    owner: OwnerOption = None,
    status: StatusOption = None,
    profile: ProfileFilter = None,
    label: LabelFilter = None,
    yes: YesOption = False,
    grace: GraceOption = 5.0,
    discard: Annotated[
        bool,
        typer.Option("--discard", help="Copy nothing back, also where that would be possible."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """End runners, their kernels too, and remove what they left.

    What was changed in a directory that was copied into a runner is copied back before; a runner
    with which that fails is not deleted. Whatever can be deleted is; the exit code is that of the
    first that could not be. On a terminal you are asked before several are deleted.
    """
    if bool(names) == every:
        raise typer.BadParameter("Name the runners to delete, or use --all.")
    chosen = selection(statuses=status, profile=profile, labels=label)
    if names and (owner is not None or chosen != Selection()):
        raise typer.BadParameter("Options that choose runners need --all.")
    if every and not yes and not sys.stdin.isatty():
        raise typer.BadParameter("Nobody can be asked here: --all needs --yes.")

    with reported_errors(as_json):
        found: Sequence[str | Runner] = list(dict.fromkeys(names or ()))
        if every:
            found = asyncio.run(_find(chosen, owner))
        if not yes and sys.stdin.isatty() and len(found) > (not every):
            _ask(found)
        errors = asyncio.run(_delete(found, grace, as_json, discard=discard))
    _exit_with(errors, as_json)


def prune(
    owner: OwnerOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say which.")] = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Remove what is left of your runners that have ended or are lost.

    They are shown until then, with the reason; after an hour they go by themselves.
    """
    if not (yes or dry_run or sys.stdin.isatty()):
        raise typer.BadParameter("Nobody can be asked here: use --yes, or --dry-run.")

    with reported_errors(as_json):
        found = asyncio.run(_find(Selection(statuses=_FINISHED), owner))
        if dry_run:
            _say([runner.name for runner in found], as_json, "would be removed")
            return
        if found and not yes:
            _ask(found)
        errors = asyncio.run(_delete(found, 1.0, as_json, discard=True))
    _exit_with(errors, as_json)


async def _find(chosen: Selection, owner: str | None) -> Sequence[Runner]:
    async with open_service() as service:
        mine = dataclasses.replace(chosen, owner=owner or service.owner)
        return [runner async for part in service.pages(mine) for runner in part]


def _ask(found: Sequence[str | Runner]) -> None:
    names = ", ".join(printable(_name(runner)) for runner in found)
    typer.confirm(f"Delete {names}?", abort=True, err=True)


async def _delete(
    found: Sequence[str | Runner], grace: float, as_json: bool, *, discard: bool
) -> Sequence[GraError]:
    """Delete all at the same time and say which are deleted; the errors of the others."""
    turns = asyncio.Semaphore(_AT_ONCE)

    async def one(service: RunnerService, runner: str | Runner) -> GraError | None:
        async with turns:
            try:
                if discard:
                    await service.delete(runner, grace=grace)
                else:
                    _tell(await service.end(runner, grace=grace))
            except GraError as error:
                return error
        return None

    results: list[GraError | None] = []
    if found:
        async with open_service() as service:
            results = await asyncio.gather(*(one(service, runner) for runner in found))
    gone = [_name(runner) for runner, error in zip(found, results, strict=True) if error is None]
    errors = [error for error in results if error is not None]
    if gone or not errors or as_json:
        _say(gone, as_json, "deleted")
    return errors


def _tell(returned: Returned | None) -> None:
    """Say what came back from a runner, and what did not."""
    if returned is not None:
        for sentence in filter(None, [returned.summary, *returned.notices]):
            typer.echo(printable(sentence), err=True)


def _say(names: Sequence[str], as_json: bool, what: str) -> None:
    if as_json:
        print_json({what.replace(" ", "_"): list(names)})
    else:
        typer.echo("\n".join(f"{name} {what}" for name in names) or f"nothing {what}")


def _name(runner: str | Runner) -> str:
    return runner if isinstance(runner, str) else runner.name


def _exit_with(errors: Sequence[GraError], as_json: bool) -> None:
    for error in errors:
        print_error(error, as_json=as_json)
    if errors:
        raise typer.Exit(errors[0].exit_code)
