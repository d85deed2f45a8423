"""How many requests a launch costs the API server, by its own count and by one on the way to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.api_requests import counted_requests
from tests.support.cluster import Cluster
from tests.support.cluster_lab import Account, Lab, kernel_on, lab_on
from tests.support.waiting import until

_DISPATCHED = "apiserver_flowcontrol_dispatched_requests_total"


@pytest.fixture
def lab(cluster: Cluster, namespace: str) -> Iterator[Lab]:
    with lab_on(cluster, namespace) as lab:
        yield lab


@contextmanager
def _own_flow(lab: Lab) -> Iterator[str]:
    """Have the API server count what the account asks of it apart; the flow's name.

    https://kubernetes.io/docs/concepts/cluster-administration/flow-control/
    """
    account = {"name": "ana", "namespace": lab.namespace}
    rule = {
        "verbs": ["*"],
        "apiGroups": ["*"],
        "resources": ["*"],
        "namespaces": ["*"],
        "clusterScope": True,
    }
    subject = {"kind": "ServiceAccount", "serviceAccount": account}
    schema = {
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
        "kind": "FlowSchema",
        "metadata": {"name": lab.namespace},
        "spec": {
            "matchingPrecedence": 100,
            "priorityLevelConfiguration": {"name": "global-default"},
            "distinguisherMethod": {"type": "ByUser"},
            "rules": [{"subjects": [subject], "resourceRules": [rule]}],
        },
    }
    lab.cluster.kubectl("create", "--filename=-", manifest=schema)
    try:
        yield lab.namespace
    finally:
        lab.cluster.kubectl("delete", "flowschema", lab.namespace)


def _dispatched(lab: Lab, flow: str) -> int:
    """How many requests of the flow the API server has executed."""
    metrics = lab.cluster.kubectl("get", "--raw", "/metrics").splitlines()
    mine = [line for line in metrics if line.startswith(_DISPATCHED) and f'"{flow}"' in line]
    return sum(int(float(line.rpartition(" ")[2])) for line in mine)


def test_a_launch_makes_five_requests_at_the_most_and_one_watch_serves_all(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = Account(lab)
    with _own_flow(lab) as flow, counted_requests(lab.cluster, account.kubeconfig) as counter:
        # Until the API server counts the account's requests there.
        reading = ("--kubeconfig", str(account.kubeconfig), "get", "secrets")
        until(lambda: lab.kubectl(*reading) and _dispatched(lab, flow), "a flow of one's own")
        before = _dispatched(lab, flow)
        monkeypatch.setenv("GRA_KUBECONFIG", str(account.kubeconfig_for(counter.url)))

        with kernel_on() as first:
            cold = list(counter.requests)
            with kernel_on() as second:
                both = list(counter.requests)
                by_api_server = _dispatched(lab, flow) - before
                assert [first.run("1").status, second.run("1").status] == ["ok", "ok"]

    warm = both[len(cold) :]
    # An agent that does not listen yet is dialled once more, by the same request.
    assert len(set(cold)) <= 5, cold
    assert len(warm) <= 5, warm
    watches = [path for path in both if "/pods?" in path and "watch=true" in path]
    assert len(watches) == 1, watches
    # What is held open for long, other than a watch, is not counted there.
    assert by_api_server == len([path for path in both if "/portforward" not in path]), both
