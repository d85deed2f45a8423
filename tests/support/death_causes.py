"""The ways in which a runner's kernel can die on a cluster, each brought about for real."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.support.cells import TIMEOUT
from tests.support.cli import GRA
from tests.support.cluster_lab import Lab, Pod

# Descriptor 1 is the runner's log, which can be read while the cell runs.
_WAITS = """
import os, time
print('going', flush=True)
os.write(1, b'in the cell\\n')
time.sleep(1000)
"""
_ALLOCATES = "kept = []\nwhile True: kept.append(bytearray(1 << 20))"
_CRASHES = "import ctypes; ctypes.string_at(0)"
# Files in memory count as the runner's, and stay when the kernel is killed for them.  The writer is
# the last that the system would kill, so the agent has to go.
_FILLS_MEMORY = """
import subprocess, time
subprocess.Popen(['sh', '-c', 'cat /dev/zero > /ram/full'], start_new_session=True)
time.sleep(1000)
"""
_RAM: Mapping[str, Any] = {
    "volumes": [{"name": "ram", "emptyDir": {"medium": "Memory"}}],
    "volume_mounts": [{"name": "ram", "mountPath": "/ram"}],
}


def _name(pod: Pod) -> str:
    return str(pod["metadata"]["name"])


def _delete_with_kubectl(lab: Lab, pod: Pod) -> None:
    lab.kubectl("delete", "pod", _name(pod), "--wait=false")


def _delete_with_gra(lab: Lab, pod: Pod) -> None:
    environment = {**os.environ, "LOGNAME": "ana"}
    subprocess.run([*GRA, "delete", _name(pod)], env=environment, check=True, timeout=TIMEOUT)


def _evict(lab: Lab, pod: Pod) -> None:
    meta = {"name": _name(pod), "namespace": lab.namespace}
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": meta}
    lab.api("create", f"pods/{_name(pod)}/eviction", body)


def _set_deadline(lab: Lab, pod: Pod) -> None:
    lab.kubectl("patch", "pod", _name(pod), '--patch={"spec":{"activeDeadlineSeconds":1}}')


def _kill_agent(lab: Lab, pod: Pod) -> None:
    lab.agent(pod).kill()


@dataclass(frozen=True)
class Death:
    """A way to die: by the cell's own ``code``, or by ``cause`` while it waits.

    ``reasons`` are what it may be called, ``words`` (patterns) what the user must be told.
    ``recorded`` is what ``gra get`` calls it where the pod stays.
    """

    reasons: tuple[str, ...]
    words: tuple[str, ...]
    code: str = _WAITS
    cause: Callable[[Lab, Pod], None] | None = None
    runner_gone: bool = True
    recorded: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)

    def assert_told(self, text: str) -> None:
        """Fail unless everything that the user must know is in the text."""
        for words in self.words:
            assert re.search(words, text), f"{words!r} is not in {text!r}"


DEATHS = {
    "kernel out of memory": Death(
        ("OutOfMemory",),
        ("out of memory", "256 MiB"),
        _ALLOCATES,
        runner_gone=False,
        recorded="OutOfMemory",
    ),
    "runner out of memory": Death(
        # The kernel is killed first, and whether the agent lives to say so is chance.
        ("OutOfMemory", "OOMKilled"),
        ("out of memory", "256 ?Mi"),
        _FILLS_MEMORY,
        recorded="OOMKilled",
        config={"pod": _RAM},
    ),
    "deleted by kubectl": Death(
        ("DeletedOutsideGra",), ("deleted outside gra",), cause=_delete_with_kubectl
    ),
    "deleted by gra": Death(
        ("Deleted",),
        (rf"deleted by ana@{re.escape(socket.gethostname())}",),
        cause=_delete_with_gra,
    ),
    "evicted": Death(("EvictedByRequest",), ("evicted on request",), cause=_evict),
    "deadline": Death(
        ("DeadlineExceeded",),
        ("deadline after 1 s",),
        cause=_set_deadline,
        recorded="DeadlineExceeded",
    ),
    "agent killed": Death(
        ("AgentKilled",),
        (r"agent was killed by signal 9 \(SIGKILL\)",),
        cause=_kill_agent,
        recorded="AgentKilled",
    ),
    "segfault": Death(
        ("KilledBySignal",),
        (r"signal 11 \(SIGSEGV\)",),
        _CRASHES,
        runner_gone=False,
        recorded="KilledBySignal",
    ),
}

each_death = pytest.mark.parametrize("death", DEATHS.values(), ids=list(DEATHS))
#: One of each kind: the kernel dies, the pod goes, the pod stays.  The others are for soaks.
_KINDS = frozenset({"kernel out of memory", "deleted by kubectl", "agent killed"})
each_kind_of_death = pytest.mark.parametrize(
    "death",
    [
        pytest.param(death, id=name, marks=() if name in _KINDS else pytest.mark.soak)
        for name, death in DEATHS.items()
    ],
)
