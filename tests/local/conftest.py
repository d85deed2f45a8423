"""Fixtures of the tests with real kernels: a place of one's own, and nothing left in it.

Every test runs with runners as local processes and as pods: option ``--backend``.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.cluster.layout import Layout
from tests.cluster.locks import Use
from tests.support.cluster import Cluster, require_cluster
from tests.support.cutter import Cutter
from tests.support.kernels import StartedKernel
from tests.support.kernelspecs import KernelSpecs
from tests.support.places import Places
from tests.support.pods import PodRunners
from tests.support.processes import describe, kill_all, live_children, threads_named
from tests.support.rest import Rest, rest_server
from tests.support.runners import LocalRunners, Runners
from tests.support.waiting import WaitTimeout, until

REPOSITORY = Path(__file__).parents[2]

# How long what ends by itself (a deleted runner, an agent that was told to stop) may take.
_SETTLE = 30.0

_FOREIGN = ("GRA_", "JUPYTER_", "JPY_", "KUBE", "RUNNER_IMAGE")
# Which cluster the tests use, and with which images.
_OF_THE_TESTS = "GRA_TEST_"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    # By session, so that the tests of one backend come one after the other.
    metafunc.parametrize("backend", ["local", "kubernetes"], indirect=True, scope="session")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # A kernel that is none of gra's has no runner.
    chosen = "local" if config.getoption("--kernel") != "gra" else config.getoption("--backend")
    others = [item for item in items if _is_of_here(item) and not _runs(item, chosen)]
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if item not in others]
    for item in items:
        if _is_of_here(item) and _backend_of(item) == "kubernetes":
            # Bringing the cluster up may take minutes, and has bounds of its own.
            bound = item.get_closest_marker("timeout") or pytest.mark.timeout().mark
            only = {**bound.kwargs, "func_only": True}
            item.add_marker(pytest.mark.timeout(*bound.args, **only), append=False)


def _is_of_here(item: pytest.Item) -> bool:
    return item.path.is_relative_to(Path(__file__).parent)


def _backend_of(item: pytest.Item) -> str:
    assert isinstance(item, pytest.Function)
    backend: str = item.callspec.params["backend"]
    return backend


def _runs(item: pytest.Item, chosen: str) -> bool:
    backend = _backend_of(item)
    if backend == "local":
        return chosen != "kubernetes"
    if chosen == "local" or item.get_closest_marker("local_only"):
        return False
    return chosen == "kubernetes" or not item.get_closest_marker("same_with_pods")


@pytest.fixture(scope="session")
def backend(request: pytest.FixtureRequest) -> str:
    """What the runners of the test are: ``local`` or ``kubernetes``."""
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def _use() -> Iterator[Use]:
    with Use(Layout.of_user()) as use:
        yield use


@contextmanager
def _shared(use: Use) -> Iterator[None]:
    """Tests of other runs that stop parts of the cluster wait while the block runs."""
    use.shared()
    try:
        yield
    finally:
        use.end()


@pytest.fixture(scope="session")
def cluster(_use: Use) -> Iterator[Cluster]:
    """The cluster.  It stays up; the namespaces that tests made are gone at the end."""
    found = require_cluster()
    yield found
    with _shared(_use):
        found.wait_for_namespaces()


@pytest.fixture(scope="session")
def namespace(cluster: Cluster, _use: Use) -> Iterator[str]:
    """A namespace of this test run's own, of Pod Security ``restricted``."""
    with ExitStack() as stack:
        with _shared(_use):
            name = stack.enter_context(cluster.namespace("gra-runners"))
        yield name
        with _shared(_use):
            stack.close()


@pytest.fixture
def pods(places: Places, cluster: Cluster, namespace: str, _use: Use) -> Iterator[PodRunners]:
    """The test's pods, and nobody stops a part of the cluster meanwhile."""
    with _shared(_use):
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
