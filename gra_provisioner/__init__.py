"""gra: Jupyter kernels as runners.

Importing this package is cheap and has no effect: no configuration is read and nothing is
started.  The agent (:mod:`gra_provisioner.agent`) is imported by a bare interpreter, so this
module may use the standard library only.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    """Where the server extension is.  Called by Jupyter servers that have it enabled."""
    # Whoever imports any part of this package does not thereby import the server's.
    points: list[dict[str, Any]] = importlib.import_module(".server", __name__).extension_points()
    return points


def _jupyter_labextension_paths() -> list[dict[str, str]]:
    """Where the built front end is.  Called by JupyterLab's builder, which links it."""
    return [{"src": "labextension", "dest": "gra-provisioner"}]
