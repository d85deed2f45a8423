"""The test cluster for benchmarks: a namespace of the run's own in it, and runners there."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from gra_provisioner.runner import PodOptions, Requests, Resources, RunnerSpec
from tests.benchmarks.processes import ROOT
from tests.cluster import lifecycle
from tests.cluster.layout import Layout, NotPossibleHereError
from tests.cluster.locks import Use
from tests.support.cluster import Cluster

# A ConfigMap, and where a runner has it mounted.
MODULES_NAME = "benchmarks"
MODULES = "/opt/benchmarks"
_PACKAGE = "tests/benchmarks"
_FILES = (
    f"{_PACKAGE}/__init__.py",
    f"{_PACKAGE}/content.py",
    f"{_PACKAGE}/stub_kernel.py",
    f"{_PACKAGE}/tcp_server.py",
)
_REQUESTS = Requests(cpu=0.01, memory=32 << 20, ephemeral_storage=1 << 20)


@dataclass(frozen=True)
class Place:
    """A namespace of a cluster, for as long as a benchmark runs."""

    cluster: Cluster
    layout: Layout
    namespace: str

    @property
    def kubeconfig(self) -> str:
        return str(self.cluster.kubeconfig)


@contextmanager
def place_in_cluster(what: str) -> Iterator[Place | None]:
    """A namespace in the test cluster; None, said on stderr, where this host can have none.

    Brings the cluster up, and leaves it so.
    """
    layout = Layout.of_user()
    try:
        lifecycle.up(layout, lambda line: None)
    except NotPossibleHereError as error:
        print(f"{what} is not measured: {error}.", file=sys.stderr)
        yield None
        return
    cluster = Cluster(layout.kubeconfig, layout)
    with Use(layout) as use:
        use.shared()
        with cluster.namespace("gra-bench") as namespace:
            yield Place(cluster, layout, namespace)
        cluster.wait_for_namespaces()


def pod_spec(image: str, kernel_argv: tuple[str, ...] = (), *, modules: str = "") -> RunnerSpec:
    """A runner of a test image.  ``modules``: with what :func:`provide_modules` has provided."""
    pod = PodOptions(image_pull_policy="IfNotPresent", requests=_REQUESTS)
    if modules:
        items = [{"key": path.replace("/", "."), "path": path} for path in _FILES]
        config_map = {"name": modules, "items": items}
        pod = dataclasses.replace(
            pod,
            volumes=({"name": "benchmarks", "configMap": config_map},),
            volume_mounts=({"name": "benchmarks", "mountPath": MODULES, "readOnly": True},),
            env=({"name": "PYTHONPATH", "value": MODULES},),
        )
    # As much CPU as there is: what is compared is not to depend on who is throttled.
    return RunnerSpec(
        "benchmark",
        Resources(float(os.cpu_count() or 1), 1 << 30, 1 << 30),
        kernel_argv=kernel_argv,
        image=image,
        start_timeout=120.0,
        pod=pod,
    )


def provide_modules(place: Place) -> None:
    """Make the ConfigMap :data:`MODULES_NAME` of those modules of this package that pods run."""
    data = {path.replace("/", "."): ROOT.joinpath(path).read_text() for path in _FILES}
    manifest = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": MODULES_NAME, "namespace": place.namespace},
        "data": data,
    }
    place.cluster.kubectl("create", "--filename=-", manifest=manifest)
