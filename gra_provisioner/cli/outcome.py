"""What ``gra run`` comes to: plain data, and the errors that only a run can end with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import ConfigError, GraError
from ..execution import TIMED_OUT
from .stopping import Stop

#: Why a run is ended whose time is over.
TIME_IS_OVER = Stop("its time is over", TIMED_OUT)


class CellFailed(GraError):
    """A cell of a notebook raised an error.  ``details`` has ``cell``, ``ename``, ``evalue``."""

    reason = "CellFailed"


class CellTimedOut(GraError):
    """A cell of a notebook took longer than it may."""

    reason = "CellTimedOut"


class RunTimedOut(GraError):
    """A run took longer than it may, its launch included."""

    reason = "RunTimedOut"
    exit_code = TIMED_OUT


class RunInterrupted(GraError):
    """A run was ended by a signal; its exit code is that of a shell."""

    reason = "RunInterrupted"


class LanguageMismatch(ConfigError):
    """The kernel of the profile is not of the notebook's language."""

    reason = "LanguageMismatch"


@dataclass(frozen=True)
class Cells:
    """The cells of a notebook that have code: all, those that were run, those that failed.

    ``failed`` has their numbers, from 1, as they are shown during the run.
    """

    total: int
    run: int = 0
    failed: tuple[int, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """How a run went.

    ``runner`` is empty if it never got a name, ``duration`` is in seconds and includes the launch.
    ``output`` is the notebook that was written, ``captured`` what is kept of a script's output.
    """

    runner: str
    exit_code: int
    duration: float
    error: GraError | None = None
    output: Path | None = None
    cells: Cells | None = None
    captured: Mapping[str, Any] = field(default_factory=dict)

    def public(self) -> dict[str, Any]:
        """As ``gra run --json`` prints it."""
        return {
            "runner": self.runner or None,
            "exit_code": self.exit_code,
            "duration": round(self.duration, 3),
            "output": None if self.output is None else str(self.output),
            "cells": None if self.cells is None else {**vars(self.cells)},
            "error": None if self.error is None else self.error.to_dict(),
            **self.captured,
        }


def stopped(stop: Stop, where: str) -> GraError:
    """The error for a run that was asked to end.  ``where``: ``in cell 3 of 12``."""
    if stop == TIME_IS_OVER:
        return RunTimedOut(
            f"The time of the run was over {where}.", hint="Give it more with --timeout."
        )
    return RunInterrupted(f"The run was ended {where}: {stop.why}.")
