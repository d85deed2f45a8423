"""Arguments and options that many commands have, as typer's types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, TypeVar

import typer

from .completion import runner_names

T = TypeVar("T")

RunnerName = Annotated[
    str,
    typer.Argument(metavar="NAME", help="For example runner-1.", autocompletion=runner_names),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def parsed(parse: Callable[[object], T], text: str, option: str) -> T:
    """An option's value as :mod:`gra_provisioner.units` reads it.

    Raises :class:`typer.BadParameter`, which names the option.
    """
    try:
        return parse(int(text) if text.isdecimal() else text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r}: {error}", param_hint=option) from None
