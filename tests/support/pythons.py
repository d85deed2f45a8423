"""The interpreters of this host, for what promises to run on old ones."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

# Looked up at import: a test's HOME is another one.
_PYENV = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))


def version(python: str) -> tuple[int, ...]:
    """The version of an interpreter, or nothing if it does not run."""
    code = "import sys; print(*sys.version_info[:2])"
    run = subprocess.run([python, "-c", code], capture_output=True, check=False, timeout=30)
    # A shim of pyenv's is there for versions that are not installed, too.
    return tuple(map(int, run.stdout.split())) if run.returncode == 0 else ()


def oldest() -> str:
    """The oldest interpreter of this host that runners promise to do with."""
    names = [f"python3.{minor}" for minor in range(8, sys.version_info.minor)]
    found = [path for name in names if (path := shutil.which(name)) is not None]
    found += map(str, _PYENV.glob("versions/3.*/bin/python3"))
    usable = {path: told for path in found if (told := version(path)) >= (3, 8)}
    return min(usable, key=lambda path: usable[path], default=sys.executable)


def needs_no_more_than_python_38(*paths: Path) -> None:
    """Nothing in these sources is newer than Python 3.8."""
    vermin = str(Path(sys.executable).with_name("vermin"))
    command = [vermin, "-t=3.8-", "--no-tips", "--violations", *map(str, paths)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert run.returncode == 0, run.stdout
