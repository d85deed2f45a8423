"""``gra get``, and what all commands on runners begin with."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING

import typer

from ..runner import Runner
from .mounts import mounts_table, warnings
from .options import JsonOption, RunnerName
from .output import (
    console,
    print_json,
    reported_errors,
    runner_details,
)
from .terminal import printable

if TYPE_CHECKING:
    from ..profiles import Config
    from ..service import RunnerService


def open_service(config: Config | None = None, *, only: str = "") -> RunnerService:
    """The service as this process is configured; what is slow to import is imported here.

    ``only`` is the name of the runner that a command is about, if it is about one.
    Raises :class:`~gra_provisioner.errors.ConfigError`.
    """
    from ..profiles import load_config
    from ..service import RunnerService

    return RunnerService.from_config(config or load_config(os.environ), only)


def get_runner(
    name: RunnerName,
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
        return
    now = time.time()
    console().print(runner_details(runner, now, reason))
    if runner.mounts:
        typer.echo()
        console().print(mounts_table(runner.mounts, now))
    for line in warnings(runner.mounts):
        typer.echo(printable(line), err=True)
