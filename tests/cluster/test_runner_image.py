"""The images of ``runner-image/`` in pods as gra makes them: restricted, with a read-only root."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from gra_provisioner.backends.kubernetes.manifest import WORK
from tests.support.cli import gra, gra_json
from tests.support.launches import Site
from tools.image import SBOM

pytestmark = pytest.mark.gra_only

_ANALYSIS = """
import matplotlib.pyplot as plt
import pandas as pd

days = pd.date_range("2026-03-29", periods=3, tz="Europe/Berlin")
table = pd.DataFrame({"when": days, "n": [1, 2, 3]})
table.to_parquet("table.parquet")
table.to_csv("table.csv", index=False)
assert pd.read_parquet("table.parquet").equals(table)
assert pd.read_csv("table.csv")["n"].sum() == 6
table.plot("when", "n");
"""
_S3 = """
import fsspec
type(fsspec.filesystem("s3", anon=True)).__name__
"""
_PLACE = """
import errno, os

def refused(path):
    try:
        open(path, "w")
    except OSError as error:
        return errno.errorcode[error.errno]

os.getuid(), os.getgid(), os.getcwd(), os.path.expanduser("~"), refused("/usr/local/x")
"""
_TOOLS = """
set -eu
git init --quiet data && cd data
echo 1 >file
git add file
git -c user.name=ada -c user.email=ada@example.com commit --quiet --message first
git clone --quiet . ../clone
rsync --archive file ../copied && cat ../copied
ssh-keygen -q -t ed25519 -N "" -f ../host
# What it means to serve with a key of one's own, checked as sshd does at its start.
/usr/sbin/sshd -t -f /dev/null -h ../host -o Port=2222
ssh -G example.com | grep --quiet '^port 22$'
s3fs --version | head -n 1
ls /etc/ssh | grep --count host_ || true
# The folder itself is not the user's, but its group's.
cd .. && git init --quiet . && git status --short
"""
_INSTALLED = """
import json, re, subprocess, sys
from importlib.metadata import distributions

shown = subprocess.run(
    ["dpkg-query", "--show", "--showformat", "${db:Status-Abbrev} ${Package} ${Version}\\n"],
    check=True, capture_output=True, text=True,
).stdout
debian = [line.split()[1:] for line in shown.splitlines() if line.startswith("ii")]
python = [[re.sub("[-_.]+", "-", found.name).lower(), found.version] for found in distributions()]
print(json.dumps({"deb": debian, "pypi": python}))
"""
_NOT_IN_THE_SIDECAR = ("pip", "pip3", "git", "ssh", "sshd", "rsync", "cc", "gcc", "make", "curl")


def _created(site: Site, image: str, *words: str) -> str:
    """The name of a new runner with this image."""
    site.configure(tested={"image": site.cluster.image(image)})
    name: str = gra_json("create", "--profile", "tested", *words)["name"]
    return name


def _said(runner: str, *command: str) -> str:
    """What a command in the runner writes.  Fails the test if it fails."""
    result = gra("exec", runner, "--", *command)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_a_notebook_with_tables_figures_and_s3_runs_on_the_runner_image(
    site: Site, tmp_path: Path
) -> None:
    site.configure(tested={"image": site.cluster.image("runner")})
    source, executed = tmp_path / "analysis.ipynb", tmp_path / "executed.ipynb"
    cells = [new_code_cell(text.strip()) for text in (_PLACE, _ANALYSIS, _S3)]
    nbformat.write(new_notebook(cells=cells), source)

    result = gra("run", "--profile", "tested", str(source), "--output", str(executed))

    assert result.returncode == 0, result.stderr
    place, analysis, s3 = (cell.outputs for cell in nbformat.read(executed, as_version=4).cells)
    wanted = (1000, 1000, WORK, "/home/runner", "EROFS")
    assert [output.data["text/plain"] for output in place] == [str(wanted)]
    # The figure is shown, and nothing is said on standard error: nothing is made at the first use.
    assert ["image/png" in output.get("data", {}) for output in analysis] == [True], analysis
    assert [output.data["text/plain"] for output in s3] == ["'S3FileSystem'"]


def test_git_rsync_ssh_and_s3fs_work_in_the_runner_image(site: Site) -> None:
    runner = _created(site, "runner")

    lines = _said(runner, "sh", "-c", _TOOLS).splitlines()

    assert lines[0] == "1"
    assert lines[1].startswith("Amazon Simple Storage Service File System")
    # Keys in an image would be everybody's.
    assert lines[2] == "0"
    assert set(lines[3:]) == {"?? clone/", "?? copied", "?? data/", "?? host", "?? host.pub"}


@pytest.mark.parametrize("image", ["runner", "s3fs-sidecar"])
def test_the_bill_of_materials_lists_what_is_installed(site: Site, image: str) -> None:
    runner = _created(site, image, "--no-kernel")

    bill: dict[str, Any] = json.loads(_said(runner, "cat", SBOM))
    installed = json.loads(_said(runner, "python3", "-c", _INSTALLED))

    listed: dict[str, set[tuple[str, str]]] = {"deb": set(), "pypi": set()}
    for component in bill["components"]:
        kind = component["purl"].removeprefix("pkg:").partition("/")[0]
        listed[kind].add((component["name"], component["version"]))
    assert bill["metadata"]["component"]["name"] == image
    assert listed == {kind: {(name, at) for name, at in found} for kind, found in installed.items()}


def test_the_sidecar_image_has_what_a_mount_needs_and_little_else(site: Site) -> None:
    runner = _created(site, "s3fs-sidecar", "--no-kernel")

    _said(runner, "s3fs", "--version")
    # What gra's agent needs there: see gra_provisioner/agent.
    _said(runner, "python3", "-I", "-S", "-c", "import ctypes, http.client, json, socket, ssl")
    _said(runner, "test", "-s", "/etc/ssl/certs/ca-certificates.crt", "-a", "-s", "/etc/mime.types")
    asked = " ".join(_NOT_IN_THE_SIDECAR)
    loop = f"for name in {asked}; do command -v $name || true; done"
    assert _said(runner, "sh", "-c", loop) == ""
    assert gra("exec", runner, "--", "python3", "-c", "import pip").returncode == 1
