"""Clusters that cannot be reached, or do not let the user in."""

from __future__ import annotations

import base64
import json
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gra_provisioner.backends.kubernetes.client import Client
from gra_provisioner.backends.kubernetes.kubeconfig import Target
from tests.cluster.commands import run
from tests.cluster.layout import Layout
from tests.support.cli import gra
from tests.support.cluster import Cluster
from tests.support.launches import (
    Site,
    Witness,
    kubeconfig,
    kubeconfig_of,
    launching,
)

pytestmark = pytest.mark.gra_only


@pytest.fixture
def site(cluster: Cluster, witness: Witness, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    # None of these launches comes so far as to need a namespace of its own.
    with launching(cluster, "default", witness, monkeypatch) as site:
        yield site


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port on which nobody listens, and which nobody else gets."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


async def test_an_inline_client_key_is_on_no_disk_once_it_is_in_use(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = kubeconfig(cluster, tmp_path / "inline.conf")
    assert "client-key-data" in path.read_text()
    files = tmp_path / "tmp"
    files.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(files))

    # Twice: what the first has removed is not to be missed by the second.
    for _ in range(2):
        client = Client(Target(kubeconfig=str(path)), {})
        try:
            answer = await client.request("GET", "pods", query=[("limit", "1")])
        finally:
            await client.close()

        assert answer["kind"] == "PodList"
        assert list(files.iterdir()) == []


def _use(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    monkeypatch.setenv("GRA_KUBECONFIG", str(path))


def test_an_api_server_that_does_not_listen_is_unreachable(
    site: Site, monkeypatch: pytest.MonkeyPatch, closed_port: int
) -> None:
    server = f"https://127.0.0.1:{closed_port}"
    path = site.places.root / "closed.conf"
    _use(monkeypatch, kubeconfig(site.cluster, path, cluster={"server": server}))

    failure = site.refused("ClusterUnreachable")

    failure.says(server, str(path), "Connection refused", "Is the cluster up")


def test_gra_create_says_that_the_api_server_is_unreachable(
    site: Site, monkeypatch: pytest.MonkeyPatch, closed_port: int
) -> None:
    server = f"https://127.0.0.1:{closed_port}"
    path = site.places.root / "closed.conf"
    _use(monkeypatch, kubeconfig(site.cluster, path, cluster={"server": server}))

    result = gra("create", "--json")

    assert (result.returncode, result.stdout) == (4, "")
    error = json.loads(result.stderr)
    assert error["reason"] == "ClusterUnreachable"
    assert server in error["message"]


def test_an_api_server_with_another_authoritys_certificate_is_not_trusted(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = site.places.root / "other.crt"
    run(
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
        *("-nodes", "-subj", "/CN=another", "-keyout", site.places.root / "other.key"),
        *("-out", certificate),
        doing="making another authority",
    )
    authority = base64.b64encode(certificate.read_bytes()).decode()
    path = site.places.root / "untrusting.conf"
    _use(
        monkeypatch,
        kubeconfig(site.cluster, path, cluster={"certificate-authority-data": authority}),
    )

    failure = site.refused("CertificateUntrusted")

    failure.says(str(path), "certificate verify failed", "certificate-authority")


def test_a_token_that_is_not_valid_is_rejected(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    _use(monkeypatch, kubeconfig_of(site, {"token": "s3cret-and-over"}))

    failure = site.refused("CredentialsRejected")

    failure.says("Unauthorized", "log in again", "kubectl auth whoami")
    assert "s3cret-and-over" not in failure.text


def test_a_client_certificate_that_has_expired_is_rejected(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Only in a cluster of ours can one be signed.
    assert site.cluster.parts
    pki = Layout.of_user().pki
    key, certificate = site.places.root / "old.key", site.places.root / "old.crt"
    request = site.places.root / "old.csr"
    run(
        *("openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
        *("-subj", "/O=system:masters/CN=old", "-keyout", key, "-out", request),
        doing="making a key",
    )
    run(
        *(
            "openssl",
            "x509",
            "-req",
            "-in",
            request,
            "-CA",
            pki / "ca.crt",
            "-CAkey",
            pki / "ca.key",
        ),
        *("-CAcreateserial", "-CAserial", site.places.root / "serial", "-days", "-1"),
        *("-out", certificate),
        doing="signing a certificate that has expired",
    )
    _use(
        monkeypatch,
        kubeconfig_of(site, {"client-certificate": str(certificate), "client-key": str(key)}),
    )

    failure = site.refused("CredentialsRejected")

    failure.says("Unauthorized", "expired", "log in again")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("clusters: [", "is not valid YAML"),
        ("just a text", "is not a kubeconfig"),
        ("clusters: here", "clusters is to be a list"),
    ],
    ids=["yaml", "text", "section"],
)
def test_a_broken_kubeconfig_is_named(
    site: Site, monkeypatch: pytest.MonkeyPatch, content: str, said: str
) -> None:
    path = site.places.root / "broken.conf"
    path.write_text(content)
    _use(monkeypatch, path)

    failure = site.refused("KubeconfigInvalid")

    failure.says(str(path), said)


def test_a_kubeconfig_that_is_not_there_is_named(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = site.places.root / "absent.conf"
    _use(monkeypatch, path)

    failure = site.refused("KubeconfigMissing")

    failure.says(str(path), "GRA_KUBECONFIG")


def test_a_context_that_is_not_there_is_named_with_those_there_are(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    contexts = site.cluster.kubectl_json("config", "view", "--minify")["contexts"]
    monkeypatch.setenv("GRA_CONTEXT", "not-there")

    failure = site.refused("ContextMissing")

    failure.says("not-there", contexts[0]["name"], "GRA_CONTEXT")
