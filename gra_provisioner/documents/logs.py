"""What runners wrote: see :mod:`gra_provisioner.logs`."""

from __future__ import annotations

from pydantic import Field

from .base import Document


class LogLine(Document):
    """A line of a runner's log, without its end."""

    runner: str = Field(description="The name of the runner.", examples=["runner-1"])
    time: float | None = Field(
        description="When it was written, in seconds since the epoch. Null where nobody has noted "
        "it."
    )
    source: str = Field(
        description="Who wrote it: agent, stdout or stderr (the kernel's), or the name of another "
        "container of the pod."
    )
    text: str = Field(description="The text. What was no UTF-8 is U+FFFD.")


class LogLines(Document):
    """Lines of the logs of one or several runners."""

    lines: list[LogLine] = Field(description="By time.")


class End(Document):
    """The runners that were followed have ended."""
