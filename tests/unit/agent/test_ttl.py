"""When a runner ends by itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gra_provisioner.agent.ttl import Facts, Ttl, decide

limits = st.none() | st.floats(0, 1e6)
times = st.none() | st.floats(0, 1e6)


@pytest.mark.parametrize(
    ("ttl", "facts", "now", "reason"),
    [
        (Ttl(None, None, None), Facts(0, 0, 0), 1e9, None),
        (Ttl(10, None, None), Facts(0, 100, None), 109.9, None),
        (Ttl(10, None, None), Facts(0, 100, None), 110, "Orphaned"),
        # A client is there.
        (Ttl(10, None, None), Facts(0, None, 0), 1e9, None),
        (Ttl(None, 10, None), Facts(0, None, 100), 110, "Idle"),
        # Busy, with and without a client.
        (Ttl(None, 10, None), Facts(0, None, None), 1e9, None),
        (Ttl(None, 10, None), Facts(0, 5, None), 1e9, None),
        (Ttl(10, None, None), Facts(0, 5, None), 1e9, "Orphaned"),
        # A lifetime ends a busy kernel with a client too.
        (Ttl(None, None, 50), Facts(100, None, None), 149, None),
        (Ttl(None, None, 50), Facts(100, None, None), 150, "LifetimeReached"),
        (Ttl(10, 10, 50), Facts(0, 0, 0), 60, "LifetimeReached"),
    ],
)
def test_the_reason_to_end(ttl: Ttl, facts: Facts, now: float, reason: str | None) -> None:
    word, _ = decide(ttl, facts, now)

    assert (word.partition(":")[0] if word else None) == reason


def test_the_sentence_says_after_how_long() -> None:
    word, _ = decide(Ttl(90, None, None), Facts(0, 0, None), 100)

    assert word == "Orphaned: no client was connected for 90 s"


@given(limits, limits, limits, st.floats(0, 1e6), times, times, st.floats(0, 1e6))
def test_asking_again_when_told_to_never_misses_an_end(
    orphan: float | None,
    idle: float | None,
    lifetime: float | None,
    started: float,
    left: float | None,
    idle_since: float | None,
    now: float,
) -> None:
    ttl, facts = Ttl(orphan, idle, lifetime), Facts(started, left, idle_since)
    reason, wait = decide(ttl, facts, now)

    assert wait >= 0
    if reason is None:
        assert wait > 0
        # Nothing changes before, except by a hair's breadth of rounding.
        assert decide(ttl, facts, now + wait * 0.999 - 1e-6)[0] is None
        if wait < 3600:
            assert decide(ttl, facts, now + wait * 1.001 + 1e-3)[0] is not None
