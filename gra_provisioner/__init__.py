"""gra: Jupyter kernels as runners.

Importing this package is cheap and has no effect: no configuration is read and nothing is
started.  The agent (:mod:`gra_provisioner.agent`) is imported by a bare interpreter, so this
module may use the standard library only.
"""

from __future__ import annotations

__version__ = "0.1.0"


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    """Where the server extension is.  Called by Jupyter servers that have it enabled."""
    return [{"module": "gra_provisioner.server"}]
