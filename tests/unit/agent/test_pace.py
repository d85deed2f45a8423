"""How much of a stream is on its way: enough that the link is busy, not so much that it is full."""

from __future__ import annotations

import heapq

import pytest

from gra_provisioner.agent.pace import FIRST, Pace, RoundTrip

WINDOW = 4 << 20
# As acknowledgements are sent: for so many bytes, or after so long.
ACK_EVERY, ACK_WITHIN = 1 << 18, 0.05


class SlowLink:
    """A simulated link of ``rate`` bytes a second and a one-way delay, and its sender."""

    def __init__(self, rate: float, delay: float) -> None:
        self.rate, self.delay = rate, delay
        self.now = 0.0
        self.pace, self.round_trip = Pace(), RoundTrip()
        self.sent = self.acked = 0
        # When the link has carried all that was put onto it.
        self._free = 0.0
        self._acks: list[tuple[float, int]] = []
        self._ack_due = 0.0

    def run(self, seconds: float) -> None:
        """Send as much as is allowed for so long."""
        until = self.now + seconds
        while True:
            while self.sent - self.acked < min(self.pace.allowance, WINDOW):
                size = min(1 << 14, min(self.pace.allowance, WINDOW) - self.sent + self.acked)
                self.sent += size
                if not self.pace.probing:
                    self.pace.sent(self.sent, self.now)
                self._free = max(self._free, self.now) + size / self.rate
                heapq.heappush(self._acks, (self._free + 2 * self.delay + ACK_WITHIN, self.sent))
            at, offset = self._acks[0]
            if at > until:
                self.now = until
                return
            heapq.heappop(self._acks)
            self.now = at
            count = offset - self.acked
            self.acked = offset
            self.pace.acknowledged(offset, count, at, True, self.round_trip, WINDOW)

    @property
    def queue(self) -> float:
        """Seconds that something sent now would wait for the link."""
        return max(0.0, self._free - self.now)


@pytest.mark.parametrize("delay", [0.0002, 0.02, 0.1, 0.3])
@pytest.mark.parametrize("megabits", [1, 10, 50, 200])
def test_a_slow_link_is_always_busy_and_never_full(megabits: float, delay: float) -> None:
    rate = megabits * 1e6 / 8
    link = SlowLink(rate, delay)
    link.run(5)
    before = link.acked
    link.run(20)

    possible = min(rate, WINDOW / (2 * delay + ACK_WITHIN))
    assert link.acked - before > 0.9 * 20 * possible
    # At 1 Mbit/s what is always allowed takes half a second more.
    assert link.queue < 1.2


def test_a_fast_link_gets_the_whole_window_at_once() -> None:
    link = SlowLink(1e9, 0.0002)
    link.run(1)

    assert link.pace.allowance == WINDOW


def test_a_link_that_becomes_slow_is_no_longer_filled() -> None:
    link = SlowLink(1e8, 0.02)
    link.run(2)
    link.rate = 125_000.0
    link.run(60)

    assert link.queue < 1.2


def test_a_link_that_becomes_fast_is_used() -> None:
    link = SlowLink(125_000.0, 0.02)
    link.run(10)
    link.rate = 2e7
    link.run(5)
    before = link.acked
    link.run(5)

    assert link.acked - before > 0.9 * 5 * 2e7


def test_what_needs_not_wait_says_nothing_of_the_rate() -> None:
    pace, round_trip = Pace(), RoundTrip()
    for second in range(100):
        pace.sent((second + 1) * 100, float(second))
        pace.acknowledged((second + 1) * 100, 100, second + 0.1, False, round_trip, WINDOW)

    assert pace.rate == 0.0
    assert pace.allowance == FIRST
    assert round_trip.seconds == pytest.approx(0.1)


def test_an_outage_says_nothing_of_the_rate() -> None:
    link = SlowLink(6e6, 0.02)
    link.run(5)
    rate = link.pace.rate
    link.pace.new_link()
    link.now += 60
    link.run(0.2)

    assert link.pace.rate > rate / 3
