"""Which tests run with local runners and which with pods, and the cluster that pods are on.

What the ``conftest.py`` of a folder takes over whose tests run with runners of either backend:
option ``--backend``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.cluster.layout import Layout
from tests.cluster.locks import Use
from tests.support.cluster import Cluster, require_cluster


def parametrize(metafunc: pytest.Metafunc) -> None:
    """Run each test with either backend.  For ``pytest_generate_tests``."""
    # By session, so that the tests of one backend come one after the other.
    metafunc.parametrize("backend", ["local", "kubernetes"], indirect=True, scope="session")


def choose(config: pytest.Config, items: list[pytest.Item], folder: Path) -> None:
    """Leave out the tests below ``folder`` whose backend is not asked for.

    For ``pytest_collection_modifyitems``.
    """
    # A kernel that is none of gra's has no runner.
    chosen = "local" if config.getoption("--kernel") != "gra" else config.getoption("--backend")
    here = [item for item in items if item.path.is_relative_to(folder)]
    others = [item for item in here if not _runs(item, chosen)]
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if item not in others]
    for item in here:
        if backend_of(item) == "kubernetes":
            # Bringing the cluster up may take minutes.
            bound_without_fixtures(item)


def bound_without_fixtures(item: pytest.Item) -> None:
    """Let a test's time begin after its fixtures, which have bounds of their own."""
    bound = item.get_closest_marker("timeout") or pytest.mark.timeout().mark
    only = {**bound.kwargs, "func_only": True}
    item.add_marker(pytest.mark.timeout(*bound.args, **only), append=False)


def backend_of(item: pytest.Item) -> str:
    """What the runners of a test are."""
    assert isinstance(item, pytest.Function)
    backend: str = item.callspec.params["backend"]
    return backend


def _runs(item: pytest.Item, chosen: str) -> bool:
    backend = backend_of(item)
    if backend == "local":
        return chosen != "kubernetes" and not item.get_closest_marker("pods_only")
    if chosen == "local" or item.get_closest_marker("local_only"):
        return False
    return chosen == "kubernetes" or not item.get_closest_marker("same_with_pods")


@contextmanager
def shared(use: Use) -> Iterator[None]:
    """Tests of other runs that stop parts of the cluster wait while the block runs."""
    use.shared()
    try:
        yield
    finally:
        use.end()


@pytest.fixture(scope="session")
def backend(request: pytest.FixtureRequest) -> str:
    """What the runners of the test are: ``local`` or ``kubernetes``."""
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def cluster_use() -> Iterator[Use]:
    """This test run's use of the cluster, for :func:`shared`."""
    with Use(Layout.of_user()) as use:
        yield use


@pytest.fixture(scope="session")
def cluster(cluster_use: Use) -> Iterator[Cluster]:
    """The cluster.  It stays up; the namespaces that tests made are gone at the end."""
    found = require_cluster()
    yield found
    with shared(cluster_use):
        found.wait_for_namespaces()


@pytest.fixture(scope="session")
def namespace(cluster: Cluster, cluster_use: Use) -> Iterator[str]:
    """A namespace of this test run's own, of Pod Security ``restricted``."""
    with ExitStack() as stack:
        with shared(cluster_use):
            name = stack.enter_context(cluster.namespace("gra-runners"))
        yield name
        with shared(cluster_use):
            stack.close()
