"""The agent's one exception.  It crosses the wire as JSON and becomes a GraError at the client."""

from __future__ import annotations

from typing import Any, Dict, Mapping, Optional


class AgentError(Exception):
    """A request that the agent cannot fulfil, with a reason a program can compare.

    ``reason``, ``message``, ``hint`` and ``details`` have the meaning that
    ``gra_provisioner.errors.GraError`` gives them.
    """

    def __init__(
        self,
        reason: str,
        message: str,
        hint: str = "",
        details: Optional[Mapping[str, Any]] = None,
    ) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message
        self.hint = hint
        self.details: Dict[str, Any] = dict(details or {})

    def to_wire(self) -> Dict[str, Any]:
        """The error as the JSON object that a failed response carries."""
        return {
            "reason": self.reason,
            "message": self.message,
            "hint": self.hint,
            "details": self.details,
        }
