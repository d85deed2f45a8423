"""Ways to S3 other than a mount that works: refused sidecars, launches that fail, and fsspec."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.layout import NODE_ADDRESS
from tests.support.kernels import StartedKernel
from tests.support.launches import Site
from tests.support.s3 import S3Server

pytestmark = pytest.mark.gra_only

_TABLES = """
import pandas as pd

before = pd.read_csv("s3://lake/team/in.csv")
before.to_parquet("s3://lake/team/out.parquet")
print(pd.read_parquet("s3://lake/team/out.parquet")["n"].sum())
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """An S3 server that pods reach, with a bucket that has a table."""
    with S3Server(tmp_path_factory.mktemp("s3"), address=NODE_ADDRESS) as server:
        server.make_bucket("lake")
        server.put("lake", "team/in.csv", b"n\n40\n2\n")
        yield server


def _mounting(site: Site, **bucket: Any) -> dict[str, Any]:
    """The settings of a runner that mounts a bucket by s3fs."""
    entry = {"bucket": "lake", "mount": "/data/lake", "endpoint": "http://192.0.2.1", **bucket}
    return {
        "allow_privileged_sidecar": True,
        "s3_sidecar": {"image": site.cluster.image("s3fs-sidecar")},
        "s3": [entry],
    }


def _privileged(site: Site) -> None:
    label = "pod-security.kubernetes.io/enforce=privileged"
    site.cluster.kubectl("label", "--overwrite", "namespace", site.namespace, label)


def _with_keys(site: Site, server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.root.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.root.secret_key)


# -- s3fs that cannot be ----------------------------------------------------------------------


def test_a_namespace_that_forbids_the_sidecar_is_named_with_the_other_ways(site: Site) -> None:
    settings = _mounting(site, credentials={"anonymous": True})
    failure = site.refused("PodSecurityViolated", **settings)
    failure.says(
        "privileged container that mounts buckets",
        f"namespace {site.namespace} pod-security.kubernetes.io/enforce=privileged",
        'via = "volume"',
        'via = "fsspec"',
    )


def test_a_profile_that_does_not_allow_the_sidecar_makes_no_pod(site: Site) -> None:
    settings = {**_mounting(site, credentials={"anonymous": True})}
    settings["allow_privileged_sidecar"] = False
    site.refused("InvalidConfiguration", **settings).says("allow_privileged_sidecar = true")


def test_own_credentials_that_are_not_there_make_no_pod(site: Site) -> None:
    failure = site.refused("S3CredentialsMissing", **_mounting(site))
    failure.says("AWS_ACCESS_KEY_ID is not set", ".aws/credentials")


def test_a_secret_that_is_not_there_is_named(site: Site) -> None:
    _privileged(site)
    failure = site.fails_promptly(
        "SecretMissing", **_mounting(site, credentials={"secret": "lake-key"})
    )
    failure.says("lake-key")


def test_a_secret_without_the_key_is_named(site: Site) -> None:
    _privileged(site)
    site.create("secret", "generic", "lake-key", "--from-literal=other=x")
    failure = site.fails_promptly(
        "SecretMissing", **_mounting(site, credentials={"secret": "lake-key"})
    )
    failure.says("'lake-key' has no key 'AWS_ACCESS_KEY_ID'")


@pytest.mark.parametrize(
    ("image", "reason"), [("absent", "ImageNotOnNode"), ("nopython", "NoPython")]
)
def test_a_sidecar_that_does_not_start_is_said_to_be_the_sidecar(
    site: Site, image: str, reason: str
) -> None:
    _privileged(site)
    settings = _mounting(site, credentials={"anonymous": True})
    settings["s3_sidecar"] = {"image": site.cluster.image(image)}
    settings["pod"] = {"image_pull_policy": "Never"}
    site.fails_promptly(reason, **settings).says("gra-s3")


def test_a_bucket_that_is_not_there_ends_the_launch(
    site: Site, server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    _privileged(site)
    _with_keys(site, server, monkeypatch)
    failure = site.fails(
        "S3BucketMissing", **_mounting(site, bucket="other", endpoint=server.endpoint)
    )
    failure.says("other", server.endpoint)
    assert failure.phases()[-1] == "mounts"


# -- fsspec -----------------------------------------------------------------------------------


def _fsspec(site: Site, server: S3Server, **bucket: Any) -> str:
    entry = {"via": "fsspec", "bucket": "lake", "endpoint": server.endpoint, **bucket}
    return site.kernelspec({"image": site.cluster.image("runner"), "s3": [entry]})


def test_pandas_reads_and_writes_a_bucket_with_the_users_own_key(
    site: Site, server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    _with_keys(site, server, monkeypatch)
    kernel = StartedKernel.start(_fsspec(site, server))
    try:
        assert kernel.run(_TABLES).text == "42\n"
        shown = site.cluster.kubectl("--namespace", site.namespace, "get", "all,events", "-oyaml")
        for part in (server.root.access_key, server.root.secret_key):
            assert part not in shown
    finally:
        kernel.stop()
    assert "team/out.parquet" in server.keys("lake")


def test_pandas_reads_a_bucket_with_the_key_of_a_secret(site: Site, server: S3Server) -> None:
    site.create(
        "secret",
        "generic",
        "lake-key",
        f"--from-literal=AWS_ACCESS_KEY_ID={server.root.access_key}",
        f"--from-literal=AWS_SECRET_ACCESS_KEY={server.root.secret_key}",
    )
    kernel = StartedKernel.start(_fsspec(site, server, credentials={"secret": "lake-key"}))
    try:
        assert kernel.run(_TABLES).text == "42\n"
    finally:
        kernel.stop()


# -- the workspace ----------------------------------------------------------------------------


@pytest.fixture
def storage(site: Site, tmp_path: Path) -> Iterator[str]:
    """A storage class of which there is one volume, a folder of the node."""
    name = f"kept-{site.namespace}"
    folder = tmp_path / "volume"
    folder.mkdir()
    folder.chmod(0o777)
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": name,
            "hostPath": {"path": str(folder)},
        },
    }
    site.cluster.kubectl("create", "--filename=-", manifest=volume)
    yield name
    words = ("delete", "pvc", "--all", "--wait=false")
    site.cluster.kubectl("--namespace", site.namespace, *words)
    site.cluster.kubectl("delete", "pv", name, "--wait=false")


def test_a_workspace_that_is_kept_is_there_for_the_next_runner(site: Site, storage: str) -> None:
    workspace = {"size": "1Gi", "keep": True, "storage_class": storage, "name": "thesis"}
    name = site.kernelspec({"workspace": workspace})
    for code, text in (
        ("print(open('notes', 'w').write('kept'))", "4\n"),
        ("import os; print(os.getcwd(), open('notes').read())", "/workspace kept\n"),
    ):
        kernel = StartedKernel.start(name)
        try:
            assert kernel.run(code).text == text
        finally:
            kernel.stop()
    words = ("--namespace", site.namespace, "get", "pvc")
    (claim,) = site.cluster.kubectl_json(*words)["items"]
    assert claim["metadata"]["labels"]["gra.dev/workspace"] == "thesis"
    assert json.dumps(claim).count("ownerReferences") == 0


def test_a_workspace_that_is_not_kept_goes_with_its_runner(site: Site) -> None:
    name = site.kernelspec({"workspace": {"size": "64Mi"}})
    for _ in range(2):
        kernel = StartedKernel.start(name)
        try:
            code = "import os; print(os.getcwd(), os.listdir()); open('notes', 'w').close()"
            assert kernel.run(code).text == "/workspace []\n"
        finally:
            kernel.stop()
