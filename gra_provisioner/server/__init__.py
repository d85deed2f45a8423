"""gra in a Jupyter server: the server extension ``gra_provisioner``.

It registers Jupyter events about runners (:mod:`.events`) and serves the REST API
(:mod:`.operations`).  Importing this package does not import the server.
"""

from __future__ import annotations

from typing import Any


def extension_points() -> list[dict[str, Any]]:
    """Where the extension is.  Called by Jupyter servers that have it enabled."""
    from .extension import GraExtension

    return [{"module": __name__, "app": GraExtension}]
