"""Plain data about runners: what is asked for (:class:`RunnerSpec`) and what is (:class:`Runner`).

Nothing here does I/O.  Sizes are bytes, durations are seconds, points in time are seconds
since the epoch (UTC).
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

#: The image of runners whose profile names none: it has ipykernel, and runs as user 1000.
DEFAULT_IMAGE = "quay.io/jupyter/minimal-notebook:python-3.13"


class RunnerStatus(str, enum.Enum):
    """What a runner is, seen from outside."""

    STARTING = "starting"
    RUNNING = "running"
    # Ended by itself (TTL, lifetime, SIGTERM): its folder or pod still says why.
    ENDED = "ended"
    # The record exists, the process does not: killed, or the host was restarted.
    LOST = "lost"
    # It could not be asked.  Never to be read as dead.
    UNKNOWN = "unknown"


class KernelState(str, enum.Enum):
    """What the kernel in a runner does, as the agent saw it on iopub."""

    NONE = "none"
    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"
    DEAD = "dead"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Resources:
    """What a runner asks for.  The local backend shows these and enforces none of them."""

    cpu: float
    memory: int
    ephemeral_storage: int
    gpu: int = 0


@dataclass(frozen=True)
class KnownResources:
    """What a runner asked for, as far as its record or pod says.  ``None``: unknown."""

    cpu: float | None = None
    memory: int | None = None
    ephemeral_storage: int | None = None
    gpu: int | None = None


@dataclass(frozen=True)
class Ttl:
    """After how many seconds a runner ends by itself.  ``None``: never for that reason."""

    orphan: float | None = 3600.0
    idle: float | None = None
    lifetime: float | None = None


@dataclass(frozen=True)
class Buffers:
    """How many bytes of a kernel's output the agent keeps for a client that is away."""

    memory: int = 8 * 2**20
    spill: int = 2**30


@dataclass(frozen=True)
class Secret:
    """A value that must never be shown: ``repr`` and ``str`` hide it."""

    value: str = field(repr=False)

    def __str__(self) -> str:
        return "********"


@dataclass(frozen=True)
class Requests:
    """What the scheduler keeps free for a pod.  ``None``: as much as the limit."""

    cpu: float | None = None
    memory: int | None = None
    ephemeral_storage: int | None = None


@dataclass(frozen=True)
class PodOptions:
    """What is particular to runners that are pods.  The local backend ignores all of it.

    Kubernetes' own objects (``tolerations``, ``affinity``, ``topology_spread``, ``volumes``,
    ``volume_mounts``, ``env``, ``env_from``) are as its API has them, in camelCase.  ``python``
    is the interpreter of the agent in the image.  ``termination_grace`` is in seconds.  ``patch``
    is a strategic merge patch of the pod, applied last.
    """

    python: str = "python3"
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    image_pull_secrets: tuple[str, ...] = ()
    user: int = 1000
    group: int = 1000
    fs_group: int | None = None
    requests: Requests = Requests()
    gpu_resource: str = "nvidia.com/gpu"
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Mapping[str, Any], ...] = ()
    affinity: Mapping[str, Any] = field(default_factory=dict)
    topology_spread: tuple[Mapping[str, Any], ...] = ()
    priority_class: str | None = None
    runtime_class: str | None = None
    scheduler_name: str | None = None
    service_account: str | None = None
    service_account_token: bool = False
    volumes: tuple[Mapping[str, Any], ...] = ()
    volume_mounts: tuple[Mapping[str, Any], ...] = ()
    env: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    env_from: tuple[Mapping[str, Any], ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    termination_grace: float = 10.0
    scheduling_grace: float = 2.0
    patch: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def public(self) -> dict[str, Any]:
        """The options as JSON types; of variables (``env`` in it or in the patch) names only."""
        data = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        data["requests"] = dataclasses.asdict(self.requests)
        shown: dict[str, Any] = _without_env_values(data)
        return shown


def _without_env_values(value: Any) -> Any:
    """The value with lists for tuples, and with each list ``env`` in it reduced to names."""
    if isinstance(value, Mapping):
        return {
            key: [entry.get("name") if isinstance(entry, Mapping) else None for entry in inner]
            if key == "env" and isinstance(inner, (list, tuple))
            else _without_env_values(inner)
            for key, inner in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_without_env_values(inner) for inner in value]
    return value


@dataclass(frozen=True)
class S3Credentials:
    """Where a bucket's credentials come from; never the credentials themselves.

    ``source`` is one of ``secret``: the Kubernetes Secret ``name``, which only the kubelet reads;
    ``environment``: variables of the client's process; ``profile``: the section ``name`` of the
    client's ``~/.aws/credentials``; ``anonymous``: none; ``default``: the client's ``AWS_…``
    variables, or else its ``~/.aws/credentials``.  ``access_key``, ``secret_key`` and
    ``session_token`` are the keys in the Secret, or the names of the variables;
    ``session_token`` may be empty.
    """

    source: Literal["secret", "environment", "profile", "anonymous", "default"] = "default"
    name: str = ""
    access_key: str = "AWS_ACCESS_KEY_ID"
    secret_key: str = "AWS_SECRET_ACCESS_KEY"  # noqa: S105
    session_token: str = "AWS_SESSION_TOKEN"  # noqa: S105

    @property
    def own(self) -> bool:
        """Whether they are the client's own: resolved in its process, sent through the tunnel."""
        return self.source in ("environment", "profile", "default")


@dataclass(frozen=True)
class S3Mount:
    """A bucket, or what is below a prefix of it, in a runner.

    ``via`` is how it gets there: ``s3fs`` (mounted at ``path`` by s3fs-fuse), ``volume`` (a pod's
    volume at ``path``; ``volume`` is its source in Kubernetes' words, and ``bucket`` may be empty),
    or ``fsspec`` (not mounted, ``path`` is empty; variables tell Python's fsspec where it is).
    ``prefix`` has no slash at its ends.  ``path_style``: whether requests have the bucket in their
    path, and not in the host's name.  ``ca`` is the path of a bundle of certificates, of a pod's
    sidecar or else of this host; in a pod it may be the key ``ca_key`` of the ConfigMap
    ``ca_config_map``.  ``options`` are further ones of s3fs: a value, or true for a flag.
    """

    bucket: str
    path: str
    endpoint: str
    prefix: str = ""
    region: str = ""
    read_only: bool = False
    path_style: bool = True
    via: Literal["s3fs", "volume", "fsspec"] = "s3fs"
    credentials: S3Credentials = S3Credentials()
    umask: str = "0022"
    options: Mapping[str, str | bool] = field(default_factory=dict)
    ca: str = ""
    ca_config_map: str = ""
    ca_key: str = "ca.crt"
    volume: Mapping[str, Any] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """``s3://bucket/prefix``, for sentences; of a volume that names no bucket its source."""
        if self.bucket:
            return "/".join(part for part in (f"s3://{self.bucket}", self.prefix) if part)
        return "a volume"


@dataclass(frozen=True)
class S3Sidecar:
    """The container of a pod that mounts its buckets.

    ``image`` has s3fs and Python, and is empty if none is named.  ``memory`` in bytes has
    ``cache``, what s3fs keeps of files, in it.
    """

    image: str = ""
    memory: int = 768 * 2**20
    cpu: float = 1.0
    cache: int = 256 * 2**20


@dataclass(frozen=True)
class Workspace:
    """The folder in which a pod's kernels start.

    ``size`` in bytes bounds it; ``None``: the runner's ephemeral storage does.  With ``keep`` it is
    a claim on storage of the class ``storage_class`` (``None``: the cluster's default), which stays
    when the runner is deleted: one for each owner and ``name``.

    ``sync`` ``notebook``: the notebook's own directory is copied there at launch, and what changed
    there back at the end, but for what matches a pattern of ``sync_exclude``
    (:func:`.workspace.tree.excluder`); at most ``sync_limit`` bytes either way.
    """

    size: int | None = None
    keep: bool = False
    storage_class: str | None = None
    name: str = "workspace"
    sync: Literal["none", "notebook"] = "none"
    sync_exclude: tuple[str, ...] = (
        ".git",
        ".venv",
        ".ipynb_checkpoints",
        "__pycache__",
        "node_modules",
    )
    sync_limit: int = 500 * 2**20


@dataclass(frozen=True)
class RunnerSpec:
    """What is to be started, with every default filled in.

    ``kernel_argv`` is the kernel's command inside the runner, with ``{connection_file}`` for
    the path of its connection file.  A first word ``python`` means the runner's own Python
    (locally: the interpreter of the Jupyter client).  ``kernel_argv`` is empty for a runner
    without a kernel.  ``forward_env`` names variables of the client's process that the kernel
    gets besides those that the client changed.  ``image`` is a pod's.  ``start_timeout`` is the
    seconds that a runner may take from its creation until its agent answers.  ``s3`` are the
    buckets in it; ``allow_privileged_sidecar``: whether a pod may have a privileged container
    beside the kernel's to mount them.
    """

    profile: str
    resources: Resources
    description: str = ""
    kernel_argv: tuple[str, ...] = ()
    env: Mapping[str, str | Secret] = field(default_factory=dict)
    forward_env: tuple[str, ...] = ()
    working_dir: str | None = None
    ttl: Ttl = Ttl()
    buffers: Buffers = Buffers()
    image: str = DEFAULT_IMAGE
    start_timeout: float = 600.0
    pod: PodOptions = PodOptions()
    s3: tuple[S3Mount, ...] = ()
    s3_sidecar: S3Sidecar = S3Sidecar()
    allow_privileged_sidecar: bool = False
    workspace: Workspace = Workspace()

    def public(self) -> dict[str, Any]:
        """The spec as JSON types without any value of the environment, only the names."""
        data = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        for name in ("resources", "ttl", "buffers", "s3_sidecar", "workspace"):
            data[name] = dataclasses.asdict(data[name])
        data["workspace"]["sync_exclude"] = list(self.workspace.sync_exclude)
        data["s3"] = [dataclasses.asdict(mount) for mount in self.s3]
        data["pod"] = self.pod.public()
        data["env"] = sorted(self.env)
        data["kernel_argv"] = list(self.kernel_argv)
        data["forward_env"] = list(self.forward_env)
        return data


@dataclass(frozen=True)
class RunnerLabels:
    """Who and what a runner is for.  Stored with it (labels, annotations, ``runner.json``).

    ``user_labels`` are the profile's or the launch's own (``pod.labels``), read back.
    """

    owner: str
    kernel_id: str | None = None
    kernel_name: str | None = None
    notebook: str | None = None
    client_host: str | None = None
    user_labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Usage:
    """What a runner uses now.  ``cpu`` in cores over the last interval, ``None`` if unknown."""

    cpu: float | None = None
    memory: int | None = None
    memory_limit: int | None = None


@dataclass(frozen=True)
class RunnerEvent:
    """What the cluster has said about a runner.

    ``time`` is when it was last said, ``count`` how often.  ``type`` is ``Normal`` or ``Warning``,
    ``source`` the part of the cluster that says so, ``about`` the object (``Pod/runner-1``).
    """

    time: float
    type: str
    reason: str
    message: str
    count: int = 1
    source: str = ""
    about: str = ""

    def public(self) -> dict[str, Any]:
        """As JSON types."""
        return vars(self).copy()


class ChangeKind(str, enum.Enum):
    """What a :class:`Change` tells."""

    ADDED = "added"
    MODIFIED = "modified"
    DELETED = "deleted"
    # All that there was when the watch began has been told; it has no runner.
    SYNCED = "synced"
    # What is told is old from here on, as it cannot be asked how things are; it has no runner.
    STALE = "stale"
    # It is not old any more; it has no runner.
    FRESH = "fresh"


@dataclass(frozen=True)
class Stale:
    """Runners are told as they were: ``since`` when, and why how they are is not known."""

    since: float
    reason: str
    message: str
    hint: str = ""

    def public(self) -> dict[str, Any]:
        """As JSON types."""
        return vars(self).copy()


class MountState(str, enum.Enum):
    """What became of a mount of S3."""

    # Its credentials are not there yet.
    WAITING = "waiting"
    STARTING = "starting"
    MOUNTED = "mounted"
    # It is mounted, but S3 or s3fs does not answer as it should.
    FAILING = "failing"
    FAILED = "failed"


@dataclass(frozen=True)
class MountStatus:
    """A bucket that is mounted in a runner, or should be, as the runner's agent knows it.

    ``id`` is its place among the runner's mounts, ``since`` when it came to ``state``.  ``reason``,
    ``message`` and ``hint`` say what is wrong, and are empty where nothing is.
    """

    id: str
    bucket: str
    prefix: str
    path: str
    state: MountState
    reason: str = ""
    message: str = ""
    hint: str = ""
    since: float | None = None

    def public(self) -> dict[str, Any]:
        """As JSON types."""
        return {**vars(self), "state": self.state.value}


@dataclass(frozen=True)
class Runner:
    """A runner as it is.

    ``name`` can be used again once a runner is deleted; ``uid`` never is, so everything that
    acts on a runner compares it.  ``phase`` is how far one that is starting has come, ``node``
    where a pod runs, ``image`` what is in it; all are empty otherwise.  ``mounts`` are known only
    where its agent was asked.
    """

    name: str
    uid: str
    backend: str
    profile: str
    labels: RunnerLabels
    created: float
    status: RunnerStatus = RunnerStatus.UNKNOWN
    kernel: KernelState = KernelState.UNKNOWN
    clients: int | None = None
    usage: Usage = Usage()
    reason: str = ""
    message: str = ""
    hint: str = ""
    phase: str = ""
    node: str = ""
    pid: int | None = None
    resources: KnownResources = KnownResources()
    image: str = ""
    mounts: tuple[MountStatus, ...] = ()

    def public(self) -> dict[str, Any]:
        """The runner as JSON types, as ``gra list --json`` and ``gra get --json`` print it."""
        data = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        del data["labels"]
        labels = vars(self.labels).copy()
        labels["labels"] = dict(labels.pop("user_labels"))
        data["status"] = self.status.value
        data["kernel"] = self.kernel.value
        data["usage"] = vars(self.usage).copy()
        data["resources"] = vars(self.resources).copy()
        data["mounts"] = [mount.public() for mount in self.mounts]
        return {**data, **labels}


@dataclass(frozen=True)
class Change:
    """What became of a runner, or of what is known of all: ``stale`` says why that is old.

    A runner that is gone is told as it was last.
    """

    kind: ChangeKind
    runner: Runner | None = None
    stale: Stale | None = None

    def public(self) -> dict[str, Any]:
        """The change as JSON types, a line of ``gra list --watch --json``."""
        runner = None if self.runner is None else self.runner.public()
        stale = None if self.stale is None else self.stale.public()
        return {"kind": self.kind.value, "runner": runner, "stale": stale}
