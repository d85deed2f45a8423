"""The wheel and the source distribution, built and installed as for a release."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from tools import frontend, yarn

REPOSITORY = Path(__file__).parents[2]

# The first may have to fetch what the front end is built with.
pytestmark = pytest.mark.timeout(900)

_EXTENSION = ".data/data/share/jupyter/labextensions/gra-provisioner/"
_LEFT_OUT = ("__pycache__", ".git", ".venv", "build", "dist", "lib", "node_modules", ".*cache*")
_SYSTEM_PATH = "/usr/sbin:/sbin"
_BUILD_BOUND = 300.0
_INSTALL_BOUND = 300.0


@dataclass(frozen=True)
class Built:
    """What was built from a copy of the tree, so that whoever uses the tree notices nothing."""

    wheel: Path
    sdist: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    frontend.install()
    tree = tmp_path_factory.mktemp("release") / "tree"
    shutil.copytree(REPOSITORY, tree, ignore=shutil.ignore_patterns(*_LEFT_OUT))
    shutil.rmtree(tree / "gra_provisioner" / "labextension", ignore_errors=True)
    (tree / "labextension" / "node_modules").symlink_to(yarn.FOLDER / "node_modules")
    _build(tree, dict(os.environ))
    (wheel,) = (tree / "dist").glob("*.whl")
    (sdist,) = (tree / "dist").glob("*.tar.gz")
    return Built(wheel, sdist)


def _build(tree: Path, variables: dict[str, str], *options: str) -> None:
    subprocess.run(
        (sys.executable, "-m", "hatchling", "build", *options),
        cwd=tree,
        env=variables,
        check=True,
        timeout=_BUILD_BOUND,
    )


def _names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_has_the_front_end_as_it_is_released(built: Built) -> None:
    names = {name.partition(_EXTENSION)[2] for name in _names(built.wheel) if _EXTENSION in name}

    assert {"package.json", "install.json", "static/style.js"} <= names
    assert any(re.fullmatch(r"static/remoteEntry\.\w+\.js", name) for name in names)
    assert any(name.startswith("schemas/gra-provisioner/") for name in names)
    # Neither sources nor what names folders of the machine that built it.
    assert not [name for name in names if name.endswith((".map", ".ts")) or "log" in name]


def test_the_source_distribution_makes_the_same_wheel_without_node(
    built: Built, tmp_path: Path
) -> None:
    with tarfile.open(built.sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (tree,) = tmp_path.iterdir()
    left = {"lib", "node_modules", ".yarn", ".eslintcache", "tsconfig.tsbuildinfo"}
    assert not left & {path.name for path in (tree / "labextension").iterdir()}

    _build(tree, {"PATH": _SYSTEM_PATH, "HOME": str(tmp_path)}, "--target", "wheel")

    (wheel,) = (tree / "dist").glob("*.whl")
    assert _names(wheel) == _names(built.wheel)


def test_installed_beside_jupyterlab_both_extensions_are_enabled(
    built: Built, tmp_path: Path
) -> None:
    environment = tmp_path / "environment"
    _uv("venv", "--quiet", "--python", sys.executable, environment)
    constraints = ("--constraint", REPOSITORY / "requirements" / "dev.txt")
    where = ("--quiet", "--python", environment / "bin" / "python")
    _uv("pip", "install", *where, *constraints, built.wheel, "jupyterlab")

    assert re.search(
        r"gra-provisioner v\S+ .*enabled.*OK", _jupyter(environment, "labextension", "list")
    )
    listed = _jupyter(environment, "server", "extension", "list")
    assert re.search(r"gra_provisioner.*enabled", listed)
    assert re.search(r"gra_provisioner \S*\s*.*OK", listed)


def _uv(*words: object) -> None:
    subprocess.run(
        ("tools/bootstrap.sh", "uv", *map(str, words)),
        cwd=REPOSITORY,
        check=True,
        timeout=_INSTALL_BOUND,
    )


def _jupyter(environment: Path, *words: str) -> str:
    own = environment / "home"
    own.mkdir(exist_ok=True)
    done = subprocess.run(
        (environment / "bin" / "jupyter", *words),
        env={"PATH": f"{environment / 'bin'}:{os.defpath}", "HOME": str(own)},
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_BUILD_BOUND,
    )
    return re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)
