"""Makes JupyterLab's part of gra, the package in ``labextension``: ``python -m tools.frontend``.

``install`` has yarn make ``node_modules``; ``types`` writes what the REST API speaks as TypeScript,
from the server's own description; ``types --check`` fails where that file is not current.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from . import yarn

_MODULES = yarn.FOLDER / "node_modules"
_INSTALLED = _MODULES / ".gra-stamp"
_PACKAGES = ("package.json", "yarn.lock", ".yarnrc.yml")
TYPES = yarn.FOLDER / "src" / "api" / "schema.d.ts"


def install() -> None:
    """Make ``node_modules`` where it is missing, or not of this ``yarn.lock``."""
    current = digest(yarn.FOLDER / name for name in _PACKAGES)
    if holds(_INSTALLED, current):
        return
    _INSTALLED.unlink(missing_ok=True)
    yarn.install()
    _INSTALLED.write_text(current, encoding="utf-8")


def types() -> str:
    """What the REST API speaks, as TypeScript.

    Only what ``required`` names is required: a request may leave out what has a default.
    """
    from gra_provisioner.server import openapi
    from gra_provisioner.server.operations import OPERATIONS

    install()
    description = json.dumps(openapi.document(OPERATIONS, "/"))
    command = ("openapi-typescript", "--default-non-nullable=false")
    written = yarn.run(command, description)
    return f"// Written by python -m tools.frontend types.\n{written}"


def write_types() -> None:
    """Write the types.  Called by ``make schemas``."""
    text = types()
    TYPES.parent.mkdir(parents=True, exist_ok=True)
    TYPES.write_text(text, encoding="utf-8")


def are_types_current() -> bool:
    """Whether the types in the tree are those of the REST API."""
    return holds(TYPES, types())


def digest(files: Iterable[Path]) -> str:
    """A digest of the files' names and contents.  A file that is not there has no content."""
    summed = hashlib.sha256()
    for path in files:
        content = path.read_bytes() if path.exists() else b""
        summed.update(f"{path.relative_to(yarn.ROOT)} {len(content)}\n".encode())
        summed.update(content)
    return summed.hexdigest()


def holds(path: Path, text: str) -> bool:
    """Whether the file is there and holds this text."""
    return path.exists() and path.read_text(encoding="utf-8") == text


def main() -> int:
    """Run what the command line asks for.  Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("install", help="make node_modules where it is not current")
    typed = commands.add_parser("types", help="write the REST API's types")
    typed.add_argument("--check", action="store_true", help="only say whether they are current")
    arguments = parser.parse_args()
    try:
        if arguments.command == "install":
            install()
        elif not arguments.check:
            write_types()
        elif not are_types_current():
            print(f"{TYPES.relative_to(yarn.ROOT)} is not current: run make schemas")
            return 1
    except subprocess.CalledProcessError as error:
        print(f"frontend: {error}", file=sys.stderr)
        return error.returncode or 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
