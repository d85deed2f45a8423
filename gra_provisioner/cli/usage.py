"""Wrong usage, told in JSON to whoever asked for JSON."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Sequence
from typing import Any

import typer

# What typer raises for wrong options and arguments; it gives no other name to it.
_UsageError: Any = typer.BadParameter.__bases__[0]

REASON = "WrongUsage"
_WORDS = frozenset({"--json", "--stream", "--output=json", "-ojson"})
_PAIRS = frozenset({("-o", "json"), ("--output", "json")})


def wants_json(words: Sequence[str]) -> bool:
    """Whether a command line, without the program's name, asks for JSON, right or wrong."""
    own = list(words[: words.index("--")] if "--" in words else words)
    if own[:1] == ["tool"]:
        return True
    return not _WORDS.isdisjoint(own) or not _PAIRS.isdisjoint(itertools.pairwise(own))


def run(command: Any, words: Sequence[str]) -> None:
    """Run typer's command as a program that was asked for JSON; exits.

    Wrong usage becomes an object on stderr as other errors are: reason, message, hint, details.
    """
    try:
        code = command.main(list(words), prog_name="gra", standalone_mode=False)
    except _UsageError as error:
        where = error.ctx.command_path if error.ctx else "gra"
        said = {
            "reason": REASON,
            "message": error.format_message(),
            "hint": f"`{where} --help` shows what it takes.",
            "details": {},
        }
        typer.echo(json.dumps(said), err=True)
        sys.exit(error.exit_code)
    except typer.Abort:
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)
