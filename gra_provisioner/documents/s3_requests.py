"""What the REST API takes about buckets of S3: where they are, and whose credentials; never keys.

A part of :class:`.requests.Launch`.  How the fields fit together is checked where it is for every
source of configuration (:mod:`gra_provisioner.s3_schema`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import ConfigDict, Field, StrictBool, WithJsonSchema, model_validator

from ..fields import Table, Text, wrong_field

if TYPE_CHECKING:
    from typing_extensions import Self

_NAME = r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$"
_KEY = r"^[A-Za-z0-9._-]{1,253}$"


def _text(pattern: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": pattern})


_Key = Annotated[Text, _text(_KEY)]


class S3Credentials(Table):
    """Where a bucket's credentials come from: one of secret, profile and anonymous.

    Left out they are the Jupyter server's own: its AWS_… variables, or its ~/.aws/credentials.
    """

    model_config = ConfigDict(strict=True)

    secret: Annotated[Text, _text(_NAME)] = Field(
        default_factory=str,
        description="A Kubernetes Secret in the runners' namespace; for pods only.",
    )
    access_key: _Key = Field(
        default_factory=str, description="The key in the Secret. By default AWS_ACCESS_KEY_ID."
    )
    secret_key: _Key = Field(
        default_factory=str, description="The key in the Secret. By default AWS_SECRET_ACCESS_KEY."
    )
    session_token: _Key = Field(
        default_factory=str,
        description="The key in the Secret, if it is there. By default AWS_SESSION_TOKEN.",
    )
    profile: Annotated[Text, _text(r"^[^\u0000]+$")] = Field(
        default_factory=str, description="A section of the server's ~/.aws/credentials."
    )
    anonymous: Annotated[StrictBool, WithJsonSchema({"const": True})] = Field(
        default_factory=bool, description="Nobody's: the bucket is public."
    )

    @model_validator(mode="after")
    def _one(self) -> Self:
        given = self.model_fields_set & {"secret", "profile", "anonymous"}
        if len(given) != 1:
            raise wrong_field("secret", "must be given, or profile or anonymous in its place")
        for name in ("access_key", "secret_key", "session_token"):
            if name in self.model_fields_set and "secret" not in given:
                raise wrong_field(name, "must be left out where there is no secret")
        return self


class S3(Table):
    """A bucket that a runner is to have."""

    model_config = ConfigDict(strict=True)

    bucket: Annotated[Text, _text(r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")] = Field(
        default_factory=str, description="Its name. Only a volume needs none."
    )
    prefix: Annotated[Text, _text(r"^[^\u0000-\u001f\u007f]*$")] = Field(
        default_factory=str, description="Only what is below it, for example team/a."
    )
    mount: Annotated[Text, _text(r"^/[^\u0000-\u001f\u007f:]+$")] = Field(
        default_factory=str,
        description="The folder in the runner where it is mounted. None with fsspec.",
        examples=["/data/lake"],
    )
    endpoint: Annotated[Text, _text(r"^https?://[^\s@?#,\\]+$")] = Field(
        default_factory=str,
        description="The URL of the S3 server. By default Amazon's.",
        examples=["https://s3.example.com"],
    )
    region: Annotated[Text, _text("^[A-Za-z0-9-]{0,64}$")] = Field(
        default_factory=str, description="The server's region."
    )
    read_only: bool = Field(False, description="Whether nothing may be written.")
    via: Literal["s3fs", "volume", "fsspec"] = Field(
        "s3fs",
        description="How it gets there: mounted by s3fs, as a volume of the cluster, or not "
        "mounted, with variables for Python's fsspec.",
    )
    claim: Annotated[Text, _text(_NAME)] = Field(
        default_factory=str,
        description="The claim (PersistentVolumeClaim) that a volume is. Only where via is volume.",
    )
    credentials: S3Credentials = Field(
        default_factory=S3Credentials.model_construct,
        description="Where its credentials come from. By default the server's own.",
    )
