"""Many who start runners in one namespace at once, and names that are used again."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from gra_provisioner.errors import RunnerEnded, RunnerNotFound
from gra_provisioner.profiles import load_config, resolve
from gra_provisioner.service import RunnerService, labels_of_this_process
from gra_provisioner.tunnel.channels import KernelChannels
from gra_provisioner.tunnel.kernel import RemoteKernel
from tests.support.cells import finish
from tests.support.cli import GRA, gra, gra_json
from tests.support.cluster import Cluster
from tests.support.cluster_lab import Lab, begin, kernel_on, lab_on
from tests.support.server import JupyterServer, jupyter_server
from tests.support.waiting import until


@pytest.fixture
def lab(cluster: Cluster, namespace: str) -> Iterator[Lab]:
    with lab_on(cluster, namespace) as lab:
        yield lab


def _environment(user: str) -> dict[str, str]:
    return {**os.environ, "LOGNAME": user}


def _create_as(user: str) -> None:
    command = [*GRA, "create", "--no-kernel"]
    subprocess.run(command, env=_environment(user), check=True, capture_output=True, timeout=170)


@pytest.mark.parametrize("each", [4, pytest.param(14, marks=pytest.mark.soak)])
def test_two_servers_and_the_command_line_start_runners_at_once(lab: Lab, each: int) -> None:
    with ExitStack() as stack:
        servers = {
            user: stack.enter_context(jupyter_server(lab.places, _environment(user)))
            for user in ("ana", "ben")
        }

        def start(user: str) -> None:
            server: JupyterServer | None = servers.get(user)
            if server is None:
                _create_as(user)
                return
            answer = server.request("POST", "api/kernels", {"name": "gra"})
            assert answer.status_code == 201, answer.text

        with ThreadPoolExecutor(3 * each) as pool:
            list(pool.map(start, ["ana", "ben", "cem"] * each))

        runners = gra_json("list", "--all")
        assert [runner["name"] for runner in runners] == [
            f"runner-{number}" for number in range(1, 3 * each + 1)
        ]
        assert len({runner["uid"] for runner in runners}) == 3 * each
        assert {runner["status"] for runner in runners} == {"running"}
        assert Counter(runner["owner"] for runner in runners) == dict.fromkeys(
            ("ana", "ben", "cem"), each
        )
        for user, server in servers.items():
            mine = {model["id"] for model in server.request("GET", "api/kernels").json()}
            assert mine == {runner["kernel_id"] for runner in runners if runner["owner"] == user}


def test_a_kernel_of_a_deleted_runner_leaves_the_next_of_its_name_alone(lab: Lab) -> None:
    with kernel_on(lab.kernelspec("first")) as kernel:
        msg_id = begin(kernel)
        lab.kubectl("delete", "pod", "runner-1", "--grace-period=1")
        assert "deleted outside gra" in finish(kernel.client, msg_id).error["evalue"]
        with kernel_on(lab.kernelspec("second")) as newer:
            newer.run("kept = 42")
            (pod,) = lab.pods()
            assert pod["metadata"]["name"] == "runner-1"

            kernel.manager.interrupt_kernel()
            kernel.manager.signal_kernel(9)
            kernel.stop(now=True)

            assert newer.run("print(kept)").text == "42\n"
            assert lab.pods()[0]["metadata"]["uid"] == pod["metadata"]["uid"]


async def test_nothing_that_is_asked_of_a_runner_reaches_the_next_of_its_name(lab: Lab) -> None:
    config = load_config(os.environ)
    async with RunnerService.from_config(config) as service:
        spec, labels = resolve(config, {}, "test"), labels_of_this_process()
        old = await service.create(spec, labels)
        lab.kubectl("delete", "pod", old.name, "--grace-period=1")
        assert gra("create", "--no-kernel").returncode == 0
        (pod,) = lab.pods()
        assert pod["metadata"]["name"] == old.name

        until(lambda: lab.pods()[0]["status"]["phase"] == "Running", "the newer runner to run")

        # This process's own view is behind: nothing has been read from the cluster meanwhile.
        with pytest.raises((RunnerEnded, RunnerNotFound)):
            await service.connect(old, RemoteKernel(KernelChannels("key", "hmac-sha256")))
        await service.delete(old)

        (now,) = lab.pods()
        assert now["metadata"]["uid"] == pod["metadata"]["uid"]
        assert now["status"]["phase"] == "Running"
