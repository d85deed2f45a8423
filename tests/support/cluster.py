"""A Kubernetes cluster for tests: the host's own (``tests/cluster``), or any other.

``GRA_TEST_KUBECONFIG`` names another one's kubeconfig.  It must have the images, by default under
the names they have in our own; ``GRA_TEST_IMAGES`` sets another prefix.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import certificates, images, lifecycle, processes
from tests.cluster.layout import Layout, NotPossibleHereError
from tests.cluster.parts import ETCD_URL, Part, all_parts
from tests.support.waiting import until

_KUBECTL_BOUND = 120.0
_PODS_GONE = 60.0
_NAMESPACES_GONE = 90.0
_STOP_BOUND = 90.0


class Cluster:
    """A cluster that answers, as its administrator sees it."""

    def __init__(self, kubeconfig: Path, layout: Layout | None = None) -> None:
        self.kubeconfig = kubeconfig
        self._parts = None if layout is None else Parts(layout)
        self._ending: list[str] = []

    @property
    def parts(self) -> Parts:
        """Control of the cluster's own processes; skips the test where it is not ours."""
        if self._parts is None:
            pytest.skip("the parts of the cluster of GRA_TEST_KUBECONFIG are not ours to stop")
        return self._parts

    def image(self, name: str) -> str:
        """The full name of a test image: python, noipykernel, conda or nopython."""
        return f"{os.environ.get('GRA_TEST_IMAGES', images.PREFIX)}/{name}:1"

    def kubectl(self, *words: str, manifest: Mapping[str, Any] | None = None) -> str:
        """Run kubectl and return what it wrote.

        ``manifest`` goes to its standard input (``kubectl("create", "-f", "-", manifest=…)``).
        Fails the test with kubectl's own words if it fails.
        """
        command = [str(self._program()), "--kubeconfig", str(self.kubeconfig), *words]
        done = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            input="" if manifest is None else json.dumps(manifest),
            timeout=_KUBECTL_BOUND,
        )
        if done.returncode != 0:
            raise AssertionError(f"kubectl {' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    def kubectl_json(self, *words: str, manifest: Mapping[str, Any] | None = None) -> Any:
        """The same with ``--output=json``, read."""
        return json.loads(self.kubectl(*words, "--output=json", manifest=manifest))

    def _program(self) -> Path:
        found = shutil.which("kubectl")
        if self._parts is None and found is not None:
            return Path(found)
        return lifecycle.kubectl(Layout.of_user())

    @contextmanager
    def namespace(self, prefix: str = "gra-test") -> Iterator[str]:
        """A new namespace, of Pod Security ``restricted``, while the block runs.

        At its end the pods are ended and waited for.  The namespace itself goes 5 s after it was
        deleted (a constant of Kubernetes): :meth:`wait_for_namespaces` waits for all of them.
        """
        name = f"{prefix}-{uuid.uuid4().hex[:8]}"
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        manifest = {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": name, "labels": labels},
        }
        self.kubectl("create", "--filename=-", manifest=manifest)
        try:
            # A pod that comes before its service account is refused.
            self._in(name, "wait", "--for=create", "serviceaccount/default", "--timeout=30s")
            yield name
        finally:
            self._ending.append(name)
            self._in(
                *(name, "delete", "pods", "--all", "--grace-period=1"),
                f"--timeout={_PODS_GONE:g}s",
            )
            self.kubectl("delete", "namespace", name, "--wait=false")

    def _in(self, namespace: str, *words: str) -> str:
        return self.kubectl("--namespace", namespace, *words)

    def wait_for_namespaces(self) -> None:
        """Wait until all namespaces that were made here are gone.  Fails naming what stays."""

        def left() -> list[str]:
            found = self.kubectl_json("get", "namespaces")["items"]
            names = [item["metadata"]["name"] for item in found]
            return [name for name in names if name in self._ending]

        until(lambda: not left(), f"the end of namespaces {self._ending}", _NAMESPACES_GONE)


class Parts:
    """The processes of our own cluster: etcd, containerd, apiserver, controller-manager,
    scheduler, kubelet, proxy.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._parts = {part.name: part for part in all_parts(layout)}

    def names(self) -> tuple[str, ...]:
        return tuple(self._parts)

    def _part(self, name: str) -> Part:
        if name not in self._parts:
            raise ValueError(f"{name!r} is no part of the cluster; parts: {list(self._parts)}")
        return self._parts[name]

    def pids(self, name: str) -> list[int]:
        """The process of a part; empty if it does not run."""
        return [process.pid for process in processes.main_of(self._layout, self._part(name))]

    def logs(self, name: str) -> str:
        """All that a part has said since the cluster was brought up."""
        return processes.log_of(self._layout, self._part(name).name).read_text(errors="replace")

    def problem(self, name: str) -> str | None:
        """What is wrong with a part, or None."""
        return self._part(name).problem()

    def stop(self, name: str, number: int = signal.SIGKILL) -> None:
        """Send a part a signal, and wait for its end unless that is SIGSTOP.

        SIGTERM takes the API server a minute, in which it serves on.
        """
        found = processes.main_of(self._layout, self._part(name))
        processes.send(found, number)
        if number != signal.SIGSTOP:
            processes.wait_for_end(found, _STOP_BOUND)

    def start(self, name: str) -> None:
        """Start a part, or have a stopped one go on, and wait until it is well."""
        processes.send(processes.main_of(self._layout, self._part(name)), signal.SIGCONT)
        lifecycle.start_part(self._layout, self._part(name))

    @contextmanager
    def stopped(self, name: str, number: int = signal.SIGKILL) -> Iterator[None]:
        """A part is down (or, by SIGSTOP, silent) while the block runs."""
        self.stop(name, number)
        try:
            yield
        finally:
            self.start(name)

    def restart(self, name: str) -> None:
        """Kill a part and start it."""
        with self.stopped(name):
            pass

    def user_kubeconfig(self) -> Path:
        """With the token of the user ``gra-test``, who may do nothing but what a test grants."""
        return self._layout.config / f"{certificates.USER}.conf"

    def compact(self) -> int:
        """Have etcd forget all revisions before the present one; that revision.

        The API server still serves older ones, from its watch cache, until it is started anew.
        https://etcd.io/docs/v3.6/dev-guide/apispec/swagger/ (rpc.swagger.json)
        """
        header = _etcd("kv/range", {"key": "AA==", "range_end": "AA==", "count_only": True})
        revision = int(header["header"]["revision"])
        _etcd("kv/compaction", {"revision": revision, "physical": True})
        return revision


def _etcd(method: str, body: Mapping[str, Any]) -> Any:
    data = json.dumps(body).encode()
    url = f"{ETCD_URL}/v3/{method}"
    with urllib.request.urlopen(url, data, timeout=30) as response:  # noqa: S310
        return json.load(response)


def require_cluster() -> Cluster:
    """The cluster that tests use, brought up or repaired if need be.

    Skips, saying why, where there can be none; with ``CI=true`` that is a failure.
    """
    other = os.environ.get("GRA_TEST_KUBECONFIG")
    if other:
        return Cluster(Path(other))
    layout = Layout.of_user()
    try:
        lifecycle.up(layout, lambda line: print(f"cluster: {line}", file=sys.stderr))
    except NotPossibleHereError as error:
        pytest.skip(f"{error}, or GRA_TEST_KUBECONFIG=the kubeconfig of another one")
    return Cluster(layout.kubeconfig, layout)
