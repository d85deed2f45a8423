"""``gra completion``, and the names that shells complete.

A shell asks by running ``gra`` anew at each Tab, with what was typed in its environment; typer
answers, from the commands and their options, and from the functions here for names of gra's own.
"""

from __future__ import annotations

import enum
import logging
import os
import threading
from typing import Annotated

import typer

from ..errors import GraError

# Whoever has pressed Tab waits.
_WITHIN = 2.0

Names = list[tuple[str, str]]


class Shell(str, enum.Enum):
    """The shells there is a script for."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def completion(
    context: typer.Context,
    shell: Annotated[Shell, typer.Argument(help="Whose script it is.")],
) -> None:
    """Print a shell's script that completes commands, options and names.

    For bash, eval "$(gra completion bash)" in ~/.bashrc; for zsh, eval "$(gra completion zsh)" in
    ~/.zshrc, behind compinit; for fish, gra completion fish | source in ~/.config/fish/config.fish.
    """
    from typer.completion import shell_complete

    # As _GRA_COMPLETE=source_bash gra.
    command = context.find_root().command
    raise typer.Exit(shell_complete(command, {}, "gra", "_GRA_COMPLETE", f"source_{shell.value}"))


def runner_names(context: typer.Context) -> Names:
    """The runners that are not on the command line yet, with their profile and status.

    None where the backend does not answer in time or at all.  Called by typer.
    """
    # Nothing may stand in what is typed.
    logging.disable()
    found: Names = []
    # In a thread that is left alone: nothing that it waits for may hold up the shell.
    thread = threading.Thread(target=_find_runners, args=(found,), daemon=True)
    thread.start()
    thread.join(_WITHIN)
    given = {
        word
        for value in context.params.values()
        if isinstance(value, (list, tuple))
        for word in value
    }
    return [(name, text) for name, text in found if name not in given]


def _find_runners(found: Names) -> None:
    import asyncio

    from .runners import open_service

    async def find() -> Names:
        async with open_service() as service:
            return [
                (runner.name, f"{runner.profile}, {runner.status.value}")
                for runner in await service.list(inspect=False)
            ]

    try:
        found.extend(asyncio.run(find()))
    except GraError:
        return


def profile_names() -> Names:
    """The profiles, with their descriptions; none where the configuration is wrong."""
    from ..profiles import load_config

    try:
        profiles = load_config(os.environ).profiles
    except GraError:
        return []
    return [(name, profile.description) for name, profile in profiles.items()]
