"""What ``gra doctor`` finds: plain data, and what follows from it.

A *check* is a function, most often of a backend, that gives some :class:`Finding`.  Nothing here
does I/O.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass

from .errors import GraError


class FindingStatus(str, enum.Enum):
    """How good a finding is."""

    OK = "ok"
    # Something cannot be used, or is not known, that nobody has asked for.
    WARNING = "warning"
    # What was asked for does not work.
    FAILURE = "failure"


@dataclass(frozen=True)
class Finding:
    """One line of a diagnosis.

    ``name`` says what was looked at and stays the same between versions (``s3-sidecar``);
    ``reason`` is that of an error (:mod:`gra_provisioner.errors`) where there is one.
    """

    name: str
    status: FindingStatus
    message: str
    hint: str = ""
    reason: str = ""

    def public(self) -> dict[str, str]:
        """As JSON types."""
        return {**vars(self), "status": self.status.value}


def good(name: str, message: str, hint: str = "") -> Finding:
    """What works, or is as it should be."""
    return Finding(name, FindingStatus.OK, message, hint)


def bad(name: str, message: str, hint: str = "", *, wanted: bool = True) -> Finding:
    """What does not work: a failure if it is ``wanted``, else a warning."""
    status = FindingStatus.FAILURE if wanted else FindingStatus.WARNING
    return Finding(name, status, message, hint)


def of_error(name: str, error: GraError, *, wanted: bool = True) -> Finding:
    """An error as a finding."""
    found = bad(name, error.message, error.hint, wanted=wanted)
    return Finding(name, found.status, error.message, error.hint, error.code)


def has_failure(findings: Iterable[Finding]) -> bool:
    """Whether something that was asked for does not work."""
    return any(finding.status is FindingStatus.FAILURE for finding in findings)
