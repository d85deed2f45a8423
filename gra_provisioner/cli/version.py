"""``gra version``."""

from __future__ import annotations

import json
import platform

import typer

from .. import __version__
from .options import JsonOption


def version(as_json: JsonOption = False) -> None:
    """Show the version of gra, and of the Python that it runs on."""
    if as_json:
        typer.echo(
            json.dumps({"version": __version__, "python": platform.python_version()}, indent=2)
        )
    else:
        typer.echo(f"gra {__version__} (Python {platform.python_version()})")
