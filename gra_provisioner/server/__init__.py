"""gra in a Jupyter server: the server extension ``gra_provisioner``.

Importing this package does not import the server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import events

if TYPE_CHECKING:
    from jupyter_server.serverapp import ServerApp


def _load_jupyter_server_extension(serverapp: ServerApp) -> None:
    """Called by the server before it listens.

    Listeners attach only to the schemas that are known when they connect, so the first launch
    would be too late to register these.
    https://jupyter-server.readthedocs.io/en/latest/developers/extensions.html
    """
    if serverapp.event_logger is not None:
        events.register(serverapp.event_logger)
