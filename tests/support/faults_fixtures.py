"""Fixtures of the tests of faults with either backend (``pytest_plugins`` of their modules)."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.cluster import Cluster
from tests.support.faults import BadNetwork, Talk, behind_bad_network, check
from tests.support.runners import Runners
from tests.support.transcripts import Transcript
from tests.support.workloads import Workload


@dataclass(frozen=True)
class Stage:
    """Where clients talk with kernels of one backend, with or without faults."""

    backend: str
    folder: Path
    cluster: Cluster | None
    known: dict[tuple[str, str], Transcript]

    def behind(self, workload: Workload) -> AbstractContextManager[tuple[Talk, BadNetwork]]:
        """A client at work on this, and its network."""
        return behind_bad_network(workload, self.folder, self.cluster)

    def check(self, talk: Talk, undisturbed: Workload, timeout: float = 120.0) -> None:
        """The client comes to its end, and heard what it would have heard without faults."""
        heard = talk.finish(timeout)
        check(talk, heard, self.transcript(undisturbed))

    def transcript(self, workload: Workload) -> Transcript:
        """What a client hears whose network is good, found out once a session."""
        key = (self.backend, workload.name)
        if key not in self.known:
            with self.behind(workload) as (talk, _):
                self.known[key] = talk.finish()
        return self.known[key]


@pytest.fixture(scope="session")
def undisturbed() -> dict[tuple[str, str], Transcript]:
    """What clients heard whose network was good, by backend and workload."""
    return {}


@pytest.fixture
def stage(
    backend: str,
    runners: Runners,
    undisturbed: dict[tuple[str, str], Transcript],
    request: pytest.FixtureRequest,
) -> Stage:
    """The stage of one test."""
    cluster = request.getfixturevalue("cluster") if backend == "kubernetes" else None
    return Stage(backend, runners.places.root, cluster, undisturbed)
