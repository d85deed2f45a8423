"""Kernels and runners that die: the cell says why, so does gra, and a restart goes on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.cells import finish
from tests.support.cluster import Cluster
from tests.support.cluster_lab import Lab, begin, kernel_on, lab_on
from tests.support.death_causes import Death, each_death
from tests.support.waiting import until


@pytest.fixture
def lab(cluster: Cluster, namespace: str) -> Iterator[Lab]:
    with lab_on(cluster, namespace) as lab:
        yield lab


def _uid(lab: Lab, kernel_name: str) -> str:
    return str(lab.pod_of(kernel_name)["metadata"]["uid"])


@each_death
def test_a_cell_and_gra_say_why_the_kernel_died_and_a_restart_goes_on(
    lab: Lab, death: Death
) -> None:
    name = lab.kernelspec_for(death.config)
    with kernel_on(name) as kernel:
        pod = lab.pod_of(name)
        if death.cause is None:
            msg_id = kernel.client.execute(death.code)
        else:
            msg_id = begin(kernel, death.code)
            death.cause(lab, pod)

        cell = finish(kernel.client, msg_id)

        assert cell.error["ename"] == "KernelDied"
        death.assert_told(cell.error["evalue"])
        death.assert_told(cell.stream("stderr"))
        assert cell.reply is not None
        assert cell.reply["content"]["evalue"] == cell.error["evalue"]
        if death.recorded:
            runner = lab.until_reason(death.recorded, pod["metadata"]["name"])
            death.assert_told(runner["message"])
            assert runner["hint"]

        kernel.manager.restart_kernel(now=True)
        kernel.reconnect()

        assert kernel.run("print(6 * 7)").text == "42\n"
        assert (_uid(lab, name) != pod["metadata"]["uid"]) == death.runner_gone


def test_a_runner_that_reaches_its_lifetime_says_so(lab: Lab) -> None:
    with kernel_on(lab.kernelspec("short-lived", ttl={"lifetime": 15})) as kernel:
        cell = finish(kernel.client, begin(kernel))

        assert cell.error["ename"] == "KernelDied"
        assert "reached its lifetime of 15 s" in cell.error["evalue"]
        runner = lab.until_reason("LifetimeReached")
        assert runner["status"] == "ended"
        assert "reached its lifetime of 15 s" in runner["message"]
        # The agent has told it before its process is gone and the kubelet has noticed.
        until(lambda: lab.pods()[0]["status"]["phase"] != "Running", "the pod to have ended", 60)
        assert lab.pods()[0]["status"]["phase"] == "Succeeded"
