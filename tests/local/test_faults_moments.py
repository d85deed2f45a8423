"""Connections that are dropped at the worst moments: a client hears everything all the same."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.waiting import until
from tests.support.workloads import late, mixed, question, restart, shutdown, volume

if TYPE_CHECKING:
    from tests.support.faults import BadNetwork
    from tests.support.faults_fixtures import Stage
    from tests.support.toxiproxy import Direction

pytest_plugins = ("tests.support.faults_fixtures",)
pytestmark = pytest.mark.gra_only

# With pods a link begins with TLS and an upgrade to a websocket, with local runners with HELLO.
_HANDSHAKE = {"local": 300, "kubernetes": 5000}
_RESUME = 60_000
_SAME = pytest.mark.same_with_pods("asked or forced, the requests are the same")

_DIALS = 6
_DIAL_BOUND = 30.0


def _fail_links(network: BadNetwork, stream: Direction, limits: list[int]) -> None:
    """Drop all connections, and each new one after so many bytes, one after the other."""
    for limit in limits:
        before = network.dialled
        toxic = network.proxy.limit_data(limit, stream)
        # It counts for connections that there are too, and may have come when they were silent.
        network.proxy.drop()
        until(lambda known=before: network.dialled > known, "the client to dial again", _DIAL_BOUND)
        # One that was let through has time to break.
        time.sleep(0.1)
        network.proxy.remove(toxic)


@pytest.mark.parametrize("stream", ["upstream", "downstream"])
@pytest.mark.parametrize("moment", ["handshake", "resume"])
def test_a_client_hears_everything_over_drops_in_a_links_beginning(
    stage: Stage, moment: str, stream: Direction
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    handshake = _HANDSHAKE[stage.backend]
    low, high = (1, handshake) if moment == "handshake" else (handshake, _RESUME)
    with stage.behind(mixed(5)) as (talk, network):
        talk.until_mark("running")
        talk.go()
        _fail_links(network, stream, [rng.randrange(low, high) for _ in range(_DIALS)])
        network.proxy.drop()
        talk.network_is_back()
        stage.check(talk, mixed())


def test_a_client_is_asked_and_answers_over_drops(stage: Stage) -> None:
    with stage.behind(question()) as (talk, network):
        talk.until_mark("asked")
        network.proxy.disable()
        talk.go()
        time.sleep(1)
        network.proxy.enable()
        talk.network_is_back()
        stage.check(talk, question())


@pytest.mark.parametrize("megabytes", [30, pytest.param(200, marks=pytest.mark.soak)])
@pytest.mark.timeout(400)
def test_a_client_hears_a_large_output_over_drops(stage: Stage, megabytes: int) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    limit = random.Random(seed).randrange(megabytes << 20, megabytes << 21) // 20
    with stage.behind(volume(megabytes)) as (talk, network):
        talk.until_mark("running")
        before = network.dialled
        network.proxy.limit_data(limit)
        talk.go()
        stage.check(talk, volume(megabytes), 240)
        # Where the network is slow, a fifth of it goes over the link.
        assert network.dialled - before >= 2


@pytest.mark.parametrize("channel", ["iopub", "shell"])
def test_a_client_that_reads_a_channel_late_hears_everything(stage: Stage, channel: str) -> None:
    with stage.behind(late(channel, 3)) as (talk, _):
        talk.until_mark("running")
        talk.go()
        stage.check(talk, late(channel))


@pytest.mark.parametrize(
    "now", [pytest.param(False, id="asked"), pytest.param(True, id="forced", marks=_SAME)]
)
def test_a_client_restarts_its_kernel_over_drops(stage: Stage, now: bool) -> None:
    with stage.behind(restart(now=now)) as (talk, network):
        talk.until_mark("restarting")
        network.proxy.drop()
        talk.go()
        for _ in range(8):
            time.sleep(0.15)
            network.proxy.drop()
        stage.check(talk, restart(now=now))


@pytest.mark.parametrize(
    "now", [pytest.param(False, id="asked", marks=_SAME), pytest.param(True, id="forced")]
)
def test_a_client_shuts_its_kernel_down_over_drops(stage: Stage, now: bool) -> None:
    with stage.behind(shutdown(now=now)) as (talk, network):
        talk.until_mark("ending")
        network.proxy.disable()
        talk.go()
        time.sleep(1)
        network.proxy.enable()
        stage.check(talk, shutdown(now=now))
