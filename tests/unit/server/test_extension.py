"""The extension is found where a server looks for it, and costs nothing elsewhere."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from jupyter_server.extension.manager import ExtensionPackage

from gra_provisioner.server.extension import GraExtension

ROOT = Path(__file__).parents[3]


def test_a_server_finds_it_by_the_name_that_the_wheel_enables() -> None:
    folder = ROOT / "jupyter-config" / "jupyter_server_config.d"
    (enabled,) = (json.loads(path.read_text()) for path in folder.glob("*.json"))
    (name,) = enabled["ServerApp"]["jpserver_extensions"]
    package = ExtensionPackage(name=name, enabled=True)
    assert package.validate()
    (point,) = package.extension_points.values()
    assert isinstance(point.app, GraExtension)


def test_what_needs_no_server_does_not_import_it() -> None:
    code = (
        "import sys, gra_provisioner, gra_provisioner.server, gra_provisioner.server.events\n"
        "print([name for name in ('jupyter_server', 'tornado', 'pydantic') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[]\n"
