"""Makes JupyterLab's part of gra, the package in ``labextension``: ``python -m tools.frontend``.

``install`` has yarn make ``node_modules``.  ``build`` makes of the sources what JupyterLab loads,
and links it into this environment.  Both do nothing where nothing has changed.  ``watch`` builds
what is edited until Ctrl-C.  ``types`` writes what the REST API speaks as TypeScript, from the
server's own description.  ``check`` runs the checks that are named, or all, and fails if one does.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from . import yarn

_INSTALLED = yarn.FOLDER / "node_modules" / ".gra-stamp"
# In the folder that building for a release removes.
_BUILT = yarn.FOLDER / "lib" / ".gra-stamp"
_OUTPUT = yarn.ROOT / "gra_provisioner" / "labextension"
_LINK = Path(sysconfig.get_path("data"), "share", "jupyter", "labextensions", "gra-provisioner")
_LOCK = yarn.ROOT / "build" / "frontend.lock"
_PACKAGES = ("package.json", "yarn.lock", ".yarnrc.yml")
_SOURCES = ("src", "style", "schema")
TYPES = yarn.FOLDER / "src" / "api" / "schema.d.ts"


def install() -> None:
    """Make ``node_modules`` where it is missing, or not of this ``yarn.lock``."""
    with _alone():
        current = digest(yarn.FOLDER / name for name in _PACKAGES)
        if holds(_INSTALLED, current):
            return
        _INSTALLED.unlink(missing_ok=True)
        yarn.install()
        _INSTALLED.write_text(current, encoding="utf-8")


def build() -> None:
    """Make what JupyterLab loads, and link it into this environment, where that is not current."""
    install()
    with _alone():
        _make("build", "to be edited")
        if _LINK.resolve() != _OUTPUT:
            yarn.run(("jupyter-builder", "develop", "--overwrite", str(yarn.ROOT)))


def release() -> None:
    """Make what a wheel and a source distribution contain.  Called by :mod:`tools.build_hook`."""
    install()
    with _alone():
        _make("build:prod", "to be released")
        # Names folders of this machine.
        (_OUTPUT / "build_log.json").unlink(missing_ok=True)


def _make(script: str, purpose: str) -> None:
    current = f"{digest(_sources())} {purpose}"
    if holds(_BUILT, current) and (_OUTPUT / "package.json").exists():
        return
    _BUILT.unlink(missing_ok=True)
    yarn.run(("jlpm", script))
    _BUILT.write_text(current, encoding="utf-8")


def tidy() -> None:
    """Format the sources and repair what the linters can."""
    install()
    yarn.run(("jlpm", "lint"))


def watch() -> None:
    """Build what is edited from now on, until Ctrl-C."""
    build()
    # From now on what is built is of nobody knows which sources.
    _BUILT.unlink()
    with suppress(KeyboardInterrupt):
        yarn.run(("jlpm", "watch"))


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


def check_types() -> bool:
    """Whether the types in the tree are those of the REST API."""
    if holds(TYPES, types()):
        return True
    print(f"{TYPES} is not current: run make schemas")
    return False


def _passes(*command: str) -> bool:
    install()
    try:
        yarn.run(command)
    except subprocess.CalledProcessError:
        return False
    return True


CHECKS: dict[str, Callable[[], bool]] = {
    "types": check_types,
    "tsc": partial(_passes, "tsc", "--project", "tsconfig.test.json"),
    "eslint": partial(_passes, "jlpm", "eslint:check"),
    "prettier": partial(_passes, "jlpm", "prettier:check"),
    "stylelint": partial(_passes, "jlpm", "stylelint:check"),
    "jest": partial(_passes, "jlpm", "test"),
}


def _sources() -> Iterator[Path]:
    for name in (*_PACKAGES, "tsconfig.json"):
        yield yarn.FOLDER / name
    for folder in _SOURCES:
        yield from sorted(path for path in (yarn.FOLDER / folder).rglob("*") if path.is_file())


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


@contextmanager
def _alone() -> Iterator[None]:
    """Of two targets that are started at the same time, one works and the other waits for it."""
    _LOCK.parent.mkdir(exist_ok=True)
    with _LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main() -> int:
    """Run what the command line asks for.  Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("install", help="make node_modules where it is not current")
    commands.add_parser("build", help="make what JupyterLab loads, where it is not current")
    commands.add_parser("format", help="format the sources and repair what the linters can")
    commands.add_parser("watch", help="build what is edited, until Ctrl-C")
    commands.add_parser("types", help="write the REST API's types")
    checks = commands.add_parser("check", help="run checks")
    checks.add_argument("names", nargs="*", choices=[[], *CHECKS], metavar="|".join(CHECKS))
    arguments = parser.parse_args()
    actions = {
        "install": install,
        "build": build,
        "format": tidy,
        "watch": watch,
        "types": write_types,
    }
    try:
        if arguments.command in actions:
            actions[arguments.command]()
            return 0
        results = [CHECKS[name]() for name in arguments.names or CHECKS]
    except subprocess.CalledProcessError as error:
        print(f"frontend: {error}", file=sys.stderr)
        return error.returncode or 1
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
