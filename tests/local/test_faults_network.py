"""Networks that break, fall silent or are slow while a kernel works: its client hears everything,
once and in order, does not take the kernel for dead, and hears on soon after the network is back.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.waiting import until
from tests.support.workloads import mixed

if TYPE_CHECKING:
    from tests.support.faults import BadNetwork
    from tests.support.faults_fixtures import Stage
    from tests.support.networks import Way

pytest_plugins = ("tests.support.faults_fixtures",)
pytestmark = pytest.mark.gra_only

# The cell of the workload goes on for so long: over the end of a short outage, and into a long one.
_SECONDS = 10.0


def test_a_client_hears_everything_though_its_connections_are_reset(stage: Stage) -> None:
    with stage.behind(mixed(4)) as (talk, network):
        talk.until_mark("running")
        before = network.dialled
        with network.resets() as count:
            talk.go()
            until(lambda: count() > 0, "a packet that is answered with RST")
            time.sleep(0.5)
        talk.network_is_back()
        stage.check(talk, mixed())
        assert network.dialled > before


@pytest.mark.parametrize(
    "seconds",
    [
        5,
        pytest.param(60, marks=pytest.mark.soak),
        pytest.param(180, marks=pytest.mark.soak),
    ],
)
@pytest.mark.timeout(500)
def test_a_client_hears_everything_though_its_network_was_silent(
    stage: Stage, seconds: float
) -> None:
    _outage(stage, "both", seconds)


@pytest.mark.parametrize("seconds", [15, pytest.param(60, marks=pytest.mark.soak)])
@pytest.mark.parametrize("way", ["in", "out"])
@pytest.mark.timeout(400)
def test_a_client_hears_everything_though_its_network_was_silent_one_way(
    stage: Stage, way: Way, seconds: float
) -> None:
    _outage(stage, way, seconds)


def _outage(stage: Stage, way: Way, seconds: float) -> None:
    with stage.behind(mixed(_SECONDS)) as (talk, network):
        talk.until_mark("running")
        with network.silence(way):
            talk.go()
            time.sleep(seconds)
        talk.network_is_back()
        stage.check(talk, mixed())


@pytest.mark.parametrize("seconds", [15, pytest.param(60, marks=pytest.mark.soak)])
@pytest.mark.timeout(400)
def test_a_client_that_slept_hears_everything(stage: Stage, seconds: float) -> None:
    with stage.behind(mixed(_SECONDS)) as (talk, _):
        talk.until_mark("running")
        talk.go()
        with talk.asleep():
            time.sleep(seconds)
        talk.network_is_back()
        stage.check(talk, mixed())


@pytest.mark.parametrize("latency", [50, 200])
def test_a_client_hears_everything_from_far_away(stage: Stage, latency: int) -> None:
    with stage.behind(mixed(2)) as (talk, network):
        talk.until_mark("running")
        with network.proxy.slow_link(latency=latency // 2, jitter=latency // 5):
            talk.go()
            stage.check(talk, mixed())


def test_a_client_hears_everything_through_a_thin_wire(stage: Stage) -> None:
    with stage.behind(mixed(2)) as (talk, network):
        talk.until_mark("running")
        with network.proxy.slow_link(megabits=1):
            talk.go()
            stage.check(talk, mixed())


@pytest.mark.parametrize("drops", [20, pytest.param(100, marks=pytest.mark.soak)])
@pytest.mark.timeout(600)
def test_a_client_hears_everything_over_many_drops(stage: Stage, drops: int) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    with stage.behind(mixed(drops * 0.5)) as (talk, network):
        talk.until_mark("running")
        talk.go()
        # The client goes on when it is asked something only after the last.
        for _ in range(drops):
            _drop(network, rng)
            time.sleep(rng.uniform(0, 0.4))
        talk.network_is_back()
        stage.check(talk, mixed())


def _drop(network: BadNetwork, rng: random.Random) -> None:
    """Drop the client's connections, one way or another, until it has dialled again."""
    before = network.dialled

    def again() -> bool:
        return network.dialled > before

    how = rng.choice(("end", "limit", "reset"))
    dialled = f"a client to dial whose connections were dropped ({how})"
    if how == "end":
        network.proxy.drop()
    elif how == "limit":
        # A client says less than its kernel.
        stream, most = rng.choice((("upstream", 500), ("downstream", 5000)))
        with network.proxy.toxic("limit_data", stream, bytes=rng.randrange(most)):
            until(again, dialled)
    else:
        with network.resets() as count:
            until(lambda: count() > 0, "a packet that is answered with RST")
            time.sleep(rng.uniform(0, 0.3))
    until(again, dialled)
