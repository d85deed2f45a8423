"""What ``gra doctor`` says: see :class:`gra_provisioner.diagnosis.Finding`."""

from __future__ import annotations

from pydantic import Field

from ..diagnosis import FindingStatus
from .base import Document


class Finding(Document):
    """One thing that was looked at."""

    name: str = Field(
        description="What was looked at, for programs: it stays the same between versions.",
        examples=["s3-sidecar"],
    )
    status: FindingStatus = Field(
        description="ok; warning: it does not work or is not known, and the profile does not need "
        "it; failure: the profile needs it, and it does not work."
    )
    message: str = Field(description="What was found, in sentences.")
    hint: str = Field(description="What can be done about it. Empty if nothing is to be done.")
    reason: str = Field(
        description="Why it does not work, for programs, as errors have it. Empty if it is no "
        "error's."
    )


class Diagnosis(Document):
    """What runners of a profile can do here."""

    profile: str = Field(description="The profile that was looked at.")
    backend: str = Field(description="Where runners are made: local or kubernetes.")
    backend_reason: str = Field(description="Why this backend was chosen.")
    findings: list[Finding] = Field(description="In the order in which they were looked at.")
