"""How large and how often: the sizes of a full run and of a quick one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """Numbers of rounds and of things in a round; volumes and ``stalled`` are in bytes.

    So are ``output`` and ``s3_volume``.
    """

    command_rounds: int = 15
    listed: int = 5000
    list_rounds: int = 15
    panel_rounds: int = 5
    launch_rounds: int = 9
    pod_rounds: int = 9
    pods_at_once: int = 30
    trip_rounds: int = 15
    pings: int = 500
    requests: int = 100
    transfer_rounds: int = 5
    volume: int = 1 << 30
    large_messages: int = 1000
    small_messages: int = 100_000
    output: int = 200_000_000
    runners: int = 20
    tunnel_rounds: int = 5
    tunnel_volume: int = 1 << 27
    first_bytes: int = 10
    stalled: int = 1 << 30
    stall_seconds: float = 3.0
    pod_runners: int = 50
    link_volume: int = 100_000_000
    outages: tuple[float, ...] = (3.0, 8.0, 20.0)
    s3_rounds: int = 5
    s3_volume: int = 1 << 27
    s3_listed: int = 1000
    s3_starts: int = 7


FULL = Sizes()
# Shows that everything runs.  The figures say nothing.
QUICK = Sizes(
    command_rounds=1,
    listed=20,
    list_rounds=1,
    panel_rounds=1,
    launch_rounds=1,
    pod_rounds=1,
    pods_at_once=3,
    trip_rounds=1,
    pings=50,
    requests=10,
    transfer_rounds=1,
    volume=1 << 22,
    large_messages=10,
    small_messages=1000,
    output=2_000_000,
    runners=2,
    tunnel_rounds=1,
    tunnel_volume=1 << 22,
    first_bytes=1,
    stalled=1 << 26,
    stall_seconds=0.5,
    pod_runners=2,
    link_volume=1_000_000,
    outages=(0.5,),
    s3_rounds=1,
    s3_volume=1 << 22,
    s3_listed=10,
    s3_starts=1,
)
