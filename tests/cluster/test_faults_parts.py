"""Parts of the cluster that are killed and come back while a kernel works: its client hears
everything, once and in order, does not take the kernel for dead, and hears on soon after.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import pytest

from tests.support.cluster import Cluster, Parts
from tests.support.cluster_lab import Lab, lab_on
from tests.support.faults import check, talking
from tests.support.transcripts import Transcript
from tests.support.workloads import mixed


@pytest.fixture
def lab(cluster: Cluster, namespace: str, parts: Parts) -> Iterator[Lab]:
    with lab_on(cluster, namespace) as lab:
        yield lab
    # They take half a minute to find the API server again.
    for name in ("scheduler", "controller-manager", "kubelet"):
        parts.restart(name)


@pytest.fixture(scope="session")
def known() -> list[Transcript]:
    """What a client hears whose cluster is well, once a test has found out."""
    return []


@pytest.fixture
def undisturbed(lab: Lab, known: list[Transcript]) -> Transcript:
    if not known:
        with talking(mixed()) as talk:
            known.append(talk.finish())
    return known[0]


@pytest.mark.parametrize(
    ("part", "seconds", "number"),
    [
        pytest.param("apiserver", 5, signal.SIGKILL, id="apiserver killed for 5 s"),
        pytest.param(
            *("apiserver", 60, signal.SIGKILL),
            id="apiserver killed for 60 s",
            marks=pytest.mark.soak,
        ),
        pytest.param(
            *("apiserver", 60, signal.SIGSTOP),
            id="apiserver silent for 60 s",
            marks=pytest.mark.soak,
        ),
        pytest.param("kubelet", 0, signal.SIGKILL, id="kubelet restarted"),
        pytest.param("containerd", 0, signal.SIGKILL, id="containerd restarted"),
    ],
)
@pytest.mark.timeout(400)
def test_a_client_hears_everything_though_a_part_of_the_cluster_was_away(
    undisturbed: Transcript, parts: Parts, part: str, seconds: float, number: int
) -> None:
    with talking(mixed(8)) as talk:
        talk.until_mark("running")
        with parts.stopped(part, number):
            talk.go()
            time.sleep(seconds)
        talk.network_is_back()
        check(talk, talk.finish(), undisturbed)
