"""Runners: see :class:`gra_provisioner.runner.Runner`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ..runner import ChangeKind, KernelState, RunnerStatus
from .base import Document
from .s3 import Mount


class Usage(Document):
    """What a runner uses now. All null if it was not asked, or did not answer."""

    cpu: float | None = Field(description="Processors in use since the last look.")
    memory: int | None = Field(description="Memory in use, in bytes.")
    memory_limit: int | None = Field(description="How much it may use, in bytes.")


class RunnerResources(Document):
    """What a runner asked for. Null where that is not known. A local one is not held to it."""

    cpu: float | None = Field(description="Processors.")
    memory: int | None = Field(description="Memory, in bytes.")
    ephemeral_storage: int | None = Field(
        description="Disk for all that is written in it, in bytes."
    )
    gpu: int | None = Field(description="How many GPUs.")


class Runner(Document):
    """A runner: a process on this machine, or a pod, in which a kernel runs."""

    name: str = Field(
        description="Its name. It can be used again once the runner is deleted.",
        examples=["runner-1"],
    )
    uid: str = Field(description="Its identity, never used again.")
    backend: str = Field(description="Where it runs: local or kubernetes.")
    profile: str = Field(description="The profile that it was made by.")
    created: float = Field(description="When it was made, in seconds since the epoch (UTC).")
    status: RunnerStatus = Field(
        description="starting; running; ended: by itself, reason and message say why; lost: its "
        "process is gone without a word; unknown: it cannot be asked now, which is not dead."
    )
    kernel: KernelState = Field(
        description="What its kernel does. unknown if the runner was not asked."
    )
    clients: int | None = Field(
        description="How many clients are connected to it. Null if it was not asked."
    )
    usage: Usage
    reason: str = Field(
        description="Why it ended, or why its kernel died, for programs. Empty if neither."
    )
    message: str = Field(description="The same in sentences; while it starts, what it waits for.")
    hint: str = Field(description="What can be done about it.")
    phase: str = Field(
        description="How far a start has come: queued, scheduling, mounting, pulling, starting or "
        "ready. Empty once it runs."
    )
    node: str = Field(description="The node that a pod is on. Empty for others.")
    pid: int | None = Field(description="The process id of a local runner's agent.")
    resources: RunnerResources
    image: str = Field(description="The image that a pod was made with. Empty for others.")
    mounts: list[Mount] = Field(
        description="The buckets of S3 that are mounted in it. Empty if the runner was not asked."
    )
    owner: str = Field(description="Whose it is.")
    kernel_id: str | None = Field(description="The id of the kernel that it was made for.")
    kernel_name: str | None = Field(description="The name of that kernel's kernelspec.")
    notebook: str | None = Field(description="The path of the notebook that it was made for.")
    client_host: str | None = Field(description="The host that it was made from.")
    labels: dict[str, str] = Field(description="The labels of its profile and of its launch.")


class Phase(Document):
    """One phase of a launch."""

    phase: str = Field(description="Its name: queued, scheduling, pulling, starting, kernel, …")
    seconds: float = Field(description="How long it took, in seconds.")
    message: str = Field(description="The last thing that was said in it.")


class RunnerWithReason(Runner):
    """A runner, and why it is where it is."""

    backend_reason: str = Field(description="Why this backend was chosen.")


class LaunchedRunner(RunnerWithReason):
    """A runner that was just made."""

    phases: list[Phase] = Field(description="What its start went through, in order.")


class SeenRunner(Runner):
    """A runner as one owner sees it."""

    mine: bool = Field(description="Whether it is the asking server's owner's.")


class SeenRunnerWithReason(SeenRunner):
    """A runner as one owner sees it, and why it is where it is."""

    backend_reason: str = Field(description="Why this backend was chosen.")


class MadeRunner(SeenRunnerWithReason):
    """A runner that was just made, as its owner sees it."""

    phases: list[Phase] = Field(description="What its start went through so far, in order.")


class Kernel(Document):
    """A kernel of the Jupyter server's, as its kernels API knows it."""

    id: str = Field(description="Its id, by which notebooks and consoles are opened on it.")
    name: str = Field(description="The name of its kernelspec.")


class StartedKernel(Document):
    """A kernel that was just started, and its runner."""

    kernel: Kernel
    runner: SeenRunnerWithReason


class Stale(Document):
    """The cluster cannot be asked: what is told of runners is as it was."""

    since: float = Field(
        description="When the cluster last gave word, in seconds since the epoch (UTC)."
    )
    reason: str = Field(description="Why it cannot be asked, for programs.")
    message: str = Field(description="The same in sentences.")
    hint: str = Field(description="What can be done about it.")


class RunnerList(Document):
    """Runners, and whose eyes they are seen with."""

    runners: list[SeenRunner]
    backend: str = Field(description="Where runners are made: local or kubernetes.")
    backend_reason: str = Field(description="Why this backend was chosen.")
    owner: str = Field(description="The owner of the runners that this server makes.")
    other_owners: Literal["hidden", "visible", "managed"] = Field(
        description="What this server lets be done with other owners' runners: nothing, see them, "
        "or all that can be done with one's own."
    )
    stale: Stale | None = Field(
        description="Why the list is old. Null: it is not. Of a list that is, the status of each "
        "runner is unknown."
    )


class RunnerEvent(Document):
    """What the cluster has said about a runner."""

    time: float = Field(description="When it was last said, in seconds since the epoch (UTC).")
    type: str = Field(description="Normal or Warning.")
    reason: str = Field(
        description="What it is, in Kubernetes' own words.", examples=["FailedScheduling"]
    )
    message: str = Field(description="The same in a sentence.")
    count: int = Field(description="How often it was said.")
    source: str = Field(
        description="Which part of the cluster says so.", examples=["default-scheduler"]
    )
    about: str = Field(
        description="What it is about: the runner's pod, or a volume claim of it.",
        examples=["Pod/runner-1"],
    )


class RunnerEvents(Document):
    """What the cluster has said about a runner, and still knows."""

    events: list[RunnerEvent] = Field(description="The newest last. Empty for a local runner.")


class DeletedRunners(Document):
    """Runners that were deleted."""

    deleted: list[str] = Field(description="Their names.")


class Change(Document):
    """What became of a runner."""

    kind: ChangeKind = Field(
        description="added, modified or deleted; synced: all that there were when the watch began "
        "have been told; stale: from now on what is told is old; fresh: it is not any more."
    )
    runner: Runner | None = Field(
        description="The runner, one that is gone as it was last. Null if the change is not one "
        "of a runner."
    )
    stale: Stale | None = Field(description="Why what is told is old, if kind is stale; else null.")


class Synced(Document):
    """All runners that there were when the watch began have been told."""


class Fresh(Document):
    """What is told of runners is not old any more."""
