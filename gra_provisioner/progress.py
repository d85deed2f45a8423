"""How a launch goes: its phases with their times, for everyone who wants to know.

Whoever starts a runner makes a :class:`LaunchProgress`, hands it down as the ``on_phase`` callback
and launches inside its ``with`` block.  Observers (the log, a line on a terminal, Jupyter's events)
then learn of each phase as it begins and of the end, and a failure carries the phases along.

Nothing here does I/O; times are seconds.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from .errors import GraError

if TYPE_CHECKING:
    from typing_extensions import Self

# The phase with which a launch is over.  It takes no time, so it is no part of the timings.
READY = "ready"

READY_STATE = "ready"
FAILED_STATE = "failed"
CANCELLED_STATE = "cancelled"

# Messages of a phase begin with the runner that they are about: "runner-3: pulling …".
_RUNNER = re.compile(r"(?P<name>runner-\d+): ", re.ASCII)


@dataclass(frozen=True)
class PhaseTime:
    """One phase of a launch: how long it took, and the last thing that was said in it."""

    phase: str
    seconds: float
    message: str

    def public(self) -> dict[str, Any]:
        """The phase as JSON types, as in an error's ``details["phases"]``."""
        return {"phase": self.phase, "seconds": round(self.seconds, 3), "message": self.message}


@dataclass(frozen=True)
class LaunchEnd:
    """How a launch ended.

    ``state`` is ``ready``, ``failed`` or ``cancelled``, ``phase`` where it was then.  ``reason``,
    ``message`` and ``hint`` are those of the error that it failed with, else empty.  ``runner`` is
    empty if it never got a name, ``runner_uid`` if that is not known.  ``events`` (see
    :class:`~.runner.RunnerEvent`) and ``log``, lines, are what was known of a failure.
    """

    state: str
    runner: str
    phase: str
    seconds: float
    phases: Sequence[PhaseTime]
    reason: str = ""
    message: str = ""
    hint: str = ""
    runner_uid: str = ""
    events: Sequence[Mapping[str, Any]] = ()
    log: Sequence[str] = ()

    @property
    def summary(self) -> str:
        """``runner-3 ready in 2.1 s (pulling 1.2, starting 0.4, kernel 0.5)``."""
        by_phase: dict[str, float] = {}
        for timing in self.phases:
            by_phase[timing.phase] = by_phase.get(timing.phase, 0.0) + timing.seconds
        parts = ", ".join(f"{phase} {seconds:.1f}" for phase, seconds in by_phase.items())
        text = f"{self.runner or 'the runner'} {self.state} in {self.seconds:.1f} s"
        return f"{text} ({parts})" if parts else text


class LaunchObserver(Protocol):
    """Someone who is told how a launch goes, on the thread that it runs on.

    An observer that cannot do its work must not fail the launch: it deals with that itself.
    """

    def on_phase(self, phase: str, message: str, runner: str = "") -> None:
        """A phase has begun, or has something new to say.  ``runner`` is its name, once known."""

    def on_end(self, end: LaunchEnd) -> None:
        """The launch is over.  Called once, last."""


class LogObserver:
    """Writes each phase to one logger and the summary of a launch that went well to another."""

    def __init__(
        self,
        phases: logging.Logger,
        summary: logging.Logger | logging.LoggerAdapter[Any] | None = None,
    ) -> None:
        self._phases = phases
        self._summary = summary or phases

    def on_phase(self, phase: str, message: str, runner: str = "") -> None:
        """See :class:`LaunchObserver`."""
        self._phases.info("%s", message)

    def on_end(self, end: LaunchEnd) -> None:
        """See :class:`LaunchObserver`.  A failure is told by whoever catches the error."""
        if end.state == READY_STATE:
            self._summary.info("%s", end.summary)


class LaunchProgress:
    """Records the phases of one launch and passes them on to ``observers``.

    It is a :data:`~gra_provisioner.backends.base.PhaseCallback` and a context manager: the launch
    begins with the ``with`` block and is over when that is left.  A
    :class:`~gra_provisioner.errors.GraError` that leaves it after the first phase has begun gets
    ``details["phases"]`` (see :meth:`timings`) and ``details["phase"]``, where it happened.

    A phase that is told again goes on and only changes its message.
    """

    def __init__(
        self, observers: Sequence[LaunchObserver] = (), clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._observers = tuple(observers)
        self._clock = clock
        self._begun = clock()
        self._ended: float | None = None
        # (phase, when it began, its last message), oldest first.
        self._phases: list[tuple[str, float, str]] = []
        self.runner = ""
        # Set by whoever makes the runner.
        self.runner_uid = ""

    def __call__(self, phase: str, message: str) -> None:
        """Take note of a phase and pass it on."""
        match = _RUNNER.match(message)
        if match:
            self.runner = match["name"]
        if self._phases and self._phases[-1][0] == phase:
            _, since, before = self._phases[-1]
            if message == before:
                return
            self._phases[-1] = (phase, since, message)
        else:
            self._phases.append((phase, self._clock(), message))
        for observer in self._observers:
            observer.on_phase(phase, message, self.runner)

    def __enter__(self) -> Self:
        """The launch begins."""
        self._begun = self._clock()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """The launch is over: it went well, failed, or was cancelled (not an ``Exception``)."""
        self._ended = self._clock()
        if isinstance(error, GraError) and self._phases:
            error.details.update(phases=self.timings(), phase=self.phase)
        end = self._end(error)
        for observer in self._observers:
            observer.on_end(end)

    @property
    def phase(self) -> str:
        """The phase that it is in, empty before the first."""
        return self._phases[-1][0] if self._phases else ""

    def times(self) -> list[PhaseTime]:
        """The phases in order; the last one lasts until now, or until the end."""
        now = self._clock() if self._ended is None else self._ended
        phases = self._phases
        if phases and phases[-1][0] == READY:
            now = phases[-1][1]
            phases = phases[:-1]
        ends = [*(since for _, since, _ in phases[1:]), now]
        return [
            PhaseTime(phase, end - since, message)
            for (phase, since, message), end in zip(phases, ends, strict=False)
        ]

    def timings(self) -> list[dict[str, Any]]:
        """The phases as JSON: ``[{"phase", "seconds", "message"}]``."""
        return [timing.public() for timing in self.times()]

    def _end(self, error: BaseException | None) -> LaunchEnd:
        reason = message = hint = ""
        state = READY_STATE
        details = error.details if isinstance(error, GraError) else {}
        if isinstance(error, GraError):
            state, reason, message, hint = FAILED_STATE, error.code, error.message, error.hint
        elif isinstance(error, Exception):
            # A fault of ours.  Its text may hold anything.
            state, reason = FAILED_STATE, "InternalError"
            message = f"The launch failed with {type(error).__name__}; the log has the traceback."
        elif error is not None:
            state = CANCELLED_STATE
        seconds = (self._clock() if self._ended is None else self._ended) - self._begun
        return LaunchEnd(
            state,
            self.runner,
            self.phase,
            seconds,
            self.times(),
            reason,
            message,
            hint,
            self.runner_uid or str(details.get("runner_uid") or ""),
            details.get("events") or (),
            # A kernel's last lines, where it was the kernel that did not start.
            details.get("log") or details.get("stderr") or (),
        )
