"""Two runners as plain data: one of which all is known, one of which hardly anything is."""

from __future__ import annotations

from gra_provisioner.runner import (
    KernelState,
    MountState,
    MountStatus,
    Runner,
    RunnerLabels,
    RunnerStatus,
    Usage,
)

NOW = 1_700_000_000.0
FULL = Runner(
    name="runner-1",
    uid="u1",
    backend="local",
    profile="small",
    labels=RunnerLabels("me", "k1", "gra", "work/a.ipynb", "host", {"team": "a"}),
    created=NOW - 125,
    status=RunnerStatus.RUNNING,
    kernel=KernelState.BUSY,
    clients=1,
    usage=Usage(cpu=0.4242, memory=3 * 2**26, memory_limit=2**31),
    pid=7,
    mounts=(
        MountStatus("0", "lake", "team/a", "/data/lake", MountState.MOUNTED, since=NOW - 120),
        MountStatus(
            "1",
            "logs",
            "",
            "/data/logs",
            MountState.FAILED,
            "S3BucketMissing",
            "There is no bucket logs at https://s3.example.com.",
            "Look at its name.",
            NOW - 60,
        ),
    ),
)
BARE = Runner(
    name="runner-22",
    uid="u2",
    backend="local",
    profile="large",
    labels=RunnerLabels("me"),
    created=NOW - 2 * 86400,
    status=RunnerStatus.LOST,
    kernel=KernelState.UNKNOWN,
    message="The process is gone.",
)
