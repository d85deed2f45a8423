"""``gra doctor``: what runners of a profile can do here, found out without making one."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

from ..diagnosis import Finding, FindingStatus, has_failure
from .launch_options import SOURCE, ProfileOption
from .options import JsonOption
from .output import backend_line, console, print_json, reported_errors
from .runners import open_service
from .terminal import printable

if TYPE_CHECKING:
    from rich.table import Table

_FAILED = 1
_COLOURS = {
    FindingStatus.OK: "green",
    FindingStatus.WARNING: "yellow",
    FindingStatus.FAILURE: "red",
}


def doctor(profile: ProfileOption = None, as_json: JsonOption = False) -> None:
    """Find out what runners can do here, above all which ways to S3 they have.

    Nothing is made. A warning is about what the profile does not need; with a failure the exit code
    is 1.
    """
    with reported_errors(as_json):
        found, about = asyncio.run(_diagnose(profile))
    if as_json:
        print_json({**about, "findings": [finding.public() for finding in found]})
    else:
        typer.echo(backend_line(about["backend"], about["backend_reason"]))
        console().print(findings_table(found))
    if has_failure(found):
        raise typer.Exit(_FAILED)


async def _diagnose(profile: str | None) -> tuple[Sequence[Finding], dict[str, Any]]:
    from ..profiles import load_config, resolve

    config = load_config(os.environ)
    launch = {} if profile is None else {"profile": profile}
    spec = resolve(config, {}, launch=launch, launch_source=SOURCE)
    async with open_service(config) as service:
        about = {
            "profile": spec.profile,
            "backend": service.backend_name,
            "backend_reason": service.backend_reason,
        }
        return await service.diagnose(spec, config.environ), about


def findings_table(found: Sequence[Finding]) -> Table:
    """The findings for people: status, what was looked at, what was found and what to do."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in found:
        text = Text(printable(finding.message))
        if finding.hint:
            text.append("\nHint: ", "cyan")
            text.append(printable(finding.hint))
        status = Text(finding.status.value, _COLOURS[finding.status])
        table.add_row(status, Text(finding.name, "bold"), text)
    return table
