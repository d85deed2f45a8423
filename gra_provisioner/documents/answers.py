"""What is said of gra itself: profiles, version, health."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from .base import Document, Error
from .s3 import ProfileS3, ProfileS3Sidecar, ProfileWorkspace


class ProfileResources(Document):
    """How large a runner is. A local runner's sizes are shown and not enforced."""

    cpu: float = Field(description="Processors.")
    memory: int = Field(description="Memory, in bytes.")
    ephemeral_storage: int = Field(description="Disk for all that is written in it, in bytes.")
    gpu: int = Field(description="How many GPUs.")


class ProfileTtl(Document):
    """When a runner ends by itself, in seconds. Null: never for that reason."""

    orphan: float | None = Field(description="No client has been connected for so long.")
    idle: float | None = Field(description="Its kernel has been idle for so long.")
    lifetime: float | None = Field(description="It has existed for so long.")


class ProfileBuffers(Document):
    """How much output is kept for a client that is away or slow, in bytes."""

    memory: int = Field(description="In the agent's memory.")
    spill: int = Field(description="On disk beyond that.")


class ProfileSettings(Document):
    """What a runner of a profile is made with. No value of any variable is in it."""

    resources: ProfileResources
    kernel_argv: list[str] = Field(
        description="The kernel's command. {connection_file} stands for its connection file."
    )
    env: list[str] = Field(description="The names of the variables that are set in the kernel.")
    forward_env: list[str] = Field(
        description="The names of the server's variables that the kernel gets."
    )
    working_dir: str | None = Field(description="The folder in the runner that the kernel runs in.")
    ttl: ProfileTtl
    buffers: ProfileBuffers
    image: str = Field(description="The image of a pod.")
    start_timeout: float = Field(
        description="How many seconds a pod may take until its agent answers."
    )
    pod: dict[str, Any] = Field(
        description="What is particular to pods, as in docs/configuration.md; of variables only "
        "the names."
    )
    s3: list[ProfileS3] = Field(description="The buckets of S3 that are in it.")
    s3_sidecar: ProfileS3Sidecar
    allow_privileged_sidecar: bool = Field(
        description="Whether a pod may have a privileged container that mounts its buckets."
    )
    workspace: ProfileWorkspace


class Profile(Document):
    """A profile that runners can be made by."""

    name: str = Field(description="Its name.", examples=["small"])
    description: str = Field(description="What it is for, in its author's words.")
    default: bool = Field(description="Whether it is taken where none is named.")
    settings: ProfileSettings | None = Field(
        description="What a runner of it is made with, all defaults filled in. Null if it cannot "
        "be used: error says why."
    )
    error: Error | None = Field(description="Why it cannot be used, else null.")


class Profiles(Document):
    """All profiles that are configured."""

    profiles: list[Profile] = Field(description="By name.")


class Health(Document):
    """The extension is loaded and answers."""

    status: Literal["ok"]


class Ready(Document):
    """Runners can be listed and made."""

    status: Literal["ready"]
    backend: str = Field(description="Where runners are made: local or kubernetes.")
    backend_reason: str = Field(description="Why this backend was chosen.")


class Version(Document):
    """Which gra this is."""

    version: str = Field(description="The version of gra.", examples=["0.1.0"])
    python: str = Field(description="The version of the Python that it runs on.")
