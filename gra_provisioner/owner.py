"""Whose a runner is: the name that stands in its labels.  Pure but for the system's user table."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Mapping


def this_owner(environ: Mapping[str, str], configured: str | None = None) -> str:
    """The owner of the runners that this process makes.

    The configured one (``owner``, ``GRA_OWNER``), else the user of the JupyterHub that started
    this process (in whose images every user is called alike), else the system's user.
    """
    named = configured or environ.get("JUPYTERHUB_USER")
    if named:
        return named
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A uid without a name, as containers have.
        return str(os.getuid())


def this_client(environ: Mapping[str, str]) -> str:
    """Who is said to have deleted a runner: ``ada@vm``."""
    return f"{this_owner(environ)}@{socket.gethostname()}"
