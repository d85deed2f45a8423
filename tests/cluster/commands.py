"""Running other programs, and what they said when they failed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.cluster.layout import ClusterError

_LAST_LINES = 30


def tail(text: str, lines: int = _LAST_LINES) -> str:
    """The last lines of an output."""
    return "\n".join(text.rstrip().splitlines()[-lines:])


def run(
    *command: str | Path,
    doing: str,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    text: str | None = None,
    bound: float = 120.0,
) -> str:
    """Run a program to its end and return what it wrote on standard output.

    ``doing`` says in an error what was going on; ``env`` goes over this process's variables;
    ``text`` is standard input.  Raises :class:`ClusterError` with the program's last words if it
    fails, is missing, or takes longer than ``bound`` seconds.
    """
    words: Sequence[str] = [str(word) for word in command]
    try:
        done = subprocess.run(
            words,
            check=False,
            capture_output=True,
            text=True,
            errors="replace",
            input=text if text is not None else "",
            env={**os.environ, **(env or {})},
            cwd=cwd,
            timeout=bound,
        )
    except FileNotFoundError as error:
        raise ClusterError(f"{doing}: there is no program {words[0]}") from error
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"{doing}: {words[0]} took longer than {bound:g} s") from error
    if done.returncode != 0:
        said = tail(done.stdout + done.stderr)
        raise ClusterError(f"{doing}: {words[0]} ended with {done.returncode}\n{said}")
    return done.stdout
