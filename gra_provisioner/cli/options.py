"""Arguments and options that many commands have, as typer's types."""

from __future__ import annotations

from typing import Annotated

import typer

from .completion import runner_names

RunnerName = Annotated[
    str,
    typer.Argument(metavar="NAME", help="For example runner-1.", autocompletion=runner_names),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
