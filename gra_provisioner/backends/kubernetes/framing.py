"""How a byte stream lies in a websocket's messages: what :mod:`.channels` and :mod:`.spdy` are."""

from __future__ import annotations

from typing import Protocol


class Framing(Protocol):
    """How one byte stream lies in a websocket's messages.  Does no I/O; made for one websocket."""

    # Whether it matters where messages end.
    needs_ends: bool

    def opening(self) -> bytes:
        """The first message; empty if there is none."""

    def header(self, size: int) -> bytes:
        """What stands before ``size`` bytes of the stream in a message of their own."""

    def receive(self, message: memoryview, is_last: bool, user: FramingUser) -> None:
        """Take a message, or a part of one; ``is_last``: its last part."""


class FramingUser(Protocol):
    """Who is told what :meth:`Framing.receive` finds."""

    def on_data(self, data: memoryview) -> None:
        """Bytes of the stream, valid during the call."""

    def on_trouble(self, text: str) -> None:
        """The other end says what is wrong.  It closes next."""

    def on_end(self) -> None:
        """No more will come."""

    def send(self, message: bytes) -> None:
        """To be sent as it is."""
