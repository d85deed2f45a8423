"""A user who is not root has a local runner's buckets mounted by fusermount."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from gra_provisioner.archive import build_agent_archive
from tests.support.s3 import S3Server
from tests.support.s3_mounts import document, key_of
from tests.support.s3_sidecar import PYTHON, USER

pytestmark = [
    pytest.mark.gra_only,
    pytest.mark.local_only("plays a user of this host"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user"),
]

_BOUND = 30.0
# In a mount table of its own, with the device as most hosts have it: for everybody.
_SCRIPT = """
mknod -m 666 "$1/fuse" c 10 229 && mount --bind "$1/fuse" /dev/fuse &&
exec setpriv --reuid "$2" --regid "$2" --clear-groups \\
    "$3" -I -S "$1/agent.pyz" s3-sidecar --fd 0 --own "$4/own" --cache "$4/own/s3"
"""


class _Mounter:
    """What an agent of this user would start, and the agent's end of the connection."""

    def __init__(self, process: subprocess.Popen[bytes], ours: socket.socket) -> None:
        self.process = process
        self._socket = ours
        self._lines = ours.makefile("r")

    def ask(self, **message: Any) -> None:
        self._socket.sendall(json.dumps(message).encode() + b"\n")

    def until(self, state: str) -> dict[str, Any]:
        """The status of the one mount, once it is in this state."""
        for line in self._lines:
            (status,) = json.loads(line)["mounts"]
            if status["state"] == state:
                return dict(status)
        raise AssertionError(f"the mounter ended before the mount was {state}")

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        """A shell command of the user's, where the mount is."""
        enter = ["nsenter", "--mount", "--target", str(self.process.pid)]
        drop = ["setpriv", "--reuid", str(USER), "--regid", str(USER), "--clear-groups"]
        return subprocess.run(
            [*enter, *drop, "sh", "-c", script],
            check=False,
            capture_output=True,
            text=True,
            timeout=_BOUND,
        )

    def close(self) -> None:
        self._lines.close()
        self._socket.close()
        self.process.wait(_BOUND)


@contextmanager
def _mounter(folder: Path, home: Path) -> Iterator[_Mounter]:
    (folder / "agent.pyz").write_bytes(build_agent_archive())
    ours, theirs = socket.socketpair()
    ours.settimeout(_BOUND)
    words = ["sh", "-c", _SCRIPT, "sh", str(folder), str(USER), PYTHON, str(home)]
    process = subprocess.Popen(
        ["unshare", "--mount", "--propagation", "private", *words],
        stdin=theirs,
        stdout=subprocess.DEVNULL,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LANG": "C.UTF-8"},
    )
    theirs.close()
    mounter = _Mounter(process, ours)
    try:
        yield mounter
    finally:
        mounter.close()


def test_a_user_mounts_writes_and_has_the_mount_back_after_s3fs_was_killed(
    s3_folder: Path, s3_server: S3Server, bucket: str
) -> None:
    s3_folder.chmod(0o755)
    home = s3_folder / "home"
    home.mkdir()
    os.chown(home, USER, USER)
    lake = home / "data" / "lake"
    mount = document(s3_server, bucket, lake, uid=USER, gid=USER)
    with _mounter(s3_folder, home) as mounter:
        mounter.ask(turn=1, mounts=[mount], credentials=key_of(s3_server))
        mounter.until("mounted")
        assert mounter.run(f"echo hello > {lake}/a").returncode == 0
        assert s3_server.get(bucket, "a") == b"hello\n"

        children = psutil.Process(mounter.process.pid).children()
        (s3fs,) = [child for child in children if child.name() == "s3fs"]
        s3fs.kill()
        mounter.until("failing")
        mounter.until("mounted")
        assert mounter.run(f"cat {lake}/a").stdout == "hello\n"
    assert not (home / "data").exists()
