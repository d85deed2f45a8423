"""``gra kernelspec``: one's own profile in Jupyter's kernel picker."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.cli import gra, gra_json
from tests.support.kernels import StartedKernel
from tests.support.places import Places

pytestmark = [
    pytest.mark.gra_only,
    pytest.mark.same_with_pods("kernelspecs are files of this machine, and name no backend"),
]

_PROFILE = """
[profiles.quick]
extends = "small"
resources = {cpu = 1, memory = "512Mi"}
env = {GREETING = "hello"}
"""


def test_a_profile_of_ones_own_becomes_a_kernel(
    places: Places, start_kernel: Callable[..., StartedKernel]
) -> None:
    places.write_profiles(_PROFILE)

    result = gra("kernelspec", "install", "--profile", "quick")

    assert result.returncode == 0
    assert "Python 3 · quick runner (1 CPU, 512 MiB)" in result.stdout
    kernel = start_kernel("gra-quick")
    assert kernel.run("import os; print(os.environ['GREETING'])").text == "hello\n"
    assert gra_json("get", "runner-1")["profile"] == "quick"


def test_an_installed_kernelspec_names_its_python(places: Places) -> None:
    content = gra_json("kernelspec", "install", "--name", "Own", "--display-name", "My own")

    written = json.loads((places.data / "kernels" / "own" / "kernel.json").read_text())
    assert content == {
        "name": "own",
        "resource_dir": str(places.data / "kernels" / "own"),
        **written,
    }
    assert written["display_name"] == "My own"
    python = Path(written["argv"][0])
    assert python.is_absolute()
    assert python.samefile(sys.executable)


def test_a_kernelspec_below_a_prefix_is_said_to_be_out_of_sight(places: Places) -> None:
    prefix = places.root / "prefix"

    result = gra("kernelspec", "install", "--prefix", str(prefix))

    assert result.returncode == 0
    assert (prefix / "share" / "jupyter" / "kernels" / "gra-small" / "kernel.json").is_file()
    assert "JUPYTER_PATH" in result.stderr


def test_kernelspecs_of_gra_are_listed_and_no_others(places: Places) -> None:
    other = places.data / "kernels" / "other"
    other.mkdir()
    (other / "kernel.json").write_text('{"argv": ["x"], "display_name": "X", "language": "x"}')

    specs = {spec["name"]: spec["profile"] for spec in gra_json("kernelspec", "list")}

    assert specs == {"gra": "small", "gra-medium": "medium", "gra-large": "large"}
    lines = gra("kernelspec", "list").stdout.splitlines()
    assert lines[0].split() == ["NAME", "PROFILE", "DISPLAY", "NAME", "FOLDER"]
    assert [line.split()[0] for line in lines[1:]] == ["gra", "gra-large", "gra-medium"]


def test_only_kernelspecs_of_gra_are_removed(places: Places) -> None:
    other = places.data / "kernels" / "other"
    other.mkdir()
    (other / "kernel.json").write_text('{"argv": ["x"], "display_name": "X", "language": "x"}')

    assert gra("kernelspec", "remove", "gra-large").returncode == 0
    result = gra("kernelspec", "remove", "other")

    assert result.returncode == 2
    assert "something else than gra" in result.stderr
    assert other.is_dir()
    assert not (places.data / "kernels" / "gra-large").exists()


def test_an_unknown_profile_is_named_with_the_nearest() -> None:
    result = gra("kernelspec", "install", "--profile", "mediun")

    assert result.returncode == 2
    assert result.stderr.startswith('Error: option --profile is "mediun", but no such profile')
    assert 'Hint: Did you mean "medium"?' in result.stderr
