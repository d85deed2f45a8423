"""Mounts of a real S3 server as the command line and the REST API's documents show them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cli import gra, gra_json
from tests.support.places import Places
from tests.support.s3 import S3Server
from tests.support.waiting import until

pytestmark = [
    pytest.mark.gra_only,
    pytest.mark.local_only("what pods mount is tested on the cluster"),
]

# A mount is asked for its health every ten seconds.
_NOTICED = 45.0


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[S3Server]:
    """A server with the bucket ``lake``."""
    with S3Server(tmp_path / "s3") as server:
        server.make_bucket("lake")
        yield server


@pytest.fixture
def runner(
    places: Places, s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """A runner with the bucket."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.root.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.root.secret_key)
    places.write_profiles(
        "[[profiles.lake.s3]]\n"
        'bucket = "lake"\n'
        'prefix = "team/a"\n'
        f"mount = {json.dumps(str(tmp_path / 'lake'))}\n"
        f"endpoint = {json.dumps(s3.endpoint)}\n"
    )
    made = gra("create", "--profile", "lake")
    assert made.returncode == 0, made.stderr
    name = made.stdout.strip()
    yield name
    gra("delete", name, "--yes")


def _mount(runner: str) -> dict[str, Any]:
    (mount,) = gra_json("get", runner)["mounts"]
    found: dict[str, Any] = mount
    return found


def test_a_mount_is_shown_and_its_trouble_and_its_return(
    runner: str, s3: S3Server, tmp_path: Path
) -> None:
    path = str(tmp_path / "lake")
    mount = _mount(runner)
    assert (mount["path"], mount["bucket"], mount["prefix"]) == (path, "lake", "team/a")
    assert (mount["state"], mount["reason"]) == ("mounted", "")
    shown = gra("get", runner)
    assert f"{path}  s3://lake/team/a  mounted" in shown.stdout
    assert shown.stderr == ""
    assert path in gra("list", "-o", "wide").stdout

    s3.stop()
    until(lambda: _mount(runner)["state"] == "failing", "the trouble to be seen", _NOTICED)

    shown = gra("get", runner)
    assert "S3EndpointUnreachable" in shown.stdout
    warning, hint = shown.stderr.splitlines()
    assert warning.startswith(f"Warning: {path} (s3://lake/team/a) is failing: ")
    assert hint.startswith("Hint: ")
    assert f"{path}:failing" in gra("list", "-o", "wide").stdout

    s3.start()
    until(lambda: _mount(runner)["state"] == "mounted", "the return to be seen", _NOTICED)
    assert gra("get", runner).stderr == ""
    assert s3.root.secret_key not in gra("get", runner, "--json").stdout
