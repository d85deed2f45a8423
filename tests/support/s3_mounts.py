"""What tests say of mounts to an agent or a sidecar."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import psutil

from gra_provisioner.agent.s3.signing import Credentials
from tests.support.processes import processes_of
from tests.support.s3 import S3Server


def document(server: S3Server, bucket: str, path: Path | str, **changes: Any) -> dict[str, Any]:
    """A mount as clients describe it: the whole bucket, to be written too, by its own user."""
    return {
        "id": "0",
        "bucket": bucket,
        "prefix": "",
        "path": str(path),
        "endpoint": server.endpoint,
        "region": server.region,
        "read_only": False,
        "path_style": True,
        "uid": os.getuid(),
        "gid": os.getgid(),
        "umask": "0022",
        "credentials": "own",
        "options": {},
        "ca": "",
        **changes,
    }


def key_of(server: S3Server, key: Credentials | None = None) -> dict[str, dict[str, str]]:
    """The credentials of mount "0", the server's ``root`` unless a key is given."""
    return {"0": (key or server.root)._asdict()}


def mounts_below(folder: Path) -> list[str]:
    """What is mounted below a folder of this host."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [line.split(" ")[4] for line in lines]
    return [point for point in points if point.startswith(f"{folder}/")]


def s3fs_of(folder: Path) -> list[psutil.Process]:
    """The s3fs processes that use a folder."""
    return [process for process in processes_of(folder) if process.name() == "s3fs"]
