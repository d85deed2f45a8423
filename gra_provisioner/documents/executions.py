"""Commands that were run in a runner: see :mod:`gra_provisioner.execution`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .base import Document

_BYTES = Field(description="The size of all that was written, in bytes.")
_DROPPED = Field(
    description="How many of these bytes were left out, because the output is longer than the "
    "limit. The beginning and the end are kept."
)
_STREAM = Field(description="Where it was written to.")


class TextOutput(Document):
    """What a command wrote to one of stdout and stderr."""

    text: str = Field(
        description="The text. Where bytes were left out, a line of its own says so: "
        "[… 1,234 bytes left out …]."
    )
    bytes: int = _BYTES
    dropped: int = _DROPPED


class BinaryOutput(Document):
    """What a command wrote, where that is no UTF-8."""

    base64: str = Field(description="The bytes in base64; of an output that is too long its head.")
    bytes: int = _BYTES
    dropped: int = _DROPPED


class Ended(Document):
    """How a command ended."""

    runner: str = Field(description="The name of the runner.", examples=["runner-1"])
    exit_code: int = Field(
        description="The exit code as a shell has it: 128 and the number of a signal that ended "
        "it, 124 if it was ended for its time."
    )
    signal: int | None = Field(description="The number of the signal that ended it, if one did.")
    timed_out: bool = Field(description="Whether it was ended because its time was over.")
    duration: float = Field(description="How long it ran, in seconds.")


class Execution(Ended):
    """A command that was run to its end, with what it wrote."""

    stdout: TextOutput | BinaryOutput = Field(description="What it wrote to stdout.")
    stderr: TextOutput | BinaryOutput = Field(description="What it wrote to stderr.")


class TextPiece(Document):
    """What a command has just written. Pieces end where a character does, not where a line does."""

    stream: Literal["stdout", "stderr"] = _STREAM
    text: str = Field(description="The text.")


class BinaryPiece(Document):
    """What a command has just written, of an output that is no UTF-8, and all that follows."""

    stream: Literal["stdout", "stderr"] = _STREAM
    base64: str = Field(description="The bytes in base64.")
