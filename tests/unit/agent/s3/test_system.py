"""What the system lacks, and what it refuses, is said with what to install or to change."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gra_provisioner.agent.failure import AgentError
from gra_provisioner.agent.s3 import namespace
from gra_provisioner.agent.s3.keeper import credentials_in
from gra_provisioner.agent.s3.mount import Mount
from gra_provisioner.agent.s3.process import check_system

_MOUNT = Mount.parse(
    {
        "id": "0",
        "bucket": "lake",
        "path": "/data/lake",
        "endpoint": "https://s3.example.com",
        "uid": 1000,
        "gid": 1000,
        "credentials": "secret",
    }
)


def _which(*programs: str) -> object:
    return lambda name, path=None: f"/usr/bin/{name}" if name in programs else None


def _reason(device: Path, is_root: bool, *programs: str) -> tuple[str, str]:
    with pytest.raises(AgentError) as raised:
        check_system({}, str(device), _which(*programs), is_root)  # type: ignore[arg-type]
    return raised.value.reason, raised.value.hint


def test_without_s3fs_it_says_which_package_to_install(tmp_path: Path) -> None:
    reason, hint = _reason(tmp_path, True)

    assert reason == "S3FsMissing"
    assert "apt-get install s3fs" in hint


def test_without_fuse_it_says_what_a_container_needs(tmp_path: Path) -> None:
    reason, hint = _reason(tmp_path / "fuse", True, "s3fs")

    assert reason == "S3FuseMissing"
    assert "allow_privileged_sidecar" in hint


def test_a_user_needs_fusermount(tmp_path: Path) -> None:
    device = tmp_path / "fuse"
    device.touch()
    reason, hint = _reason(device, False, "s3fs")

    assert reason == "S3FuseMissing"
    assert "install fuse" in hint
    check_system({}, str(device), _which("s3fs", "fusermount3"), False)  # type: ignore[arg-type]
    check_system({}, str(device), _which("s3fs"), True)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("step", "number", "reason"),
    [
        ("open_tree", errno.ENOSYS, "S3KernelTooOld"),
        ("setns", errno.EPERM, "S3FuseMissing"),
        ("open", errno.ENOENT, "S3MountPointUnusable"),
        ("open", errno.ELOOP, "S3MountPointUnusable"),
        ("mount point", errno.EINVAL, "S3MountPointUnusable"),
        ("move_mount", errno.EINVAL, "S3MountFailed"),
        ("time", 0, "S3MountFailed"),
    ],
)
def test_each_system_call_that_fails_has_its_reason(step: str, number: int, reason: str) -> None:
    error = namespace.explain(step, number, "/data/lake")

    assert error.reason == reason
    assert number == 0 or os.strerror(number) in error.message


def test_the_last_of_several_mounts_at_a_path_counts() -> None:
    table = namespace.parse_table(
        "21 1 8:1 / / rw,relatime - ext4 /dev/root rw\n"
        "30 21 0:5 / /data/a\\040b ro shared:1 - tmpfs bare ro\n"
        "31 30 0:6 / /data/a\\040b rw - fuse.s3fs s3fs rw,user_id=0\n"
    )

    assert namespace.top_at("/data/a b", table) == (31, "/data/a b", "fuse.s3fs")
    assert namespace.top_at("/data", table) is None


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1))
def test_paths_of_the_mount_table_are_read_as_the_kernel_writes_them(path: str) -> None:
    escaped = path.replace("\\", "\\134")
    for character in " \t\n":
        escaped = escaped.replace(character, f"\\{ord(character):03o}")

    assert namespace.unescaped(escaped) == path


def test_a_secret_without_a_key_says_which_names_are_expected(tmp_path: Path) -> None:
    folder = tmp_path / "0"
    folder.mkdir()
    (folder / "access_key").write_text("the-key\n")
    with pytest.raises(AgentError) as raised:
        credentials_in(str(tmp_path), _MOUNT)

    assert raised.value.reason == "S3CredentialsMissing"
    assert "AWS_SECRET_ACCESS_KEY" in raised.value.hint
    (folder / "secret_key").write_text("the-secret\n")
    assert tuple(credentials_in(str(tmp_path), _MOUNT)) == ("the-key", "the-secret", "")
