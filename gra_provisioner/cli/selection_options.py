"""The options that say which runners are meant: as typer's types, and as a ``Selection``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer

from ..runner import RunnerStatus
from ..selection import Selection
from .completion import profile_names
from .launch_options import label as parse_label

_WHICH = "Which runners"

EveryOwnerOption = Annotated[
    bool, typer.Option("--all", "-a", help="Everybody's, not only yours.", rich_help_panel=_WHICH)
]
OwnerOption = Annotated[
    str | None, typer.Option(metavar="OWNER", help="Somebody else's.", rich_help_panel=_WHICH)
]
StatusOption = Annotated[
    list[RunnerStatus] | None,
    typer.Option("--status", "-s", help="Can be given several times.", rich_help_panel=_WHICH),
]
ProfileFilter = Annotated[
    str | None,
    typer.Option(
        "--profile", metavar="PROFILE", rich_help_panel=_WHICH, autocompletion=profile_names
    ),
]
LabelFilter = Annotated[
    list[str] | None,
    typer.Option(
        "--label", "-l", metavar="NAME=VALUE", help="All of these.", rich_help_panel=_WHICH
    ),
]
KernelFilter = Annotated[
    str | None,
    typer.Option(
        "--kernel", metavar="KERNEL", help="Kernel id or kernelspec.", rich_help_panel=_WHICH
    ),
]
NotebookFilter = Annotated[
    str | None,
    typer.Option(
        "--notebook", metavar="PATH", help="Or a pattern: 'work/*'.", rich_help_panel=_WHICH
    ),
]


def selection(
    *,
    statuses: Iterable[RunnerStatus] | None = None,
    profile: str | None = None,
    labels: Iterable[str] | None = None,
    kernel: str | None = None,
    notebook: str | None = None,
    sort: str = "name",
    reverse: bool = False,
    limit: int | None = None,
) -> Selection:
    """What was given, of any owner.  Raises :class:`typer.BadParameter`."""
    return Selection(
        statuses=frozenset(statuses or ()),
        profile=profile,
        labels=dict(map(parse_label, labels or ())),
        kernel=kernel,
        notebook=notebook,
        sort=sort,
        reverse=reverse,
        limit=limit,
    )


def check_owner(*, everybody: bool, owner: str | None) -> None:
    """Raises :class:`typer.BadParameter` where both are given."""
    if everybody and owner is not None:
        raise typer.BadParameter("Choose one of --all and --owner.")
