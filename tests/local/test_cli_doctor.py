"""``gra doctor`` on this host."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.support.cli import gra, gra_json
from tests.support.places import Places

pytestmark = [
    pytest.mark.gra_only,
    pytest.mark.local_only("what pods may do is tested on the cluster"),
]


def test_every_way_to_s3_is_told_with_what_to_do(places: Places) -> None:
    found = gra_json("doctor")

    assert (found["backend"], found["profile"]) == ("local", "small")
    names = [finding["name"] for finding in found["findings"]]
    assert names == ["backend", "s3fs", "fuse", "fusermount", "s3-fsspec"]
    for finding in found["findings"]:
        assert finding["status"] in ("ok", "warning")
        assert finding["message"]
        assert finding["hint"] or finding["status"] == "ok"
    text = gra("doctor").stdout
    assert text.startswith("Backend: local")
    for finding in found["findings"]:
        assert finding["name"] in text
        assert finding["message"] in text


def test_without_s3fs_its_package_is_named(tmp_path: Path, places: Places) -> None:
    result = gra("doctor", "--json", env={**os.environ, "PATH": str(tmp_path)})

    assert result.returncode == 0, result.stderr
    (program,) = (f for f in json.loads(result.stdout)["findings"] if f["name"] == "s3fs")
    assert program["status"] == "warning"
    assert "nstall" in program["hint"]
    assert "fsspec" in program["hint"]


def test_a_profile_that_is_none_is_wrong_usage(places: Places) -> None:
    result = gra("doctor", "--profile", "nonesuch", "--json")

    assert result.returncode == 2
    assert json.loads(result.stderr)["reason"] == "UnknownProfile"
