"""Parts of the cluster that are away for a while, and credentials that are replaced: no kernel
minds, and no output is lost.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from gra_provisioner.profiles import load_config, resolve
from gra_provisioner.runner import RunnerStatus
from gra_provisioner.service import RunnerService, labels_of_this_process
from tests.support.cells import Cell, finish
from tests.support.cli import GRA, gra, stop
from tests.support.cluster import Cluster, Parts
from tests.support.cluster_lab import (
    Account,
    Lab,
    begin,
    counted,
    counting,
    kernel_on,
    lab_on,
)
from tests.support.server import ServerKernel, jupyter_server
from tests.support.waiting import until

_LINES = 40_000
_LOGGED = """
import os, time
for number in range({lines}):
    os.write(1, b"line %d\\n" % number)
    time.sleep({pause})
os.write(1, b"that was all\\n")
"""


@pytest.fixture
def lab(cluster: Cluster, namespace: str, parts: Parts) -> Iterator[Lab]:
    with lab_on(cluster, namespace) as lab:
        yield lab
    _refresh(parts)


def _refresh(parts: Parts) -> None:
    """Have the cluster's own clients find the API server again, which takes them half a minute."""
    for name in ("scheduler", "controller-manager", "kubelet"):
        parts.restart(name)


def _states(kernel: ServerKernel) -> set[str]:
    """All that the kernel was said to be."""
    statuses = [m for m in kernel.messages if m["header"]["msg_type"] == "status"]
    return {message["content"]["execution_state"] for message in statuses}


@pytest.mark.parametrize(
    ("seconds", "number"),
    [
        pytest.param(15, signal.SIGKILL, id="killed for 15 s"),
        pytest.param(60, signal.SIGKILL, id="killed for 60 s", marks=pytest.mark.soak),
        pytest.param(60, signal.SIGSTOP, id="silent for 60 s", marks=pytest.mark.soak),
    ],
)
@pytest.mark.timeout(400)
def test_a_cell_goes_on_while_the_api_server_is_away(
    lab: Lab, parts: Parts, seconds: float, number: int
) -> None:
    with jupyter_server(lab.places) as server:
        kernel = server.start_session("gra")
        kernel.run("kept = 42")
        (pod,) = lab.pods()
        cell = Cell(kernel.execute(counting(_LINES, seconds / _LINES)))
        while not cell.text:
            cell.take(kernel.receive(60))

        with parts.stopped("apiserver", number):
            away_until = time.monotonic() + seconds
            refused = gra("list")
            assert refused.returncode == 4
            assert "ClusterUnreachable" in refused.stderr
            while time.monotonic() < away_until:
                model = server.request("GET", f"api/kernels/{kernel.kernel_id}").json()
                assert model["execution_state"] == "busy"
                time.sleep(1)

        while not cell.done:
            cell.take(kernel.receive(120))
        assert cell.status == "ok"
        assert cell.text == f"going\n{counted(_LINES)}"
        assert cell.stream("stderr") == ""
        assert kernel.run("print(kept)").text == "42\n"
        assert _states(kernel) <= {"starting", "busy", "idle"}
        assert [p["metadata"]["uid"] for p in lab.pods()] == [pod["metadata"]["uid"]]


@pytest.mark.parametrize("part", ["kubelet", "containerd"])
def test_a_cell_goes_on_while_a_part_of_its_node_is_restarted(
    lab: Lab, parts: Parts, part: str
) -> None:
    with kernel_on() as kernel:
        msg_id = begin(kernel, counting(80, 0.1))

        parts.restart(part)

        cell = finish(kernel.client, msg_id)
        assert (cell.status, cell.text) == ("ok", counted(80))
        assert kernel.manager.is_alive()


@pytest.mark.parametrize("part", ["kubelet", "apiserver"])
def test_a_log_that_is_followed_is_whole_though_a_part_of_the_cluster_is_restarted(
    lab: Lab, parts: Parts, part: str
) -> None:
    command = [*GRA, "logs", "--follow", "--source", "stdout", "runner-1"]
    with (
        kernel_on() as kernel,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process,
    ):
        msg_id = kernel.client.execute(_LOGGED.format(lines=1500, pause=0.01))
        time.sleep(2)

        parts.restart(part)

        assert finish(kernel.client, msg_id).status == "ok"
        assert process.stdout is not None
        read = itertools.takewhile(lambda line: line != b"that was all\n", process.stdout)
        lines = [line for line in read if line.startswith(b"line ")]
        assert lines == [b"line %d\n" % number for number in range(1500)]
        assert stop(process, signal.SIGINT, "gra logs to end") == 0


async def test_the_list_of_runners_goes_on_when_its_place_in_history_was_forgotten(
    lab: Lab, parts: Parts
) -> None:
    config = load_config(os.environ)
    async with RunnerService.from_config(config) as service:
        spec = resolve(config, {}, "test")
        first = await service.create(spec, labels_of_this_process(), wait=False)
        version = lab.pods()[0]["metadata"]["resourceVersion"]
        lab.kubectl("create", "configmap", "a-later-change")

        await asyncio.to_thread(parts.compact)
        await asyncio.to_thread(parts.restart, "apiserver")

        path = f"/api/v1/namespaces/{lab.namespace}/pods?watch=true&timeoutSeconds=1"
        answer = lab.cluster.kubectl("get", "--raw", f"{path}&resourceVersion={version}")
        assert json.loads(answer)["object"]["code"] == 410
        uid = await asyncio.to_thread(_replace_by_another, lab, first.name)

        deadline = time.monotonic() + 60
        listed = await service.list()
        while [runner.uid for runner in listed] != [uid] and time.monotonic() < deadline:
            await asyncio.sleep(0.1)
            listed = await service.list()
        assert [runner.uid for runner in listed] == [uid]
        assert listed[0].status is not RunnerStatus.UNKNOWN


def _replace_by_another(lab: Lab, name: str) -> str:
    """The uid of a new runner, once the named one is gone."""
    lab.kubectl("delete", "pod", name, "--grace-period=1")
    assert gra("create", "--no-wait").returncode == 0
    return str(lab.pods()[0]["metadata"]["uid"])


@pytest.mark.parametrize("token_file", [True, False], ids=["token file", "kubeconfig"])
def test_a_cell_goes_on_while_its_clients_credentials_are_replaced(
    lab: Lab, parts: Parts, monkeypatch: pytest.MonkeyPatch, token_file: bool
) -> None:
    account = Account(lab, token_file=token_file)
    monkeypatch.setenv("GRA_KUBECONFIG", str(account.kubeconfig))
    with kernel_on() as kernel:
        msg_id = begin(kernel, counting(80, 0.1))

        account.revoke()
        # Nothing is left of connections and of what the API server remembered of the token.
        parts.restart("apiserver")
        until(lambda: "Unauthorized" in gra("list").stderr, "the old token to be refused", 30)
        assert kernel.manager.is_alive()
        account.renew()

        cell = finish(kernel.client, msg_id)
        assert (cell.status, cell.text) == ("ok", counted(80))
        assert kernel.manager.is_alive()
        _refresh(parts)
        with kernel_on() as another:
            assert another.run("print(6 * 7)").text == "42\n"
            assert len(lab.pods()) == 2
