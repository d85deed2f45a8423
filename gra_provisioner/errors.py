"""The one tree of errors that gra raises.

Every error carries three things that a person or a program can act on:

``reason``
    A short CamelCase name that is stable between versions (``UnknownProfile``).  Programs
    compare it; the CLI prints it in ``--json`` output; the agent sends it over the wire.
``message``
    One or more sentences that say what happened, with the names and values involved.
``hint``
    What the reader can do about it.  May be empty, never a guess.

Errors that the agent reports arrive as JSON objects with the same three fields and become
instances of these classes through :func:`from_wire`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar


class GraError(Exception):
    """Base of everything that gra raises on purpose.

    ``details`` holds further plain data (JSON types only) for programs, for example the
    last lines of a kernel's stderr.
    """

    reason: ClassVar[str] = "Error"
    exit_code: ClassVar[int] = 1

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        details: Mapping[str, Any] | None = None,
        reason: str | None = None,
    ) -> None:
        # Not super(): an error may also be a web framework's, whose arguments are others.
        Exception.__init__(self, message)
        self.message = message
        self.hint = hint
        self.details: dict[str, Any] = dict(details or {})
        self._reason = reason

    @property
    def code(self) -> str:
        """The reason of this very error: the agent's own word, else the class's."""
        return self._reason or self.reason

    def __str__(self) -> str:
        return f"{self.message}\nHint: {self.hint}" if self.hint else self.message

    def to_dict(self) -> dict[str, Any]:
        """The error as a JSON object: ``reason``, ``message``, ``hint`` and ``details``."""
        return {
            "reason": self.code,
            "message": self.message,
            "hint": self.hint,
            "details": self.details,
        }


class ConfigError(GraError):
    """A configuration value is wrong.  The message names file, field and what is allowed."""

    reason = "InvalidConfiguration"
    exit_code = 2


class UnknownProfile(ConfigError):
    """A profile was named that no configuration layer defines."""

    reason = "UnknownProfile"


class KubeconfigError(ConfigError):
    """The credentials for the cluster cannot be read: file, context or credential plugin."""

    reason = "KubeconfigInvalid"


class RunnerNotFound(GraError):
    """No runner of that name exists, or the one meant was replaced by a newer one."""

    reason = "RunnerNotFound"
    exit_code = 3


class BackendError(GraError):
    """The place where runners live refused or could not be used."""

    reason = "BackendError"
    exit_code = 4


class StateFolderError(BackendError):
    """The local backend's state folder cannot be read or written."""

    reason = "StateFolderUnusable"


class Unreachable(BackendError):
    """The runner cannot be reached just now.  Says nothing about whether it is alive."""

    reason = "Unreachable"


class ClusterUnreachable(Unreachable):
    """The cluster's API server does not answer.  Says nothing about the runners on it."""

    reason = "ClusterUnreachable"


class CertificateUntrusted(BackendError):
    """The API server's certificate is not one that the credentials say to trust."""

    reason = "CertificateUntrusted"


class ClusterRefused(BackendError):
    """The API server refused a request; ``code`` says why (``Forbidden``, ``QuotaExceeded``, …).

    ``status`` is the HTTP status.
    """

    reason = "ClusterRefused"

    def __init__(self, message: str, *, status: int = 0, **options: Any) -> None:
        super().__init__(message, **options)
        self.status = status


class LaunchError(GraError):
    """A runner or the kernel in it could not be started."""

    reason = "LaunchFailed"
    exit_code = 5


class RunnerStartError(LaunchError):
    """The runner itself (its agent) did not come up."""

    reason = "RunnerStartFailed"


class KernelNotFound(LaunchError):
    """The kernel's executable does not exist in the runner, or is not executable."""

    reason = "KernelNotFound"


class WorkingDirectoryMissing(LaunchError):
    """The directory in which the kernel was to start does not exist in the runner."""

    reason = "WorkingDirectoryMissing"


class KernelStartError(LaunchError):
    """The kernel's process started and ended, or never listened on its ports.

    ``details["stderr"]`` has its last lines.
    """

    reason = "KernelStartFailed"


class MountError(LaunchError):
    """A bucket of S3 could not be brought into a runner; ``code`` says why (``S3AccessDenied``, …).

    ``details`` name its ``bucket`` and ``path``.
    """

    reason = "MountFailed"


class FolderNotCopied(LaunchError):
    """The notebook's own directory was not copied into the runner."""

    reason = "FolderNotCopied"


class ResultsNotFetched(GraError):
    """What was changed in a runner was not copied back, or not all of it; the runner is kept."""

    reason = "ResultsNotFetched"


class KernelDied(GraError):
    """The kernel ended although nobody asked it to."""

    reason = "KernelDied"
    exit_code = 6


class LogUnavailable(GraError):
    """A runner has no log that can be read: it is starting, or the log went before the runner."""

    reason = "LogUnavailable"


class UnknownLogSource(GraError):
    """A source of lines was named that the runner does not have."""

    reason = "UnknownLogSource"
    exit_code = 2


class RunnerEnded(GraError):
    """The runner ended: by its TTL, by deletion, or because its agent was killed."""

    reason = "RunnerEnded"
    exit_code = 6


class TunnelError(GraError):
    """The stream between client and agent failed in a way that cannot be mended."""

    reason = "TunnelError"
    exit_code = 7


class ProtocolMismatch(TunnelError):
    """Client and agent speak different versions of the protocol, or the peer is no agent."""

    reason = "ProtocolMismatch"


class SessionLost(TunnelError):
    """The agent no longer knows the session: it was away for longer than it is kept."""

    reason = "SessionLost"


class RequestError(GraError):
    """The agent refused a request on the control stream."""

    reason = "RequestFailed"


def _tree(root: type[GraError]) -> Iterator[type[GraError]]:
    yield root
    for child in root.__subclasses__():
        yield from _tree(child)


def from_wire(error: Mapping[str, Any]) -> GraError:
    """The error that the agent described: ``{"reason", "message", "hint", "details"}``.

    A reason that has a class becomes that class, any other a :class:`RequestError` that
    keeps the agent's reason.
    """
    reason = str(error.get("reason") or RequestError.reason)
    by_reason: dict[str, type[GraError]] = {}
    for kind in _tree(GraError):
        # A class that only changes the form of another's errors has its reason.
        by_reason.setdefault(kind.reason, kind)
    message, details = error.get("message"), error.get("details")
    return by_reason.get(reason, RequestError)(
        message if isinstance(message, str) else "The agent gave no message.",
        hint=str(error.get("hint") or ""),
        details=details if isinstance(details, Mapping) else {},
        reason=reason,
    )
