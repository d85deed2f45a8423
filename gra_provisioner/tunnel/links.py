"""The links of one tunnel: dialled one after another, and beside one that no longer answers."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Protocol, TypeGuard

from .. import __version__
from ..agent import wire
from ..agent.link import Link
from ..agent.session import Session
from ..errors import (
    BackendError,
    GraError,
    ProtocolMismatch,
    RunnerEnded,
    RunnerNotFound,
    SessionLost,
    Unreachable,
    from_wire,
)

log = logging.getLogger(__name__)


class Dial(Protocol):
    """See :meth:`gra_provisioner.backends.base.Backend.dial`.

    That it is for what is mostly sent is said only to who offers a choice: whose connections
    count their traffic.
    """

    def __call__(
        self, factory: Callable[[], asyncio.Protocol], /, *, mostly_sends: bool = ...
    ) -> Awaitable[asyncio.Transport]:
        """A new connection."""
        ...


# A client asks for a sign of life after so long without one, dials beside a link that has given
# none for so long, and gives it up after so long.  Below a suspicion of 6 s, TCP's own repetition
# (after 0.2, 0.6, 1.4, 3 and 6.2 s) is as quick.
_PING_EVERY = 2.0
_SUSPICION = 6.0
_PATIENCE = 10.0
# An agent that accepted the connection greets within this time or is not well.
_GREET_WITHIN = 10.0
_FIRST_DELAY = 0.05
_LONGEST_DELAY = 1.0
# An attempt that hangs may do so because of what was lost on its way before the network came back,
# and TCP repeats that only after a while.  So another one is made beside it, some at a time.
_BESIDE_AFTER = 0.8
_MOST_ATTEMPTS = 4
# How long an agent that was told of the end may take to close the link: it is one round trip.
_LEAVE_WITHIN = 1.0
# A link that lasted for so long was a good one: after it, the pauses are short again.
_STEADY = 1.0
# How soon after a link for the other direction was dialled the next may be, and if that failed.
_TURN_AGAIN_AFTER = 2.0
_TURN_FAILED_AGAIN_AFTER = 30.0


class Links:
    """Keeps a session linked for as long as its runner exists.

    ``new_session`` makes the session, and another one if the agent no longer has the first; then
    ``on_session_lost`` is told why, before.  A link that gives no sign of life is not given up at
    once: others are tried beside it, and the first that greets takes its place.  So does one that
    is better for the direction in which most bytes have come to go.
    """

    def __init__(
        self,
        dial: Dial,
        new_session: Callable[[], Session],
        on_session_lost: Callable[[SessionLost], None],
        *,
        observer: bool = False,
        keep: float | None = None,
    ) -> None:
        self.session = new_session()
        # Set while there is a link.
        self.linked = asyncio.Event()
        # What the agent says of itself.
        self.agent: dict[str, Any] = {}
        # What stood in the way last.
        self.trouble = ""
        self._dial = dial
        self._new_session = new_session
        self._on_session_lost = on_session_lost
        self._observer = observer
        self._keep = keep
        # Whether the agent has ever answered this session.
        self._resumes = False
        self._link: Link | None = None
        self._since = 0.0
        self._delay = _FIRST_DELAY
        self._next = 0.0
        self._mostly_sends = False
        # Whether a link for the other direction is wanted, or being dialled.
        self._turning = False
        self._turns_from = 0.0
        self._attempts: list[asyncio.Task[None]] = []
        # Those that were given up and have yet to end.
        self._leaving: set[asyncio.Task[None]] = set()
        self._closed = False
        self._changed: asyncio.Future[None] | None = None
        # Done when the agent has answered a BYE, or closed the link.
        self._left: asyncio.Future[None] | None = None

    async def leave(self) -> None:
        """Tell the agent that the session is over, and wait until it has answered.

        Called once :meth:`keep` has ended.  The link is read until then: a connection that is
        closed with something unread in it is reset, and the agent might never read the BYE, and
        keep all that was started here.  One that does not answer is not waited for.  An older agent
        does not answer, but closes the link.
        """
        link = self._link
        if link is None:
            return
        self._left = asyncio.get_running_loop().create_future()
        self.session.on_bye = self._on_bye
        try:
            self.session.bye()
            if not link.suspect:
                await asyncio.wait((self._left,), timeout=_LEAVE_WITHIN)
        finally:
            link.close()

    def drop(self, error: Exception) -> None:
        """Cut the link as a network failure would."""
        if self._link is not None:
            self._link.abort(error)

    async def keep(self) -> GraError:
        """Dial whenever there is no link that answers.  Returns what has ended that for good."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                self._changed = loop.create_future()
                if self._link is not None and not self._link.suspect:
                    self._attempt_turn() if self._turning else self._give_up_attempts()
                elif loop.time() >= self._next:
                    self._start_attempt()
                waiting = self._link is None or self._link.suspect
                timeout = max(0.0, self._next - loop.time()) if waiting else None
                await asyncio.wait(
                    [*self._attempts, self._changed],
                    timeout=None if timeout == float("inf") else timeout,
                    return_when="FIRST_COMPLETED",
                )
                final = self._collect()
                if final is not None:
                    return final
        finally:
            self._closed = True
            self.linked.clear()
            self._give_up_attempts()
            if self._leaving:
                await asyncio.wait(self._leaving)

    # -- attempts ---------------------------------------------------------------------------

    def _start_attempt(self) -> None:
        if len(self._attempts) >= _MOST_ATTEMPTS:
            # Not the oldest: an agent that is slow to answer is to be waited for as well.
            self._give_up(self._attempts.pop(1))
        self._attempts.append(asyncio.create_task(self._attempt(), name="gra dial"))
        # The first of all is waited for: a runner that is just starting has enough to do.
        beside = _BESIDE_AFTER if self._resumes else float("inf")
        self._next = asyncio.get_running_loop().time() + _jittered(beside)

    def _attempt_turn(self) -> None:
        """Dial for the other direction, once; one that fails changes nothing."""
        if not self._attempts:
            self._mostly_sends = not self._mostly_sends
            self._turns_from = asyncio.get_running_loop().time() + _TURN_AGAIN_AFTER
            self._start_attempt()

    def _give_up_attempts(self) -> None:
        attempts, self._attempts = self._attempts, []
        self._turning = False
        for attempt in attempts:
            self._give_up(attempt)
        if attempts:
            self._next = 0.0

    def _give_up(self, attempt: asyncio.Task[None]) -> None:
        def ended(attempt: asyncio.Task[None]) -> None:
            self._leaving.discard(attempt)
            if not attempt.cancelled() and attempt.exception() is not None:
                log.debug("an attempt that was given up failed", exc_info=attempt.exception())

        self._leaving.add(attempt)
        attempt.add_done_callback(ended)
        attempt.cancel()

    def _collect(self) -> GraError | None:
        """Take note of the attempts that have ended; what is final."""
        done = [attempt for attempt in self._attempts if attempt.done()]
        for attempt in done:
            self._attempts.remove(attempt)
            turned, self._turning = self._turning, False
            error = None if attempt.cancelled() else attempt.exception()
            if error is None:
                continue
            if turned:
                self._turns_from = asyncio.get_running_loop().time() + _TURN_FAILED_AGAIN_AFTER
            if not isinstance(error, (GraError, OSError)):
                raise error
            if self._link is not None and not self._link.suspect:
                # Another attempt was quicker.
                continue
            if isinstance(error, SessionLost):
                self._start_over(error)
                break
            if _is_final(error, resumes=self._resumes):
                return error
            self._note(error.message if isinstance(error, GraError) else str(error))
            self._pause()
        return None

    def _pause(self) -> None:
        # Many clients whose cluster comes back must not all knock at once.
        pause = asyncio.get_running_loop().time() + _jittered(self._delay)
        # Others that hang do not put the next off.
        self._next = min(self._next, pause) if self._attempts else pause
        self._delay = min(self._delay * 1.6, _LONGEST_DELAY)

    def _note(self, trouble: str) -> None:
        if self.trouble != trouble:
            log.debug("cannot reach the runner: %s", trouble)
        self.trouble = trouble

    def _start_over(self, error: SessionLost) -> None:
        log.warning("%s Output of the time in between is lost.", error.message)
        self._give_up_attempts()
        if self._link is not None:
            self._link.retire()
            self._link = None
            self.linked.clear()
        self._resumes = False
        self._on_session_lost(error)
        self.session = self._new_session()
        self._pause()

    async def _attempt(self) -> None:
        """Dial and greet."""
        loop = asyncio.get_running_loop()
        session = self.session
        greeted: asyncio.Future[None] = loop.create_future()
        # Whoever waits for the greeting may be cancelled; then nobody needs to hear of a failure.
        greeted.add_done_callback(lambda done: done.cancelled() or done.exception())
        epoch = 0

        def on_greeting(link: Link, kind: int, value: dict[str, Any]) -> Session | None:
            if greeted.done() or self._closed or session is not self.session:
                return None
            if kind == wire.REJECT:
                greeted.set_exception(_rejection(value, stale=epoch != session.epoch))
                return None
            self._adopt(link, value)
            greeted.set_result(None)
            return session

        def on_lost(link: Link, error: Exception | None) -> None:
            if not greeted.done():
                greeted.set_exception(_greeting_error(error))
            if self._link is link:
                self._on_link_lost(error)

        link = Link(
            on_greeting,
            on_lost,
            ping_every=_PING_EVERY,
            patience=_PATIENCE,
            suspicion=_SUSPICION,
            on_suspect=self._on_suspect,
        )
        try:
            # Only those who offer a choice are asked for one.
            choice = {"mostly_sends": True} if self._mostly_sends else {}
            transport = await self._dial(lambda: link, **choice)
            traffic = transport.get_extra_info("traffic")
            if traffic is not None:
                traffic.on_turn = partial(self._turn, link)
            session.epoch += 1
            epoch = session.epoch
            link.send_greeting(wire.HELLO, self._hello())
            # Not wait_for, which before Python 3.12 may lose a cancellation (gh-86296).
            await asyncio.wait((greeted,), timeout=_GREET_WITHIN)
            if not greeted.done():
                raise Unreachable(f"the agent did not greet within {_GREET_WITHIN:g} s")
            greeted.result()
        finally:
            if self._link is not link:
                greeted.cancel()
                link.abort()

    def _hello(self) -> dict[str, Any]:
        keep = {} if self._keep is None else {"keep": self._keep}
        return {
            **self.session.hello(),
            **keep,
            "client": f"gra {__version__}",
            "observer": self._observer,
            "resumes": self._resumes,
            # A runner's name can be used again, by a runner that is none of ours.
            "agent": self.agent.get("uid"),
        }

    # -- the link ---------------------------------------------------------------------------

    def _adopt(self, link: Link, value: dict[str, Any]) -> None:
        """The agent has greeted on ``link``: it carries the session from now on."""
        session = self.session
        old, self._link = self._link, None
        if old is not None:
            old.retire()
            session.link_down()
        self.agent = dict(value.get("agent") or {})
        session.on_output = link.flush
        session.send_now = link.send_now
        session.acknowledge_soon = link.acknowledge_soon
        try:
            session.link_up(value)
        except wire.WireError:
            self.linked.clear()
            raise
        self._link = link
        self._resumes = True
        self._since = asyncio.get_running_loop().time()
        self.linked.set()
        self._wake()

    def _on_link_lost(self, error: Exception | None) -> None:
        self.trouble = f"the link was lost ({error or 'closed by the runner'})"
        self._link = None
        self.session.link_down()
        self.linked.clear()
        self._on_bye()
        if asyncio.get_running_loop().time() - self._since > _STEADY:
            self._delay = _FIRST_DELAY
        self._pause()
        self._wake()

    def _on_bye(self) -> None:
        """The agent knows that this client leaves."""
        if self._left is not None and not self._left.done():
            self._left.set_result(None)

    def _on_suspect(self, link: Link) -> None:
        if self._link is link:
            log.debug("the runner gives no sign of life")
            self._next = 0.0
            self._wake()

    def _turn(self, link: Link) -> None:
        """Most of what goes over the link goes the way that it is not so good for."""
        is_time = asyncio.get_running_loop().time() >= self._turns_from
        if self._link is link and not self._turning and is_time:
            self._turning = True
            self._wake()

    def _wake(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)


def _jittered(seconds: float) -> float:
    return seconds * random.uniform(1.0, 1.5)  # noqa: S311


def _is_final(error: Exception, *, resumes: bool) -> TypeGuard[GraError]:
    """Whether it is no use to dial again.

    Once a link has come up, what is refused (a right, expired credentials) may be mended while a
    kernel runs; where none ever has, it is told at once.
    """
    if isinstance(error, (RunnerEnded, RunnerNotFound, ProtocolMismatch)):
        return True
    return not resumes and isinstance(error, BackendError) and not isinstance(error, Unreachable)


def _rejection(value: Mapping[str, Any], *, stale: bool) -> GraError:
    error = from_wire(value)
    if isinstance(error, SessionLost | ProtocolMismatch | RunnerNotFound):
        return error
    if error.code == "SessionTaken" and stale:
        # By a later attempt of this process.
        return Unreachable(error.message)
    return ProtocolMismatch(error.message, hint=error.hint, reason=error.code)


def _greeting_error(error: Exception | None) -> GraError:
    if isinstance(error, wire.WireError):
        return ProtocolMismatch(
            f"What answered is no agent of gra: {error}.",
            hint="Something else listens where the runner's agent should.",
        )
    return Unreachable(f"the link was lost while greeting ({error or 'closed by the runner'})")
