"""Runners that are pods with buckets of a real S3 server in them."""

from __future__ import annotations

import json
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gra_provisioner.agent.s3.signing import Credentials
from tests.cluster.layout import NODE_ADDRESS
from tests.support.cells import Cell
from tests.support.cluster import Cluster
from tests.support.cluster_lab import Lab, lab_on
from tests.support.kernels import StartedKernel
from tests.support.s3 import S3Server

#: Where the bucket is in the runners.
LAKE = "/data/lake"
SECRET = "lake-key"
# Of whatever a mount may bring, with as little as the node can give to several at once.
_RUNNER = {"cpu": 1, "memory": "1Gi", "ephemeral_storage": "2Gi"}


@dataclass(frozen=True)
class S3Lab:
    """A :class:`Lab` whose namespace takes privileged pods, and a bucket for it.

    ``user`` is the bucket's owner; his key is in the Secret :data:`SECRET`.
    """

    lab: Lab
    server: S3Server
    bucket: str
    user: Credentials

    def mount(self, **other: Any) -> dict[str, Any]:
        """An entry of a profile's ``s3``: the bucket at :data:`LAKE`, with the Secret's key."""
        return {
            "bucket": self.bucket,
            "mount": LAKE,
            "endpoint": self.server.endpoint,
            "region": self.server.region,
            "credentials": {"secret": SECRET},
            **other,
        }

    def config(self, *mounts: Mapping[str, Any], **other: Any) -> dict[str, Any]:
        """What a kernelspec says for runners of gra's own image with these mounts."""
        cluster = self.lab.cluster
        return {
            "image": cluster.image("runner"),
            "resources": _RUNNER,
            "allow_privileged_sidecar": True,
            "s3_sidecar": {"image": cluster.image("s3fs-sidecar"), "cpu": 1},
            "s3": list(mounts or (self.mount(),)),
            **other,
        }

    @contextmanager
    def kernel(
        self, *mounts: Mapping[str, Any], env: Mapping[str, str] | None = None, **other: Any
    ) -> Iterator[StartedKernel]:
        """A kernel in a runner with these mounts, while the block runs."""
        name = self.lab.kernelspec_for(self.config(*mounts, **other))
        kernel = StartedKernel.start(name, **({} if env is None else {"env": dict(env)}))
        try:
            yield kernel
        finally:
            kernel.stop()

    def objects(self) -> dict[str, bytes]:
        """What is in the bucket, but for the markers of folders."""
        keys = self.server.keys(self.bucket)
        return {k: self.server.get(self.bucket, k) for k in keys if not k.endswith("/")}

    def change_secret(self, key: Credentials) -> None:
        """Put another key into the Secret, as whoever keeps it would."""
        words = ("--namespace", self.lab.namespace, "replace", "--filename=-")
        self.lab.cluster.kubectl(*words, manifest=_secret(key))

    def mounts_of(self, name: str = "runner-1") -> list[dict[str, Any]]:
        """The mounts, as ``gra get`` has them."""
        found: list[dict[str, Any]] = self.lab.runner(name)["mounts"]
        return found


@contextmanager
def s3_lab(cluster: Cluster, *, privileged: bool = True) -> Iterator[S3Lab]:
    """A namespace, an S3 server that pods reach, and a bucket, while the block runs."""
    folder = Path(tempfile.mkdtemp(prefix="gra-s3-"))
    try:
        with cluster.namespace() as namespace:
            if privileged:
                label = "pod-security.kubernetes.io/enforce=privileged"
                cluster.kubectl("label", "--overwrite", "namespace", namespace, label)
            # A test that starts the server again leaves no process of it to the lab's end.
            with lab_on(cluster, namespace) as lab, S3Server(folder, NODE_ADDRESS) as server:
                bucket = f"lake-{secrets.token_hex(4)}"
                server.make_bucket(bucket)
                user = server.add_user("ana")
                server.give_bucket(bucket, "ana")
                lab.api("create", "secrets", _secret(user))
                yield S3Lab(lab, server, bucket, user)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _secret(key: Credentials) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": SECRET},
        "stringData": {
            "AWS_ACCESS_KEY_ID": key.access_key,
            "AWS_SECRET_ACCESS_KEY": key.secret_key,
        },
    }


def said(cell: Cell) -> str:
    """What a cell printed.  Fails the test with its error, if it has one."""
    if cell.status != "ok":
        reply = cell.reply or {}
        raise AssertionError("\n".join(reply.get("content", {}).get("traceback", ["no reply"])))
    return cell.text


def toml(value: Any) -> str:
    """A configuration's value as TOML on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name} = {toml(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    return json.dumps(value)


def node_mounts() -> set[str]:
    """The node's mounts of FUSE, by where they are.  The node is this host."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return {line.split()[4] for line in lines if " - fuse" in line}
