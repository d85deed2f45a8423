"""The tools that make JupyterLab's part."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tools import frontend, yarn

# The first may have to fetch what the front end is built with.
pytestmark = pytest.mark.timeout(900)

_REGISTRY = "https://registry.invalid/npm/"


def test_yarn_uses_the_registry_that_npm_is_set_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("npm_config_registry", _REGISTRY)
    monkeypatch.delenv("YARN_NPM_REGISTRY_SERVER", raising=False)

    variables = yarn.for_fetching(yarn.environment(), yarn.npm_settings(os.environ))

    command = ("jlpm", "config", "get", "npmRegistryServer")
    told = subprocess.run(
        command, cwd=yarn.FOLDER, env=variables, check=True, stdout=subprocess.PIPE, text=True
    )
    assert told.stdout.strip() == _REGISTRY


def test_yarns_own_settings_come_before_those_of_npm() -> None:
    own = {"YARN_NPM_REGISTRY_SERVER": "https://own.invalid/", "YARN_HTTP_RETRY": "1"}

    variables = yarn.for_fetching(own, {"registry": _REGISTRY, "strict-ssl": False})

    assert variables["YARN_NPM_REGISTRY_SERVER"] == "https://own.invalid/"
    assert variables["YARN_HTTP_RETRY"] == "1"
    assert variables["YARN_ENABLE_STRICT_SSL"] == "0"


def test_what_npm_is_not_set_to_stays_yarns_default() -> None:
    variables = yarn.for_fetching({}, {"proxy": None, "cafile": ""})

    assert not variables.keys() & {"YARN_HTTP_PROXY", "YARN_CA_FILE_PATH"}


def test_types_that_are_not_those_of_the_rest_api_are_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = tmp_path / "src" / "api" / "schema.d.ts"
    monkeypatch.setattr(frontend, "TYPES", written)

    frontend.write_types()
    assert frontend.check_types()

    written.write_text(written.read_text().replace("listRunners", "listed"))
    assert not frontend.check_types()


def test_a_digest_tells_files_that_were_changed_renamed_or_removed() -> None:
    package = yarn.FOLDER / "package.json"
    lock = yarn.FOLDER / "yarn.lock"

    digests = {
        frontend.digest(files)
        for files in ([package], [lock], [package, lock], [package, package.with_name("gone")])
    }

    assert len(digests) == 4
