"""A node that goes away: back within the cluster's patience nothing dies, later its runners do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.cells import finish
from tests.support.cluster import Cluster, Parts
from tests.support.cluster_lab import Lab, begin, counted, counting, kernel_on, lab_on
from tests.support.waiting import until

# By default a pod is left alone for 300 s on a node that does not answer.
_IMPATIENT = {
    "tolerations": [
        {
            "key": f"node.kubernetes.io/{taint}",
            "operator": "Exists",
            "effect": "NoExecute",
            "tolerationSeconds": 1,
        }
        for taint in ("unreachable", "not-ready")
    ]
}


@pytest.fixture
def lab(cluster: Cluster, namespace: str, parts: Parts) -> Iterator[Lab]:
    with lab_on(cluster, namespace) as lab:
        yield lab


def _node_is(lab: Lab, status: str) -> bool:
    (node,) = lab.cluster.kubectl_json("get", "nodes")["items"]
    (ready,) = (c["status"] for c in node["status"]["conditions"] if c["type"] == "Ready")
    return bool(ready == status)


def _taints(lab: Lab) -> Any:
    (node,) = lab.cluster.kubectl_json("get", "nodes")["items"]
    return node["spec"].get("taints")


def _until_ready(lab: Lab, name: str) -> None:
    """The kernel can be there before the kubelet has said so, and what was never ready stays so."""
    lab.kubectl("wait", f"pod/{name}", "--for=condition=Ready", "--timeout=60s")


def test_a_node_that_comes_back_in_time_has_lost_nothing(lab: Lab, parts: Parts) -> None:
    with kernel_on() as kernel:
        msg_id = begin(kernel, counting(160, 0.1))
        _until_ready(lab, "runner-1")

        with parts.stopped("kubelet"):
            until(lambda: _node_is(lab, "Unknown"), "the node to be lost", 60)
            away = lab.until_reason("NodeNotReady")
            assert (away["status"], away["kernel"]) == ("unknown", "unknown")
            assert kernel.manager.is_alive()
        until(lambda: _node_is(lab, "True"), "the node to be back", 60)

        cell = finish(kernel.client, msg_id)
        assert cell.status == "ok"
        assert cell.text == counted(160)
        assert kernel.manager.is_alive()


def test_a_runner_that_was_given_up_with_its_node_says_so_and_a_restart_gets_another(
    lab: Lab, parts: Parts
) -> None:
    with kernel_on(lab.kernelspec("impatient", pod=_IMPATIENT)) as kernel:
        pod = lab.pod_of("impatient")
        msg_id = begin(kernel)
        _until_ready(lab, pod["metadata"]["name"])

        with parts.stopped("kubelet"):
            until(lambda: _node_is(lab, "Unknown"), "the node to be lost", 60)
            # What Kubernetes does itself unless, as here, all of its nodes are away.
            taint = "node.kubernetes.io/unreachable=:NoExecute"
            lab.kubectl("taint", "nodes", "node1", taint, "--overwrite")
            cell = finish(kernel.client, msg_id)

            assert cell.error["ename"] == "KernelDied"
            assert "given up with node node1, which was lost" in cell.error["evalue"]
            runner = lab.runner(pod["metadata"]["name"])
            assert (runner["status"], runner["reason"]) == ("lost", "NodeLost")
        until(lambda: _node_is(lab, "True"), "the node to be back", 60)
        until(lambda: not _taints(lab), "the node to be trusted again", 60)

        kernel.manager.restart_kernel(now=True)
        kernel.reconnect()

        assert kernel.run("print(6 * 7)").text == "42\n"
        assert lab.pod_of("impatient")["metadata"]["uid"] != pod["metadata"]["uid"]
