"""Fixtures of the tests with real kernels: a place of one's own, and nothing left in it.

Every test runs with runners as local processes and as pods: option ``--backend``.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster.locks import Use
from tests.support.backends import (
    backend,
    choose,
    cluster,
    cluster_use,
    namespace,
    parametrize,
    shared,
)
from tests.support.cluster import Cluster
from tests.support.cutter import Cutter
from tests.support.kernels import StartedKernel
from tests.support.kernelspecs import KernelSpecs
from tests.support.places import Places
from tests.support.pods import PodRunners
from tests.support.processes import describe, kill_all, live_children, threads_named
from tests.support.rest import Rest, rest_server
from tests.support.runners import LocalRunners, Runners
from tests.support.s3_fixtures import bucket, s3_folder, s3_server
from tests.support.waiting import WaitTimeout, until

REPOSITORY = Path(__file__).parents[2]

# How long what ends by itself (a deleted runner, an agent that was told to stop) may take.
_SETTLE = 30.0

_FOREIGN = ("GRA_", "JUPYTER_", "JPY_", "KUBE", "RUNNER_", "AWS_")
# Which cluster the tests use, and with which images.
_OF_THE_TESTS = "GRA_TEST_"


# pytest takes fixtures from here.
__all__ = [
    "backend",
    "bucket",
    "cluster",
    "cluster_use",
    "namespace",
    "s3_folder",
    "s3_server",
]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    parametrize(metafunc)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    choose(config, items, Path(__file__).parent)


@pytest.fixture
def pods(
    places: Places, cluster: Cluster, namespace: str, cluster_use: Use
) -> Iterator[PodRunners]:
    """The test's pods, and nobody stops a part of the cluster meanwhile."""
    with shared(cluster_use):
        yield PodRunners(places, cluster, namespace)


@pytest.fixture(autouse=True)
def places(monkeypatch: pytest.MonkeyPatch) -> Iterator[Places]:
    """Folders of the test's own for Jupyter, IPython and gra, set in the environment.

    The cache stays shared.
    """
    cache = os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))
    root = Path(tempfile.mkdtemp(prefix="gra-"))
    here = Places(root)
    here.make()
    for name in list(os.environ):
        if name.startswith(_FOREIGN) and not name.startswith(_OF_THE_TESTS):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", cache)
    for name, value in here.environment().items():
        monkeypatch.setenv(name, value)
    yield here
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(autouse=True)
def runners(
    places: Places,
    backend: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Runners]:
    """The runners of the test, seen from outside.

    Fails the test if it leaves a runner, a process or a thread, after ending what was left.
    """
    here: Runners = LocalRunners(places)
    if backend == "kubernetes":
        here = request.getfixturevalue("pods")
    for name, value in here.environment().items():
        monkeypatch.setenv(name, value)
    children = {process.pid for process in live_children()}

    yield here

    def leftovers() -> list[str]:
        return [
            *here.leftovers(),
            *(describe(child) for child in live_children() if child.pid not in children),
            *(f"thread {thread.name}" for thread in threads_named("gra-tunnel")),
        ]

    try:
        until(lambda: not leftovers(), "everything that the test started to be gone", _SETTLE)
    except WaitTimeout:
        left = leftovers()
        here.end()
        kill_all(child for child in live_children() if child.pid not in children)
        pytest.fail("the test left behind:\n" + "\n".join(left), pytrace=False)


@pytest.fixture
def kernel_name(request: pytest.FixtureRequest) -> str:
    """The kernel of option ``--kernel``."""
    name: str = request.config.getoption("--kernel")
    return name


@pytest.fixture(autouse=True)
def kernelspecs(places: Places, kernel_name: str) -> KernelSpecs:
    """The kernelspecs of the wheel, installed for the test; more can be written."""
    specs = KernelSpecs(places.data, on_runners=kernel_name == "gra")
    specs.install_all(REPOSITORY / "kernelspecs")
    return specs


@pytest.fixture
def start_kernel(kernel_name: str) -> Iterator[Callable[..., StartedKernel]]:
    """Starts kernels that are shut down at the end of the test: ``start_kernel(name, **launch)``.

    Without a name it is the kernel of option ``--kernel``.
    """
    started: list[StartedKernel] = []

    def start(name: str = kernel_name, **launch: object) -> StartedKernel:
        kernel = StartedKernel.start(name, **launch)
        started.append(kernel)
        return kernel

    yield start
    for kernel in started:
        kernel.stop()


@pytest.fixture
def kernel(start_kernel: Callable[..., StartedKernel]) -> StartedKernel:
    """One started kernel."""
    return start_kernel()


@pytest.fixture
def network(runners: Runners, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Cutter]]:
    """What stands between this process and the runners that it makes.

    The first is before the first runner; pods share it, as they share the API server.
    """
    with runners.bad_network(monkeypatch) as networks:
        yield networks


@pytest.fixture
def rest(places: Places, runners: Runners) -> Iterator[Rest]:
    """The REST API of a Jupyter server."""
    with rest_server(places) as rest:
        yield rest
