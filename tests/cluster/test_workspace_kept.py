"""A workspace that outlives its runner: what did not come back is there for the next one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from gra_provisioner.backends.kubernetes.workspace import claim_name
from tests.support.cli import gra
from tests.support.kernels import StartedKernel
from tests.support.launches import Site

_OWNER = "ada"


@pytest.fixture
def volume(site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A volume for the claim that a runner of the site has made, as a folder of this host."""
    monkeypatch.setenv("GRA_OWNER", _OWNER)
    folder = site.places.root / "volume"
    folder.mkdir()
    folder.chmod(0o777)
    name = f"{site.namespace}-workspace"
    claim = {"namespace": site.namespace, "name": claim_name(_OWNER, "workspace")}
    spec = {
        "capacity": {"storage": "10Gi"},
        "accessModes": ["ReadWriteOnce"],
        "persistentVolumeReclaimPolicy": "Retain",
        "hostPath": {"path": str(folder)},
        "claimRef": claim,
    }
    manifest = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": spec,
    }
    site.cluster.kubectl("create", "--filename=-", manifest=manifest)
    yield folder
    site.cluster.kubectl("--namespace", site.namespace, "delete", "pods", "--all")
    site.cluster.kubectl("--namespace", site.namespace, "delete", "pvc", claim["name"])
    site.cluster.kubectl("delete", "pv", name)
    shutil.rmtree(folder)


def test_results_that_nobody_has_got_come_back_from_the_next_runner(
    site: Site, volume: Path
) -> None:
    folder = site.places.work / "nb"
    folder.mkdir()
    (folder / "input.txt").write_text("1")
    (folder / "table.csv").write_text("1")
    kernelspec = site.kernelspec({"workspace": {"sync": "notebook", "keep": True}})

    kernel = StartedKernel.start(kernelspec, cwd=str(folder))
    assert kernel.run("import os; print(os.getcwd())").text == "/workspace\n"
    for name in ("result.txt", "table.csv"):
        kernel.run(f"open('{name}', 'w').write('of the first runner')")
    deleted = gra("delete", "runner-1", "--discard")
    assert deleted.returncode == 0, deleted.stderr
    kernel.stop()
    assert not (folder / "result.txt").exists()
    (folder / "table.csv").write_text("mine")

    kernel = StartedKernel.start(kernelspec, cwd=str(folder))
    assert kernel.run("print(open('result.txt').read())").text == "of the first runner\n"
    assert kernel.run("print(open('table.csv').read())").text == "mine\n"
    kernel.stop()

    assert (folder / "result.txt").read_text() == "of the first runner"
    assert (folder / "table.csv").read_text() == "mine"
    assert (folder / "table.kept-runner-1.csv").read_text() == "of the first runner"
    assert (folder / "input.txt").read_text() == "1"
