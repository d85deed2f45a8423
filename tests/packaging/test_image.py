"""``make image``: what of this host reaches the build of an image, and how."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.cluster import host
from tools.image import CONTEXT, TARGETS, Builder, arguments_for
from tools.image_settings import host_settings

_INDEX = "https://ada:hunter2@pypi.example.com/simple"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of a user who has configured nothing."""
    for name in ("PIP_INDEX_URL", "PIP_CONFIG_FILE", "XDG_CONFIG_HOME", "PIP_CERT"):
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    return home


def test_pips_index_holds_in_the_build_and_this_hosts_paths_do_not(
    home: Path, tmp_path: Path
) -> None:
    (home / ".config" / "pip").mkdir(parents=True)
    lines = ["[global]", f"index-url = {_INDEX}", "find-links = /srv/wheels", "cert = /srv/ca.pem"]
    (home / ".config" / "pip" / "pip.conf").write_text("\n".join(lines))

    text = host_settings(tmp_path)["pip"].read_text()

    assert f"index-url = {_INDEX}\n" in text
    assert "/srv" not in text


def test_a_variable_of_pip_comes_before_its_file(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / ".pip").mkdir()
    (home / ".pip" / "pip.conf").write_text("[global]\nindex-url = https://old.example.com\n")
    monkeypatch.setenv("PIP_INDEX_URL", _INDEX)

    assert f"index-url = {_INDEX}\n" in host_settings(tmp_path)["pip"].read_text()


def test_the_certificates_that_this_host_trusts_hold_in_the_build(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = home / "ca.pem"
    own.write_text("-----BEGIN CERTIFICATE-----\n")
    monkeypatch.setenv("PIP_CERT", str(own))

    settings = host_settings(tmp_path)

    assert settings["ca"].read_text() == own.read_text()
    assert 'Acquire::https::CAInfo "/run/secrets/ca";' in settings["apt"].read_text()


@pytest.mark.parametrize("program", ["buildah", "podman", "docker"])
def test_a_proxys_password_is_in_no_command_line(
    program: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://ada:hunter2@proxy.example.com")
    settings = tmp_path / "pip"

    command = Builder((program,)).build_command(
        "runner", "localhost/gra/runner:1", arguments_for("base:1", 7), {"pip": settings}
    )

    assert "hunter2" not in " ".join(command)
    assert f"--secret=id=pip,src={settings}" in command
    assert "--build-arg=BASE=base:1" in command
    assert ("--build-arg=HTTPS_PROXY" in command) == (program == "docker")


def test_every_target_is_a_stage_and_the_runner_is_what_a_plain_build_makes() -> None:
    stages = re.findall(
        r"^FROM \S+ AS (\S+)$", (CONTEXT / "Containerfile").read_text(), re.MULTILINE
    )
    assert set(TARGETS) <= set(stages)
    assert stages[-1] == "runner"


def test_every_package_of_the_image_is_pinned_with_its_hashes() -> None:
    pins = (CONTEXT / "requirements.txt").read_text()
    wanted = (CONTEXT / "requirements.in").read_text().splitlines()
    for name in (line for line in wanted if line and not line.startswith("#")):
        assert re.search(rf"^{name}==.* \\\n +--hash=sha256:", pins, re.MULTILINE), name


def test_what_a_killed_build_left_in_the_cache_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".building-x" / "storage").mkdir(parents=True)
    (tmp_path / "0123abcd").mkdir()

    host.remove_unfinished(tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["0123abcd"]
