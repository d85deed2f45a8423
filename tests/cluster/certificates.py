"""The cluster's certificates and kubeconfigs, made with openssl."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.cluster.commands import run
from tests.cluster.layout import (
    API_PORT,
    API_SERVICE_ADDRESS,
    NODE_ADDRESS,
    NODE_NAME,
    Layout,
)

SERVER = f"https://127.0.0.1:{API_PORT}"
# A user who may do nothing until a test grants it something.
USER = "gra-test"

_CLIENTS = {
    "admin": "/O=system:masters/CN=admin",
    "controller-manager": "/CN=system:kube-controller-manager",
    "scheduler": "/CN=system:kube-scheduler",
    "kubelet": f"/O=system:nodes/CN=system:node:{NODE_NAME}",
    "proxy": "/CN=system:kube-proxy",
    # The API server, as kubelet's client.
    "apiserver-kubelet": "/O=system:masters/CN=apiserver-kubelet",
}
_NAMES = {
    "kubelet": (f"DNS:{NODE_NAME}", f"IP:{NODE_ADDRESS}"),
    "apiserver": (
        "DNS:kubernetes",
        "DNS:kubernetes.default",
        "DNS:kubernetes.default.svc",
        "DNS:localhost",
        "IP:127.0.0.1",
        f"IP:{API_SERVICE_ADDRESS}",
        f"IP:{NODE_ADDRESS}",
    ),
}
_KUBECONFIGS = ("admin", "controller-manager", "scheduler", "kubelet", "proxy")
_CONFIG = "[req]\ndistinguished_name=name\n[name]\n"


def make(layout: Layout) -> None:
    """Write certificates, keys, tokens and kubeconfigs into the layout's folders."""
    pki = layout.pki
    config = pki / "openssl.cnf"
    config.write_text(_CONFIG)
    _certificate(pki, "ca", "/CN=gra-test-ca", ["basicConstraints=critical,CA:TRUE"])
    for name, subject in {**_CLIENTS, "apiserver": "/CN=kube-apiserver"}.items():
        extensions = ["basicConstraints=CA:FALSE", "extendedKeyUsage=serverAuth,clientAuth"]
        if name in _NAMES:
            extensions.append(f"subjectAltName={','.join(_NAMES[name])}")
        _certificate(pki, name, subject, extensions, signed_by="ca")
    _certificate(pki, "service-accounts", "/CN=service-accounts", [])
    tokens = pki / "tokens.csv"
    tokens.touch(mode=0o600)
    # https://kubernetes.io/docs/reference/access-authn-authz/authentication/#static-token-file
    token = secrets.token_urlsafe(24)
    tokens.write_text(f"{token},{USER},{USER}\n")
    for name in _KUBECONFIGS:
        certificate = _inline(pki / f"{name}.crt")
        key = _inline(pki / f"{name}.key")
        _kubeconfig(layout, name, {"client-certificate-data": certificate, "client-key-data": key})
    _kubeconfig(layout, USER, {"token": token})


def _certificate(
    pki: Path, name: str, subject: str, extensions: Sequence[str], signed_by: str | None = None
) -> None:
    signer: tuple[str | Path, ...] = ()
    if signed_by is not None:
        signer = ("-CA", pki / f"{signed_by}.crt", "-CAkey", pki / f"{signed_by}.key")
    run(
        *("openssl", "req", "-x509", "-config", pki / "openssl.cnf", "-days", "3650", "-nodes"),
        *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
        *("-subj", subject, "-keyout", pki / f"{name}.key", "-out", pki / f"{name}.crt"),
        *(word for extension in extensions for word in ("-addext", extension)),
        *signer,
        doing=f"making the certificate {name}",
    )


def _inline(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def _kubeconfig(layout: Layout, user: str, credentials: Mapping[str, str]) -> None:
    """Write a kubeconfig that needs no other file.  JSON is YAML."""
    cluster = {
        "server": SERVER,
        "certificate-authority-data": _inline(layout.pki / "ca.crt"),
    }
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "gra-test", "cluster": cluster}],
        "users": [{"name": user, "user": credentials}],
        "contexts": [{"name": "gra-test", "context": {"cluster": "gra-test", "user": user}}],
        "current-context": "gra-test",
    }
    path = layout.config / f"{user}.conf"
    path.touch(mode=0o600)
    path.write_text(json.dumps(content, indent=1))
