"""A link: one connection that carries a session for as long as it lasts.  Both ends use it.

The link feeds the session with what arrives, writes what the session has to say whenever the
transport takes it, and asks for a sign of life where none comes by itself.  What arrives says only
that one direction works; that both do is shown by an answer, or by data, which stops soon where
nothing is acknowledged.
"""

from __future__ import annotations

import asyncio
import math
import socket
import time
from typing import Any, Callable, Dict, Optional, cast

from . import wire
from .buffer import Piece
from .session import Session

# Written to the transport at a time, and what may wait in it: enough to keep the kernel's socket
# buffers full, little enough that a control message never waits behind much output.
_BUDGET = 1 << 18
_HIGH = 1 << 18
_LOW = 1 << 16
_SOCKET_BUFFER = 1 << 19
# What is consumed is acknowledged within so many seconds, however little it is.  About what TCP
# waits (RFC 1122, 4.2.3.2: less than 0.5 s).
ACK_WITHIN = 0.05
# A timer that is later than this was not late: the process, or the machine, was asleep.
_ASLEEP = 5.0
# A payload up to this is put behind its header before it is written.
_JOIN = 1 << 12


class Link(asyncio.Protocol):
    """Carries a :class:`~.session.Session` over one transport.

    ``on_greeting(link, kind, value)`` is called once with the peer's HELLO or REJECT and answers
    with the session to carry, or None to go no further.  ``on_lost(link, error)`` is called
    once, when the transport is closed for whatever reason; ``error`` is None for a plain end.

    After ``ping_every`` seconds in which nothing proved that both directions work, the peer is
    asked; after ``patience`` seconds the link is given up.  After ``suspicion`` seconds,
    ``on_suspect(link)`` is called, and :attr:`suspect` is true until there is a proof.
    """

    def __init__(
        self,
        on_greeting: Callable[[Link, int, Dict[str, Any]], Optional[Session]],
        on_lost: Callable[[Link, Optional[Exception]], None],
        ping_every: float = 5.0,
        patience: float = 10.0,
        suspicion: float = math.inf,
        on_suspect: Callable[[Link], None] = lambda link: None,
    ) -> None:
        self.session: Optional[Session] = None
        self.suspect = False
        self.ping_every = ping_every
        self.patience = patience
        self.suspicion = suspicion
        self._on_suspect = on_suspect
        self._on_greeting = on_greeting
        self._on_lost = on_lost
        self._greeting: Optional[wire.Greeting] = wire.Greeting()
        self._transport: Optional[asyncio.Transport] = None
        self._paused = False
        self._corked = False
        # When there was a proof last (monotonic), and how many the session had counted by then.
        self._proved = 0.0
        self._proofs = 0
        self._looked = 0.0
        self._timer: Optional[asyncio.TimerHandle] = None
        self._ack_timer: Optional[asyncio.TimerHandle] = None
        self._error: Optional[Exception] = None

    def send_greeting(self, kind: int, value: Dict[str, Any]) -> None:
        """Write the preface and a HELLO or REJECT."""
        if self._transport is not None:
            self._transport.write(wire.PREFACE + wire.pack_json(kind, value))

    def say_bye(self) -> None:
        """Write the answer to a BYE: nothing else follows, whatever waits."""
        if self._transport is not None:
            self._transport.write(wire.pack(wire.BYE))

    def flush(self) -> None:
        """Write what the session has, as far as the transport takes it."""
        session, transport = self.session, self._transport
        if self._corked or session is None or transport is None or session.quiet:
            return
        while not self._paused:
            pieces = session.pull(_BUDGET)
            if not pieces:
                return
            if len(pieces) == 1:
                transport.write(pieces[0])
            else:
                transport.writelines(pieces)

    def send_now(self, header: bytes, data: Piece) -> bool:
        """Write one frame at once.  False, and nothing is written, if others wait."""
        transport = self._transport
        if self._paused or self._corked or transport is None:
            return False
        if len(data) <= _JOIN:
            transport.write(header + data)
        else:
            transport.writelines((header, data))
        return True

    def acknowledge_soon(self) -> None:
        """See :attr:`.session.Session.acknowledge_soon`."""
        loop = asyncio.get_running_loop()
        self._ack_timer = loop.call_later(ACK_WITHIN, self._acknowledge)

    def _acknowledge(self) -> None:
        if self.session is not None:
            self.session.acknowledge()

    def close(self, error: Optional[Exception] = None) -> None:
        """End the link after what is written has gone out; ``on_lost`` is told ``error``."""
        self._error = self._error or error
        if self._transport is not None:
            self._transport.close()

    def abort(self, error: Optional[Exception] = None) -> None:
        """End the link at once; ``on_lost`` is told ``error``."""
        self._error = self._error or error
        if self._transport is not None:
            self._transport.abort()

    def retire(self) -> None:
        """End the link at once, as another one carries its session from now on."""
        self.session = None
        self.abort()

    # -- asyncio.Protocol -------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See :class:`asyncio.Protocol`."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=_HIGH, low=_LOW)
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family == socket.AF_UNIX:
            # With Linux's default of 208 KiB every full frame goes in two pieces, each with a turn
            # of the event loop at both ends.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER)
        self._proved = time.monotonic()
        self._schedule()

    def data_received(self, data: bytes) -> None:
        """See :class:`asyncio.Protocol`."""
        self._corked = True
        try:
            if self._greeting is not None:
                data = self._greet(self._greeting, data)
            session = self.session
            if session is not None and data:
                session.receive(data)
        except wire.WireError as error:
            self.abort(error)
            return
        finally:
            self._corked = False
        if self.suspect:
            self._look_for_proofs()
        if session is not None and not session.quiet:
            self.flush()
            if self._paused and session.congested:
                # A peer that asks and never reads the answers must not fill the memory.
                self._set_reading(False)

    def _greet(self, greeting: wire.Greeting, data: bytes) -> bytes:
        greeted = greeting.feed(data)
        if greeted is None:
            return b""
        self._greeting = None
        kind, value, rest = greeted
        self.session = self._on_greeting(self, kind, value)
        return rest

    def pause_writing(self) -> None:
        """See :class:`asyncio.Protocol`."""
        self._paused = True

    def resume_writing(self) -> None:
        """See :class:`asyncio.Protocol`."""
        self._paused = False
        self._set_reading(True)
        self.flush()

    def connection_lost(self, exc: Optional[Exception]) -> None:
        """See :class:`asyncio.Protocol`."""
        for timer in (self._timer, self._ack_timer):
            if timer is not None:
                timer.cancel()
        self._transport = None
        self.session = None
        self._on_lost(self, self._error or exc)

    def _set_reading(self, reads: bool) -> None:
        if self._transport is not None and not self._transport.is_closing():
            if reads:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    # -- signs of life ----------------------------------------------------------------------

    def _schedule(self) -> None:
        self._looked = time.time()
        # Twice as often as needed, so that the peer is asked in time.
        self._timer = asyncio.get_running_loop().call_later(self.ping_every / 2, self._check)

    def _look_for_proofs(self) -> None:
        if self.session is not None and self.session.proofs != self._proofs:
            self._proofs = self.session.proofs
            self._proved = time.monotonic()
            self.suspect = False

    def _check(self) -> None:
        self._look_for_proofs()
        now = time.monotonic()
        # By the wall clock, which goes on while a laptop sleeps.
        if time.time() - self._looked > self.ping_every / 2 + _ASLEEP:
            # What came meanwhile is yet to be read.  If it is not soon, the link is dead.
            self._proved = now - max(0.0, min(self.patience, self.suspicion) - self.ping_every / 2)
        silent = now - self._proved
        if silent > self.patience:
            self.abort(TimeoutError(f"no answer from the peer for {silent:.0f} s"))
            return
        if self.session is not None and silent >= self.ping_every:
            self.session.ping(0)
        if silent > self.suspicion and not self.suspect:
            self.suspect = True
            self._on_suspect(self)
        self._schedule()
