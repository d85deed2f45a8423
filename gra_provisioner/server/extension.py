"""The server extension: handlers added when a Jupyter server starts, ended when it stops.

An :class:`ExtensionApp` because only these are told that the server stops.
https://jupyter-server.readthedocs.io/en/latest/developers/extensions.html
"""

from __future__ import annotations

import os
from pathlib import Path

from jupyter_server.extension.application import ExtensionApp

from .. import __version__
from . import events, terminals
from .handlers import handlers
from .host import Host
from .operations import OPERATIONS
from .terminals import TerminalHandler

#: The option of JupyterLab's page configuration that says which gra its server has.
PAGE_OPTION = "graProvisioner"


class GraExtension(ExtensionApp):
    """The extension ``gra_provisioner``: Jupyter's events about runners, and the REST API."""

    name = "gra_provisioner"
    _host: Host | None = None

    def initialize_handlers(self) -> None:
        """Called by the server before it listens.

        Listeners of events attach only to the schemas that are known when they connect, so the
        first launch would be too late to register these.
        """
        server = self.serverapp
        if server is None:
            return
        if server.event_logger is not None:
            events.register(server.event_logger)
        host = self._host = Host(os.environ, server.log)
        folder = str(Path(server.root_dir).expanduser().absolute())
        made = handlers(
            OPERATIONS, server.base_url, host, folder, {terminals.PATH: TerminalHandler}
        )
        server.web_app.add_handlers(".*$", made)  # type: ignore[no-untyped-call]
        # How pages know, without a request that may fail, that there is an API to ask.
        page = server.web_app.settings.setdefault("page_config_data", {})
        page[PAGE_OPTION] = __version__

    def current_activity(self) -> bool:
        """Called by the server: whether there is work for which it must not end by itself.

        A page that watches runners is none.
        """
        return self._host is not None and self._host.working > 0

    async def stop_extension(self) -> None:
        """Called by the server when it stops, before it ends its kernels."""
        if self._host is not None:
            await self._host.close()
