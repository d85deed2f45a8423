"""An API server that is away: the list of runners stays, and says that it is old."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from gra_provisioner.documents import runners as documents
from tests.support.cluster import Cluster
from tests.support.cluster_lab import Lab, lab_on
from tests.support.cutter import Cutter
from tests.support.pods import PodRunners
from tests.support.rest import Rest, rest_server
from tests.support.waiting import until

_AWAY: list[tuple[str, Callable[[Cutter], None]]] = [
    ("refused", Cutter.refuse),
    ("silent", Cutter.stall),
]


@pytest.fixture
def lab(cluster: Cluster, namespace: str) -> Iterator[Lab]:
    with lab_on(cluster, namespace) as lab:
        yield lab


@pytest.fixture
def network(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cutter]:
    """Between the Jupyter server and the API server."""
    runners = PodRunners(lab.places, lab.cluster, lab.namespace)
    with runners.bad_network(monkeypatch) as (network,):
        yield network


@pytest.fixture
def rest(lab: Lab, network: Cutter) -> Iterator[Rest]:
    with rest_server(lab.places) as rest:
        yield rest


@pytest.mark.parametrize("goes", [go for _, go in _AWAY], ids=[name for name, _ in _AWAY])
def test_nothing_disappears_in_an_outage_and_a_page_is_told_that_it_is_old(
    rest: Rest, network: Cutter, goes: Callable[[Cutter], None]
) -> None:
    with rest.runner() as name, rest.stream("GET", "runners/watch") as watch:
        watch.next("synced")
        assert rest.ok("GET", "runners?inspect=false")["stale"] is None
        before = time.time()

        goes(network)
        told = watch.next("stale")
        documents.Stale.model_validate_json(told.data)
        stale = told.json()
        assert stale["reason"] == "ClusterUnreachable"
        assert before - 60 < stale["since"] < time.time()
        assert stale["message"]
        assert stale["hint"]
        changed = watch.next("modified").json()
        assert (changed["name"], changed["status"]) == (name, "unknown")

        answer = rest.call("GET", "runners")
        documents.RunnerList.model_validate_json(answer.text)
        listed = answer.json()
        assert listed["stale"]["since"] == stale["since"]
        assert [runner["name"] for runner in listed["runners"]] == [name]
        with rest.stream("GET", "runners/watch") as late:
            events = [late.next() for _ in range(3)]
            assert [event.name for event in events] == ["stale", "added", "synced"]

        network.heal()
        assert watch.next("fresh").json() == {}
        assert watch.next("modified").json()["status"] == "running"
        assert rest.ok("GET", "runners?inspect=false")["stale"] is None


def test_what_was_never_known_is_no_list(network: Cutter, lab: Lab) -> None:
    network.refuse()
    with rest_server(lab.places) as rest:
        status, error = rest.error("GET", "runners")
        assert (status, error["reason"]) == (503, "ClusterUnreachable")
        network.heal()
        until(lambda: rest.call("GET", "runners").ok, "the cluster to be found")
