"""What all documents have in common."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Document(BaseModel):
    """A JSON object that gra gives out.  Later versions may add fields: readers ignore others."""

    model_config = ConfigDict(strict=True, frozen=True)


class Error(Document):
    """Why something was not done.  Every error has this form."""

    reason: str = Field(
        description="A short name for programs, which stays the same between versions. "
        "All are in docs/errors.md.",
        examples=["RunnerNotFound"],
    )
    message: str = Field(
        description="What happened, in sentences, with the names and values involved.",
        examples=["There is no runner 'runner-7'."],
    )
    hint: str = Field(description="What can be done about it. Empty if nothing is known.")
    details: dict[str, Any] = Field(
        description="Further data for programs. Which there are depends on the reason."
    )
