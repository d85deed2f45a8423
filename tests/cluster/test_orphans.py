"""Clients that are killed: what they leave ends by itself, says why, and is removed in the end."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from gra_provisioner.backends.kubernetes.backend import KubernetesBackend
from gra_provisioner.backends.kubernetes.kubeconfig import Target
from gra_provisioner.profiles import load_config, resolve
from gra_provisioner.service import labels_of_this_process
from tests.support.cells import TIMEOUT
from tests.support.cli import gra, read_line
from tests.support.cluster import Cluster
from tests.support.cluster_lab import Lab, Pod, gra_process, lab_on
from tests.support.registry import running
from tests.support.server import jupyter_server
from tests.support.waiting import until, until_async

_GATE = "example.com/not-yet"
_PROFILES = """
[profiles.brief]
extends = "small"
[profiles.brief.ttl]
orphan = 2
[profiles.gated]
extends = "brief"
pod = {{patch = {{spec = {{schedulingGates = [{{name = "{gate}"}}]}}}}}}
[profiles.pulled]
extends = "brief"
image = "{image}"
pod = {{image_pull_policy = "Always"}}
[profiles.mounted]
extends = "brief"
[profiles.mounted.pod]
volumes = [{{name = "disk", csi = {{driver = "csi.example.com"}}}}]
volume_mounts = [{{name = "disk", mountPath = "/disk"}}]
[profiles.begun]
extends = "brief"
[[profiles.begun.pod.patch.spec.containers]]
name = "runner"
command = ["sh", "-c", 'sleep 4; exec python3 -I -S /opt/gra/agent.pyz "$@"', "sh"]
[profiles.slow]
extends = "brief"
kernel_argv = ["python", "-c", "import time; time.sleep(1000)", "{{connection_file}}"]
"""


@pytest.fixture
def lab(cluster: Cluster, namespace: str) -> Iterator[Lab]:
    # A node goes on pulling for a pod that was deleted, so the registry has to go first.
    with lab_on(cluster, namespace) as lab, running() as registry:
        image = registry.keeping_silent("slow")
        lab.places.write_profiles(_PROFILES.format(gate=_GATE, image=image))
        yield lab


def _ungate(lab: Lab, pod: Pod) -> None:
    remove = [{"op": "remove", "path": "/spec/schedulingGates"}]
    name = pod["metadata"]["name"]
    lab.kubectl("patch", "pod", name, "--type=json", f"--patch={json.dumps(remove)}")


@dataclass(frozen=True)
class _Phase:
    """A launch that stays in one phase: its profile, and what it then says.

    ``go_on`` ends what it waits for, if nothing else does.
    """

    profile: str
    says: str
    go_on: Callable[[Lab, Pod], None] | None = None


_ENDS = {
    "scheduling": _Phase("gated", "scheduling gates", _ungate),
    "starting": _Phase("begun", "starting the container"),
    "kernel": _Phase("slow", "starting the kernel"),
    "ready": _Phase("brief", "ready in"),
}
_NEVER_BEGINS = {
    "pulling": _Phase("pulled", "pulling 127.0.0.1"),
    "mounting": _Phase("mounted", "csi.example.com not found"),
}


def _kill_client_in(phase: _Phase) -> None:
    with gra_process("create", "--profile", phase.profile) as process:
        assert process.stderr is not None
        while phase.says not in read_line(process.stderr, f"a line with {phase.says!r}", TIMEOUT):
            pass
        process.kill()


def _last_word(pod: Pod) -> dict[str, str]:
    (container,) = pod["status"]["containerStatuses"]
    word: dict[str, str] = json.loads(container["state"]["terminated"]["message"])
    return word


@pytest.mark.parametrize("phase", _ENDS.values(), ids=list(_ENDS))
def test_what_a_killed_client_was_starting_ends_by_its_ttl(lab: Lab, phase: _Phase) -> None:
    _kill_client_in(phase)
    (pod,) = lab.pods()
    if phase.go_on is not None:
        phase.go_on(lab, pod)

    until(lambda: lab.pods()[0]["status"]["phase"] == "Succeeded", "the runner to end", TIMEOUT)

    (pod,) = lab.pods()
    assert _last_word(pod)["reason"] == "Orphaned"
    runner = lab.runner()
    assert (runner["status"], runner["reason"]) == ("ended", "Orphaned")
    assert "no client was connected for 2 s" in runner["message"]
    assert "agent ready" in lab.kubectl("logs", "runner-1")


def test_a_client_killed_before_the_cluster_has_answered_leaves_nothing_that_stays(
    lab: Lab,
) -> None:
    _kill_client_in(_Phase("brief", "asking for a brief runner"))

    def ended() -> bool:
        return all(pod["status"]["phase"] == "Succeeded" for pod in lab.pods())

    until(ended, "what was made, if anything, to end", TIMEOUT)


def test_a_killed_servers_runner_says_why_it_ended(lab: Lab) -> None:
    with jupyter_server(lab.places) as server:
        kernel = server.start_session(lab.kernelspec("brief", ttl={"orphan": 2}))
        kernel.run("kept = 42")
        server.kill()

    runner = lab.until_reason("Orphaned")

    assert (runner["status"], runner["kernel_id"]) == ("ended", kernel.kernel_id)
    assert "no client was connected" in runner["message"]


def test_a_client_that_is_told_to_stop_leaves_nothing(lab: Lab) -> None:
    phase = _ENDS["scheduling"]
    with gra_process("create", "--profile", phase.profile) as process:
        assert process.stderr is not None
        while phase.says not in read_line(process.stderr, f"a line with {phase.says!r}", TIMEOUT):
            pass
        process.send_signal(signal.SIGTERM)
        assert process.wait(TIMEOUT) != 0

    assert lab.pods() == []


async def test_what_ended_or_never_began_is_removed_in_the_end(lab: Lab) -> None:
    for phase in (*_NEVER_BEGINS.values(), _ENDS["scheduling"]):
        _kill_client_in(phase)
    assert gra("create", "--profile", "brief").returncode == 0
    left = _uids(lab)
    assert len(left) == 4
    until(lambda: _phases(lab) == ["Pending"] * 3 + ["Succeeded"], "one of them to end", TIMEOUT)

    # Whoever starts a runner sees to it, not before its time.
    async with _client_starts_a_runner(lab, hours=0):
        pass
    assert _uids(lab) == left
    async with _client_starts_a_runner(lab, hours=2):
        await until_async(lambda: not left & _uids(lab), "the old runners to be removed", TIMEOUT)


@asynccontextmanager
async def _client_starts_a_runner(lab: Lab, hours: float) -> AsyncIterator[None]:
    """A runner, until the end of the block, of a client whose clock is so many hours fast."""
    target = Target("", lab.namespace, str(lab.cluster.kubeconfig))
    backend = KubernetesBackend(target, os.environ, lambda: time.time() + hours * 3600)
    try:
        spec = resolve(load_config(os.environ), {}, "test")
        runner = await backend.create(spec, labels_of_this_process())
        yield
        await backend.delete(runner)
    finally:
        await backend.close()


def _uids(lab: Lab) -> set[str]:
    return {pod["metadata"]["uid"] for pod in lab.pods()}


def _phases(lab: Lab) -> list[str]:
    return sorted(pod["status"]["phase"] for pod in lab.pods())
