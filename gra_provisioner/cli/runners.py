"""``gra list``, ``gra get`` and ``gra delete``."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import GraError, RunnerNotFound
from ..runner import Runner
from .options import JsonOption
from .output import (
    backend_line,
    console,
    print_error,
    print_json,
    reported_errors,
    runner_details,
    runners_table,
)

if TYPE_CHECKING:
    from ..profiles import Config
    from ..service import RunnerService


def open_service(config: Config | None = None) -> RunnerService:
    """The service as this process is configured; what is slow to import is imported here.

    Raises :class:`~gra_provisioner.errors.ConfigError`.
    """
    from ..profiles import load_config
    from ..service import RunnerService

    return RunnerService.from_config(config or load_config(os.environ))


def list_runners(as_json: JsonOption = False) -> None:
    """Show all runners, ended and lost ones included."""

    async def run() -> tuple[list[Runner], str]:
        async with open_service() as service:
            runners = await service.list()
            return runners, backend_line(service.backend_name, service.backend_reason)

    with reported_errors(as_json):
        runners, backend = asyncio.run(run())
    if as_json:
        print_json([runner.public() for runner in runners])
        if sys.stderr.isatty():
            typer.echo(backend, err=True)
        return
    if runners:
        console().print(runners_table(runners, time.time()))
    else:
        typer.echo("no runners")
    typer.echo(backend)


def get_runner(
    name: Annotated[str, typer.Argument(metavar="NAME", help="For example runner-1.")],
    as_json: JsonOption = False,
) -> None:
    """Show everything that is known of one runner."""

    async def run() -> tuple[Runner, str]:
        async with open_service() as service:
            return await service.get(name), service.backend_reason

    with reported_errors(as_json):
        runner, reason = asyncio.run(run())
    if as_json:
        print_json({**runner.public(), "backend_reason": reason})
    else:
        console().print(runner_details(runner, time.time(), reason))


def delete_runners(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...")] = None,
    every: Annotated[bool, typer.Option("--all", help="Delete all runners.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    grace: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="Kill what still runs after this.")
    ] = 5.0,
    as_json: JsonOption = False,
) -> None:
    """End runners, their kernels too, and remove what they left.

    Whatever can be deleted is; the exit code is that of the first that could not be.
    """
    if bool(names) == every:
        raise typer.BadParameter("Name the runners to delete, or use --all.")
    if every and not yes and not sys.stdin.isatty():
        raise typer.BadParameter("Nobody can be asked here: --all needs --yes.")

    async def find() -> list[str]:
        async with open_service() as service:
            return [runner.name for runner in await service.list()]

    async def delete(chosen: Sequence[str]) -> tuple[list[str], list[GraError]]:
        async with open_service() as service:
            return await _delete(service, chosen, grace, missing_is_fine=every)

    with reported_errors(as_json):
        chosen = asyncio.run(find()) if every else list(dict.fromkeys(names or []))
        if every and chosen and not yes:
            typer.confirm(f"Delete {', '.join(chosen)}?", abort=True, err=True)
        deleted, errors = asyncio.run(delete(chosen)) if chosen else ([], [])
    if as_json:
        print_json({"deleted": deleted})
    elif deleted or not errors:
        typer.echo("\n".join(f"{name} deleted" for name in deleted) or "nothing deleted")
    for error in errors:
        print_error(error, as_json=as_json)
    if errors:
        raise typer.Exit(errors[0].exit_code)


async def _delete(
    service: RunnerService, names: Sequence[str], grace: float, *, missing_is_fine: bool
) -> tuple[list[str], list[GraError]]:
    """Delete all at the same time: (names of those deleted, errors of the others)."""

    async def one(name: str) -> GraError | None:
        try:
            await service.delete(name, grace=grace)
        except RunnerNotFound as error:
            return None if missing_is_fine else error
        except GraError as error:
            return error
        return None

    results = await asyncio.gather(*map(one, names))
    deleted = [name for name, error in zip(names, results, strict=True) if error is None]
    return deleted, [error for error in results if error is not None]
