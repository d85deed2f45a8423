"""JupyterLab, or Notebook 7, in a process of its own: what browser tests look at."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from tests.support.cli import gra
from tests.support.kernelspecs import KernelSpecs
from tests.support.places import Places
from tests.support.rest import Rest
from tests.support.runners import Runners
from tests.support.server import JupyterServer, jupyter_server
from tests.support.waiting import WaitTimeout, until

REPOSITORY = Path(__file__).parents[2]
App = Literal["lab", "notebook"]

_MODULES: Mapping[App, str] = {"lab": "jupyterlab", "notebook": "notebook"}
_FOREIGN = ("GRA_", "JUPYTER", "JPY_", "KUBE", "RUNNER_", "AWS_")
# How long what ends by itself (a deleted runner, an agent that was told to stop) may take.
_SETTLE = 60.0


@dataclass(frozen=True)
class Lab:
    """A running server with pages.  ``runners`` are those that it makes, seen from outside."""

    app: App
    server: JupyterServer
    places: Places
    runners: Runners
    environment: Mapping[str, str]
    has_extension: bool

    @property
    def rest(self) -> Rest:
        """The REST API of its extension."""
        return Rest(self.server)

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return "/".join(self.server.url.split("/")[:3])

    def address(self, path: str) -> str:
        """The address of a page; ``path`` is below the server's base."""
        separator = "&" if "?" in path else "?"
        return f"{self.server.url}{path}{separator}token={self.server.token}"

    def gra(self, *arguments: str, owner: str | None = None) -> str:
        """What ``gra`` prints, run by the server's user, or by somebody else.  It must succeed."""
        environment = {**self.environment, **({"GRA_OWNER": owner} if owner else {})}
        result = gra(*arguments, env=environment)
        if result.returncode != 0:
            raise AssertionError(f"gra {' '.join(arguments)}: {result.stderr}")
        return result.stdout

    @contextmanager
    def anothers_runner(self) -> Iterator[str]:
        """The name of a runner, without a kernel, of an owner called ada, while the block runs."""
        name = self.gra("create", "--no-kernel", owner="ada").strip()
        try:
            yield name
        finally:
            # Where the test has had it deleted there is none.
            gra("delete", name, env={**self.environment, "GRA_OWNER": "ada"})

    def kill_agent(self, name: str) -> None:
        """End a local runner by a signal to its agent, behind gra's back."""
        os.kill(int(self.places.runner_records()[name]["agent_pid"]), signal.SIGKILL)

    def kernels(self) -> list[str]:
        """The ids of the kernels that the server has."""
        return [kernel["id"] for kernel in self._listed("api/kernels")]

    def write_notebook(self, name: str, *cells: str) -> None:
        """Write a notebook of code cells into the folder that the page shows."""
        code: dict[str, Any] = {
            "cell_type": "code",
            "execution_count": None,
            "metadata": {},
            "outputs": [],
        }
        document = {
            "cells": [{**code, "id": f"cell-{i}", "source": text} for i, text in enumerate(cells)],
            "metadata": {"kernelspec": {"name": "gra", "display_name": "gra"}},
            "nbformat": 4,
            "nbformat_minor": 5,
        }
        (self.places.work / name).write_text(json.dumps(document))

    def write_settings(self, plugin: str, settings: Mapping[str, Any]) -> None:
        """Write a user's settings of a plugin (``package:name``), for pages opened from now on."""
        package, _, name = plugin.partition(":")
        folder = self.places.config / "lab" / "user-settings" / package
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.jupyterlab-settings").write_text(json.dumps(settings))

    @contextmanager
    def started_again(self) -> Iterator[Lab]:
        """Another server at the same address, after this one was killed."""
        port = urlsplit(self.server.url).port
        module = _MODULES[self.app]
        with jupyter_server(self.places, self.environment, module, port=port) as server:
            again = replace(self, server=server)
            yield again
            again.restore()

    def restore(self) -> None:
        """End all that pages have started and forget all that they have written.

        A server that was killed is left as it is; its runners end with :func:`running_lab`.
        Raises :class:`WaitTimeout` naming what is left.
        """
        if self.server.process.poll() is not None:
            return
        for kind in ("sessions", "kernels"):
            for known in self._listed(f"api/{kind}"):
                self.server.request("DELETE", f"api/{kind}/{known['id']}")
        for known in self._listed("api/terminals"):
            self.server.request("DELETE", f"api/terminals/{known['name']}")
        if self.has_extension:
            for runner in self.rest.ok("GET", "runners?inspect=false&owner=me")["runners"]:
                self.rest.call("DELETE", f"runners/{runner['name']}?force=true")
            until(lambda: not self.left(), f"runners to be gone: {self.left()}", _SETTLE)
        for written in (self.places.work, self.places.config / "lab"):
            shutil.rmtree(written, ignore_errors=True)
        self.places.work.mkdir(mode=0o700)

    def left(self) -> list[str]:
        """The runners that there are."""
        return sorted(self.runners.uids())

    def _listed(self, path: str) -> list[dict[str, Any]]:
        answer = self.server.request("GET", path)
        listed: list[dict[str, Any]] = answer.json() if answer.ok else []
        return listed


@contextmanager
def running_lab(
    places: Places,
    runners: Runners,
    *,
    app: App = "lab",
    has_extension: bool = True,
    config: Mapping[str, Any] | None = None,
    environment: Callable[[dict[str, str]], None] | None = None,
) -> Iterator[Lab]:
    """A server that nothing goes out of; it and its runners are gone at the end of the block.

    ``has_extension`` is whether the server extension is enabled, as the wheel does it.  ``config``
    goes over the server's configuration, by class; ``environment`` changes its variables.
    """
    _configure(places, has_extension, config or {})
    KernelSpecs(places.data, on_runners=True).install_all(REPOSITORY / "kernelspecs")
    variables = _clean_environment()
    variables.update(places.environment() | runners.environment())
    if environment is not None:
        environment(variables)
    try:
        with jupyter_server(places, variables, _MODULES[app]) as server:
            lab = Lab(app, server, places, runners, variables, has_extension)
            yield lab
            lab.restore()
        _delete_runners(lab)
        runners.until_none("what the server has started", _SETTLE)
    except WaitTimeout:
        runners.end()
        raise


def _delete_runners(lab: Lab) -> None:
    """End what a server has left that was killed, or whose extension could not be asked."""
    if not lab.left():
        return
    command = (sys.executable, "-m", "gra_provisioner", "delete", "--all", "--yes", "--grace", "0")
    subprocess.run(command, env=dict(lab.environment), check=True, timeout=_SETTLE)


def _clean_environment() -> dict[str, str]:
    """This process's variables without what would reach another Jupyter or another gra.

    The cache stays shared.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    cache = os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))
    return {**kept, "XDG_CACHE_HOME": cache}


def _configure(places: Places, has_extension: bool, config: Mapping[str, Any]) -> None:
    shutil.copytree(REPOSITORY / "jupyter-config", places.config, dirs_exist_ok=True)
    pages = {
        # For tests that ask the page itself.
        "expose_app_in_browser": True,
        # Asks the package index.
        "extension_manager": "readonly",
        "check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
        "news_url": None,
    }
    own: dict[str, Any] = {
        "ServerApp": {"jpserver_extensions": {"gra_provisioner": has_extension}},
        "LabApp": pages,
        "JupyterNotebookApp": {"expose_app_in_browser": True},
    }
    for name, settings in config.items():
        own[name] = {**own.get(name, {}), **settings}
    (places.config / "jupyter_server_config.json").write_text(json.dumps(own))
    labconfig = places.config / "labconfig"
    labconfig.mkdir()
    # Asks whether news may be fetched, and fetches them.
    disabled = {"@jupyterlab/apputils-extension:announcements": True}
    page_config = {"disabledExtensions": disabled}
    (labconfig / "page_config.json").write_text(json.dumps(page_config))
