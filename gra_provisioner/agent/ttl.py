"""When a runner ends by itself.  Pure."""

from __future__ import annotations

from typing import NamedTuple, Optional, Tuple


class Ttl(NamedTuple):
    """Seconds; None: never for that reason."""

    orphan: Optional[float]
    idle: Optional[float]
    lifetime: Optional[float]


class Facts(NamedTuple):
    """What the decision rests on; points in time on one monotonic clock.

    ``client_left`` is None while a client is connected, else when the last one left (or when the
    runner started).  ``idle_since`` is None while the kernel is busy or starting.
    """

    started: float
    client_left: Optional[float]
    idle_since: Optional[float]


def decide(ttl: Ttl, facts: Facts, now: float) -> Tuple[Optional[str], float]:
    """Why the runner is to end now, or None, and after how many seconds to ask again."""
    clocks = (
        (ttl.lifetime, facts.started, "LifetimeReached", "it reached its lifetime of {} s"),
        (ttl.orphan, facts.client_left, "Orphaned", "no client was connected for {} s"),
        (ttl.idle, facts.idle_since, "Idle", "its kernel was idle for {} s"),
    )
    wait = 3600.0
    for limit, since, reason, sentence in clocks:
        if limit is None or since is None:
            continue
        left = since + limit - now
        if left <= 0:
            return f"{reason}: {sentence.format(f'{limit:g}')}", 0.0
        wait = min(wait, left)
    return None, wait
