"""Buckets of S3: as they are in a runner, and as a profile asks for them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from ..runner import MountState
from .base import Document


class Mount(Document):
    """A bucket of S3 that is mounted in a runner, or should be."""

    id: str = Field(description="Its place among the runner's mounts.", examples=["0"])
    bucket: str = Field(description="The bucket.")
    prefix: str = Field(description="Only what is below it is mounted. Empty: all of the bucket.")
    path: str = Field(description="Where it is mounted.", examples=["/data/lake"])
    state: MountState = Field(
        description="waiting: for its credentials; starting; mounted; failing: mounted, but S3 or "
        "s3fs does not answer as it should; failed."
    )
    reason: str = Field(
        description="What is wrong, for programs. Empty if nothing is.",
        examples=["S3EndpointUnreachable"],
    )
    message: str = Field(description="The same in sentences.")
    hint: str = Field(description="What can be done about it.")
    since: float | None = Field(
        description="Since when it is in that state, in seconds since the epoch (UTC)."
    )


class ProfileS3Credentials(Document):
    """Where the credentials of a bucket come from. They themselves are nowhere shown."""

    source: Literal["secret", "environment", "profile", "anonymous", "default"] = Field(
        description="secret: a Kubernetes Secret; environment: variables of the server's; profile: "
        "a section of its ~/.aws/credentials; anonymous: none; default: its AWS_… variables, or "
        "else its ~/.aws/credentials."
    )
    name: str = Field(description="The name of the Secret or of the section; else empty.")
    access_key: str = Field(description="The key in the Secret, or the variable's name.")
    secret_key: str = Field(description="The key in the Secret, or the variable's name.")
    session_token: str = Field(
        description="The key in the Secret, or the variable's name. Empty: there is none."
    )


class ProfileS3(Document):
    """A bucket that the runners of a profile have."""

    bucket: str = Field(description="The bucket. Empty for a volume that names none.")
    path: str = Field(description="Where it is mounted. Empty if via is fsspec.")
    endpoint: str = Field(description="The URL of the S3 server.")
    prefix: str = Field(description="Only what is below it. Empty: all of the bucket.")
    region: str = Field(description="The server's region. Empty: none is named.")
    read_only: bool = Field(description="Whether nothing can be written.")
    path_style: bool = Field(
        description="Whether requests name the bucket in their path, and not in the host's name."
    )
    via: Literal["s3fs", "volume", "fsspec"] = Field(
        description="How it gets there: mounted by s3fs, as a volume of the cluster, or not "
        "mounted, with variables for Python's fsspec."
    )
    credentials: ProfileS3Credentials
    umask: str = Field(description="The permissions that files do not have, in octal.")
    options: dict[str, str | bool] = Field(description="Further options of s3fs.")
    ca: str = Field(description="The path of a bundle of certificates. Empty: the system's.")
    ca_config_map: str = Field(
        description="The ConfigMap with a bundle of certificates. Empty: none."
    )
    ca_key: str = Field(description="The key in it.")
    volume: dict[str, Any] = Field(
        description="The source of the volume, as Kubernetes has it. Empty unless via is volume."
    )


class ProfileS3Sidecar(Document):
    """The container of a pod that mounts its buckets by s3fs."""

    image: str = Field(description="Its image. Empty: none is named.")
    memory: int = Field(description="How much memory it may use, its cache included, in bytes.")
    cpu: float = Field(description="Processors that it may use.")
    cache: int = Field(description="How much it keeps of files, in memory, in bytes.")


class ProfileWorkspace(Document):
    """The folder in which the kernels of a pod start."""

    size: int | None = Field(description="How large it may get, in bytes. Null: as the pod's disk.")
    keep: bool = Field(description="Whether it stays when the runner is deleted.")
    storage_class: str | None = Field(
        description="The class of its storage if it is kept. Null: the cluster's default."
    )
    name: str = Field(description="Its name if it is kept: each owner has one of each name.")
    sync: Literal["none", "notebook"] = Field(
        description="Whether the notebook's own directory is copied there, and results back."
    )
    sync_exclude: list[str] = Field(description="Patterns of names and paths that are not copied.")
    sync_limit: int = Field(description="How much is copied at most either way, in bytes.")
