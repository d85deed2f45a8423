"""A session over links that are lost a thousand times, and greetings that are late."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.unit.agent.two_ends import AGENT, CLIENT, MOST_WRITTEN, SIDES, End, TwoEnds, Wire

DROPS = 1000
# A seed is not worth shrinking.
_PHASES = [phase for phase in Phase if phase not in (Phase.shrink, Phase.explain)]


def _stir(both: TwoEnds, rng: random.Random) -> None:
    """Something that users of streams do."""
    ends = [end for ends in both.ends for end in ends.values()]
    for end in rng.sample(ends, min(3, len(ends))):
        if not end.echoes:
            end.write(rng.randrange(MOST_WRITTEN))
        if not end.eager:
            end.consume(rng.randrange(1, 2 * MOST_WRITTEN))
    if rng.random() < 0.02:
        both.open(
            eager=(rng.random() < 0.8, rng.random() < 0.8),
            echoes=rng.random() < 0.3,
            greets=rng.randrange(200),
            says=rng.randrange(200),
        )
    side = rng.choice(SIDES)
    end = rng.choice(list(both.ends[side].values()))
    if end.stream.id > 2 and not end.echoes and rng.random() < 0.05:
        end.finish()
    elif end.stream.id > 2 and rng.random() < 0.005:
        end.reset()


@settings(max_examples=5, deadline=None, phases=_PHASES)
@given(
    seed=st.integers(0, 2**32 - 1),
    windows=st.tuples(st.integers(100, 20_000), st.integers(100, 20_000)),
    flushes=st.booleans(),
    packs=st.booleans(),
)
def test_a_thousand_drops_in_a_row_at_random_points_lose_nothing(
    seed: int, windows: tuple[int, int], flushes: bool, packs: bool
) -> None:
    rng = random.Random(seed)
    both = TwoEnds(windows, flushes=flushes, eager=True, packs=packs)
    both.dial()
    both.open(eager=(True, True))
    for _ in range(DROPS):
        _stir(both, rng)
        both.cut(
            rng.choice(SIDES),
            (rng.randrange(4000), rng.randrange(4000)),
            agent_notices=rng.random() < 0.5,
            hellos=rng.choice([0, 1, 2, 2, 2, 2]),
        )
        both.check()
    moved = sum(end.received for ends in both.ends for end in ends.values())
    both.heal_and_finish()

    assert both.accepted > DROPS // 2
    assert moved > 10 * DROPS, "hardly anything got through between the drops"


@settings(max_examples=5, deadline=None, phases=_PHASES)
@given(seed=st.integers(0, 2**32 - 1), flushes=st.booleans(), packs=st.booleans())
def test_a_thousand_dials_beside_links_that_only_seemed_dead_lose_nothing(
    seed: int, flushes: bool, packs: bool
) -> None:
    rng = random.Random(seed)
    both = TwoEnds((3000, 3000), flushes=flushes, eager=True, packs=packs)
    both.dial()
    both.open(eager=(True, True))
    for _ in range(DROPS):
        _stir(both, rng)
        if len(both.dials()) < 3:
            both.dial(hellos=rng.choice([0, 0, 1, 2]))
        for side in SIDES:
            both.pull(side, 4000)
            both.acknowledge(side)
            wire = rng.choice(both.wires)
            both.deliver(wire, side, rng.randrange(4000))
            both.notice(wire, 1 - side)
        both.check()
    both.heal_and_finish()


@pytest.fixture(params=[False, True], ids=["when asked", "at once"])
def both(request: pytest.FixtureRequest) -> Iterator[TwoEnds]:
    """Two ends with a link; they write when they are asked to, or at once."""
    made = TwoEnds((1000, 1000), flushes=request.param, eager=True)
    made.dial()
    yield made
    made.close()


def _dial_that_is_slow(both: TwoEnds) -> Wire:
    both.dial(hellos=0)
    return both.dials()[-1]


def _take_it(both: TwoEnds, late: Wire) -> None:
    """The agent gets a greeting that is older than what it knows, and the client goes on there."""
    both.deliver(late, AGENT, 0)
    assert both.carriers[AGENT] is late
    both.deliver(late, CLIENT, 0)
    assert both.carriers[CLIENT] is late
    # No byte is counted against the sender before the other has read the whole greeting.
    both.settle()
    assert both.carriers == [late, late]


def _settle_all(both: TwoEnds) -> None:
    both.settle()
    for side in SIDES:
        both.acknowledge(side)
    both.settle()


def _output(both: TwoEnds, end: End) -> None:
    assert end.other is not None
    end.other.write(500)


def _input(both: TwoEnds, end: End) -> None:
    end.write(500)


def _end_of_the_agents(both: TwoEnds, end: End) -> None:
    assert end.other is not None
    end.other.write(10)
    end.other.finish()


def _end_of_the_clients(both: TwoEnds, end: End) -> None:
    end.write(10)
    end.finish()


def _end_of_both(both: TwoEnds, end: End) -> None:
    _end_of_the_clients(both, end)
    _end_of_the_agents(both, end)


def _reset_by_the_agent(both: TwoEnds, end: End) -> None:
    assert end.other is not None
    end.other.reset()


def _reset_by_the_client(both: TwoEnds, end: End) -> None:
    end.reset()


def _new_stream(both: TwoEnds, end: End) -> None:
    both.open(eager=(True, True), greets=100, says=100)


_MEANWHILE = [
    _output,
    _input,
    _end_of_the_agents,
    _end_of_the_clients,
    _end_of_both,
    _reset_by_the_agent,
    _reset_by_the_client,
    _new_stream,
]


@pytest.mark.parametrize("settled", [True, False], ids=["acknowledged", "under way"])
@pytest.mark.parametrize("meanwhile", _MEANWHILE, ids=lambda f: f.__name__.strip("_"))
def test_a_greeting_that_is_older_than_what_has_passed_since_is_taken(
    both: TwoEnds, meanwhile: Callable[[TwoEnds, End], None], settled: bool
) -> None:
    end = both.open(eager=(True, True))
    _settle_all(both)
    late = _dial_that_is_slow(both)
    old = both.carriers[CLIENT]
    assert old is not None

    meanwhile(both, end)
    for _ in range(2):
        for side in SIDES:
            both.pull(side, 1 << 20)
            both.deliver(old, side, 1 << 20)
            if settled:
                both.acknowledge(side)
    _take_it(both, late)
    both.heal_and_finish()


@pytest.mark.parametrize("finishes", [False, True], ids=["goes on", "finished"])
def test_what_is_about_to_be_sent_again_may_be_acknowledged_first(finishes: bool) -> None:
    both = TwoEnds((1000, 1000), flushes=False, eager=True)
    both.dial()
    end = both.open(eager=(True, True))
    _settle_all(both)
    assert end.other is not None
    late = _dial_that_is_slow(both)
    old = both.carriers[CLIENT]
    assert old is not None

    end.other.write(500)
    if finishes:
        end.other.finish()
    both.pull(AGENT, 1 << 20)
    both.deliver(old, CLIENT, 1 << 20)
    assert end.received == 500
    for side in (AGENT, CLIENT):
        both.deliver(late, side, 0)
    both.pull(CLIENT, 1 << 20)
    both.deliver(late, AGENT, 1 << 20)

    assert end.other.stream.backlog == 0
    both.heal_and_finish()


def test_a_greeting_that_was_overtaken_by_a_later_one_is_refused(both: TwoEnds) -> None:
    late = _dial_that_is_slow(both)
    both.dial()
    now = both.carriers[AGENT]
    assert both.carriers[CLIENT] is now

    both.deliver(late, AGENT, 0)

    assert both.carriers == [now, now]
    both.heal_and_finish()


def test_a_dial_that_was_given_up_and_arrives_later_costs_one_more_dial(both: TwoEnds) -> None:
    end = both.open(eager=(True, True))
    both.dial(hellos=0)
    slow = both.dials()[-1]
    both.dial(hellos=0)
    given_up = both.dials()[-1]
    both.deliver(slow, AGENT, 0)
    both.deliver(slow, CLIENT, 0)
    assert both.carriers[CLIENT] is slow
    assert given_up.closed[CLIENT]

    end.write(100)
    both.deliver(given_up, AGENT, 0)
    # The agent has left the good link for one that nobody is at the other end of.
    both.settle()
    both.notice(slow, CLIENT)
    both.notice(given_up, AGENT)
    assert both.carriers == [None, None]
    both.dial()
    both.settle()

    assert end.other is not None
    assert end.other.received == 100
    both.heal_and_finish()
