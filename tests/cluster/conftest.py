"""Fixtures of the tests on a real cluster."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.layout import Layout
from tests.cluster.locks import Use
from tests.support.cluster import Cluster, Parts, require_cluster
from tests.support.launches import Site, Witness, launching, watching


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Bringing the cluster up may take minutes, and has bounds of its own.
    for item in items:
        if "cluster" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(func_only=True))


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The cluster.  It stays up; the namespaces that tests made are gone at the end."""
    found = require_cluster()
    yield found
    found.wait_for_namespaces()


@pytest.fixture(scope="session")
def _use(cluster: Cluster) -> Iterator[Use]:
    with Use(Layout.of_user()) as use:
        yield use


@pytest.fixture(autouse=True)
def _shared(_use: Use) -> Iterator[None]:
    _use.shared()
    yield
    _use.end()


@pytest.fixture
def parts(cluster: Cluster, _shared: None, _use: Use) -> Iterator[Parts]:
    """The cluster's own processes, to stop and start, with the cluster to oneself.

    What the test leaves stopped is started.
    """
    parts = cluster.parts
    _use.alone()
    yield parts
    for name in parts.names():
        parts.start(name)


@pytest.fixture
def namespace(cluster: Cluster, _shared: None) -> Iterator[str]:
    """A namespace of the test's own, of Pod Security ``restricted``."""
    with cluster.namespace() as name:
        yield name


@pytest.fixture(scope="module")
def witness(cluster: Cluster) -> Iterator[Witness]:
    """A second look at the cluster, apart from gra's."""
    with watching(cluster) as witness:
        yield witness


@pytest.fixture
def site(
    cluster: Cluster, namespace: str, witness: Witness, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Site]:
    """Where launches are made, in a namespace of the test's own, and are looked at."""
    with launching(cluster, namespace, witness, monkeypatch) as site:
        yield site
