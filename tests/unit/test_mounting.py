"""A launch waits for its buckets, and fails with the agent's own reason."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from typing import Any, cast

import pytest

from gra_provisioner.errors import MountError, Unreachable, from_wire
from gra_provisioner.mounting import start_mounts
from gra_provisioner.profiles import load_config, resolve
from gra_provisioner.runner import Runner, RunnerLabels, RunnerSpec, S3Mount, Secret
from gra_provisioner.s3_credentials import AccessKey
from gra_provisioner.tunnel.client import Tunnel
from gra_provisioner.tunnel.mounts import MountLog

LAKE = S3Mount("lake", "/data/lake", "https://s3.example.com", prefix="team/a")
TABLES = S3Mount("lake", "", "https://s3.example.com", via="fsspec")
KEY = AccessKey(Secret("A"), Secret("hidden"))


class _Agent:
    """Stands for the tunnel to an agent that answers, or fails, in one way."""

    def __init__(self, error: Exception | None = None) -> None:
        self.requests: list[tuple[str, Mapping[str, Any]]] = []
        self._error = error

    async def request(self, method: str, args: Mapping[str, Any], timeout: float) -> Any:
        self.requests.append((method, args))
        if self._error is not None:
            raise self._error
        return {"mounts": []}


def _runner(backend: str = "kubernetes") -> Runner:
    return Runner("runner-3", "u", backend, "small", RunnerLabels("ada"), 0.0)


def _spec(*mounts: S3Mount) -> RunnerSpec:
    return dataclasses.replace(resolve(load_config({}, []), {}), s3=mounts)


async def _started(
    agent: _Agent, *mounts: S3Mount, backend: str = "kubernetes"
) -> list[tuple[str, str]]:
    phases: list[tuple[str, str]] = []
    await start_mounts(
        cast(Tunnel, agent),
        _runner(backend),
        _spec(*mounts),
        {0: KEY, 1: KEY},
        lambda phase, message: phases.append((phase, message)),
    )
    return phases


async def test_nothing_is_asked_where_nothing_is_mounted() -> None:
    agent = _Agent()
    assert await _started(agent, TABLES) == []
    assert agent.requests == []


async def test_a_pods_agent_gets_credentials_and_no_say_in_what_is_mounted() -> None:
    agent = _Agent()
    phases = await _started(agent, LAKE, TABLES)
    assert phases == [("mounts", "runner-3: mounting s3://lake/team/a at /data/lake")]
    ((method, args),) = agent.requests
    assert method == "mounts.start"
    assert args["credentials"] == {"0": {"access_key": "A", "secret_key": "hidden"}}
    assert "mounts" not in args


async def test_a_local_agent_is_told_what_to_mount() -> None:
    agent = _Agent()
    await _started(agent, LAKE, backend="local")
    ((_, args),) = agent.requests
    assert [mount["path"] for mount in args["mounts"]] == ["/data/lake"]


async def test_the_agents_reason_is_that_of_the_launch() -> None:
    word = {
        "reason": "S3SecretKeyWrong",
        "message": "No.",
        "hint": "Copy it.",
        "details": {"mount": "0"},
    }
    with pytest.raises(MountError) as caught:
        await _started(_Agent(from_wire(word)), LAKE)
    assert caught.value.to_dict() == {
        "reason": "S3SecretKeyWrong",
        "message": "s3://lake/team/a cannot be mounted at /data/lake. No.",
        "hint": "Copy it.",
        "details": {"mount": "0", "bucket": "lake", "path": "/data/lake"},
    }
    assert caught.value.exit_code == 5


async def test_an_agent_that_knows_no_mounts_is_of_an_earlier_version() -> None:
    with pytest.raises(MountError) as caught:
        await _started(_Agent(from_wire({"reason": "UnknownMethod", "message": "?"})), LAKE)
    assert caught.value.code == "S3NotSupported"
    assert "gra delete runner-3" in caught.value.hint


async def test_an_agent_that_does_not_answer_is_said_to() -> None:
    with pytest.raises(MountError, match="within 55 s whether s3://lake/team/a at /data/lake was"):
        await _started(_Agent(Unreachable("Nothing comes.")), LAKE)


def test_each_change_of_a_mount_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    def told(state: str, reason: str = "") -> None:
        mount = {"id": "0", "path": "/data", "state": state, "reason": reason, "message": "Why."}
        log.told([mount])

    log = MountLog()
    with caplog.at_level(logging.INFO, "gra_provisioner"):
        told("starting")
        told("mounted")
        told("failing", "S3EndpointUnreachable")
        told("failing", "S3EndpointUnreachable")
        told("failing", "S3AccessDenied")
        told("mounted")
        log.told(None)
    assert caplog.messages == [
        "The mount /data is failing (S3EndpointUnreachable). Why.",
        "The mount /data is failing (S3AccessDenied). Why.",
        "The mount /data is there again.",
    ]
