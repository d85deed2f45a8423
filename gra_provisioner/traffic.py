"""Which way most of a connection's bytes go, and whether that has turned.  Pure."""

from __future__ import annotations

from collections.abc import Callable

# A look is taken after so many bytes.  Less is over before another way would have been opened.
_LOOK_EVERY = 8 << 20
# One way it goes where that has so many times the bytes of the other.
_CLEARLY = 4


class Traffic:
    """Counts what goes over a connection that is better for one of the two directions.

    ``mostly_sends`` says for which.  ``on_turn`` is called when most of what goes over it goes the
    other way, again and again as long as that is so.
    """

    def __init__(self, *, mostly_sends: bool) -> None:
        self.mostly_sends = mostly_sends
        self.on_turn: Callable[[], None] = lambda: None
        self._sent = 0
        self._received = 0

    def sent(self, size: int) -> None:
        """So many bytes were written."""
        self._sent += size
        if self._sent + self._received >= _LOOK_EVERY:
            self._look()

    def received(self, size: int) -> None:
        """So many bytes have come."""
        self._received += size
        if self._sent + self._received >= _LOOK_EVERY:
            self._look()

    def _look(self) -> None:
        sent, self._sent = self._sent, 0
        received, self._received = self._received, 0
        more, less = (received, sent) if self.mostly_sends else (sent, received)
        if more > _CLEARLY * less:
            self.on_turn()
