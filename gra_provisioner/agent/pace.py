"""How fast the other end takes a stream, and so how much of it may be on its way.  Does no I/O.

On a slow link all that the window allows (4 MiB: half a minute at 1 Mbit/s) would lie in the
buffers along the way, and whatever else is said, an answer to an interrupt or a sign of life, would
have to wait behind it.  So a stream may have as much on its way as the other end takes within the
round trip and a moment more, as in BBR (https://queue.acm.org/detail.cfm?id=3022184): the link is
always busy, and never full.
"""

from __future__ import annotations

from typing import Optional

# What may be on its way before anything is known, and always.
FIRST = 1 << 18
_LEAST = 1 << 16
# How much longer than the round trip the way may be by what lies on it.
_QUEUE_SECONDS = 0.4
# Over how long the rate is taken at least, and no less than a round trip: acknowledgements come in
# bursts.
_SAMPLE_SECONDS = 0.1


class RoundTrip:
    """The shortest time from sending to acknowledgement that one link has seen, in seconds."""

    __slots__ = ("seconds",)

    def __init__(self) -> None:
        self.seconds: Optional[float] = None

    def seen(self, seconds: float) -> None:
        """Something took so long."""
        if self.seconds is None or seconds < self.seconds:
            self.seconds = seconds


class Pace:
    """One stream's rate and allowance."""

    __slots__ = ("_probe", "_probe_sent", "_sample_at", "_sample_from", "allowance", "rate")

    def __init__(self) -> None:
        # Bytes a second while more waited; 0 if nothing ever did.
        self.rate = 0.0
        # How many bytes may be sent beyond what is acknowledged.
        self.allowance = FIRST
        self._sample_at: Optional[float] = None
        self._sample_from = 0
        self._probe: Optional[int] = None
        self._probe_sent = 0.0

    def new_link(self) -> None:
        """What was being measured went with the last link."""
        self._sample_at = self._probe = None

    @property
    def probing(self) -> bool:
        """Whether the round trip is being measured."""
        return self._probe is not None

    def sent(self, offset: int, now: float) -> None:
        """All before ``offset`` has been sent, the last of it at this moment."""
        if self._probe is None:
            self._probe, self._probe_sent = offset, now

    def acknowledged(
        self, offset: int, count: int, now: float, more: bool, round_trip: RoundTrip, most: int
    ) -> None:
        """The other end has taken ``count`` more bytes, all before ``offset``.

        ``more``: whether others wait to be sent.  ``most``: the other end's window.
        """
        if self._probe is not None and offset >= self._probe:
            round_trip.seen(now - self._probe_sent)
            self._probe = None
        if not more:
            self._sample_at = None
            return
        fastest = round_trip.seconds or 0.0
        if self._sample_at is None:
            self._sample_at, self._sample_from = now, offset
        elif now - self._sample_at >= max(_SAMPLE_SECONDS, fastest):
            self.rate = (offset - self._sample_from) / (now - self._sample_at)
            self._sample_at, self._sample_from = now, offset
        self.allowance = min(self.allowance + count, most)
        if self.rate:
            enough = max(int(self.rate * (fastest + _QUEUE_SECONDS)), _LEAST)
            self.allowance = min(self.allowance, enough)
