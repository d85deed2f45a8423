"""What ``gra doctor`` says of a host, from what was found on it."""

from __future__ import annotations

import dataclasses
import errno
import sys
from pathlib import Path

import pytest

from gra_provisioner.backends.local_diagnosis import Host, findings, look
from gra_provisioner.diagnosis import Finding, FindingStatus, has_failure

WELL = Host(
    platform="linux",
    families=("ubuntu", "debian"),
    is_root=False,
    s3fs="/usr/bin/s3fs",
    fusermount="/usr/bin/fusermount3",
    device=0,
    python="/usr/bin/python3",
    missing=(),
)


def _found(name: str, wanted: tuple[str, ...] = (), **changes: object) -> Finding:
    host = dataclasses.replace(WELL, **changes)  # type: ignore[arg-type]
    (found,) = (finding for finding in findings(host, wanted) if finding.name == name)
    return found


def test_a_host_with_all_of_it_is_well() -> None:
    found = findings(WELL, ("s3fs", "fsspec"))
    assert {finding.status for finding in found} == {FindingStatus.OK}
    assert [finding.name for finding in found] == ["s3fs", "fuse", "fusermount", "s3-fsspec"]


@pytest.mark.parametrize(
    ("families", "command"),
    [
        (("debian",), "apt install s3fs"),
        (("linuxmint", "ubuntu", "debian"), "apt install s3fs"),
        (("rocky", "rhel", "centos", "fedora"), "dnf install s3fs-fuse"),
        (("opensuse-leap", "suse", "opensuse"), "zypper install s3fs"),
        (("arch",), "pacman -S s3fs-fuse"),
        (("alpine",), "apk add s3fs-fuse"),
        (("void",), "the package s3fs (Debian) or s3fs-fuse (Fedora"),
        ((), "the package s3fs (Debian) or s3fs-fuse (Fedora"),
    ],
)
def test_a_program_that_is_missing_is_named_with_its_package(
    families: tuple[str, ...], command: str
) -> None:
    for changes in ({"s3fs": None}, {"fusermount": None}):
        name = next(iter(changes))
        assert command in _found(name, families=families, **changes).hint


def test_what_no_profile_needs_is_a_warning_and_what_one_needs_a_failure() -> None:
    nothing = dataclasses.replace(
        WELL, s3fs=None, fusermount=None, device=errno.ENOENT, missing=("fsspec", "s3fs")
    )
    assert not has_failure(findings(nothing, ()))
    failed = [f.name for f in findings(nothing, ("s3fs",)) if f.status is FindingStatus.FAILURE]
    assert failed == ["s3fs", "fuse", "fusermount"]
    failed = [f.name for f in findings(nothing, ("fsspec",)) if f.status is FindingStatus.FAILURE]
    assert failed == ["s3-fsspec"]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOENT, ("There is no /dev/fuse", "modprobe fuse", "--device /dev/fuse")),
        (errno.EACCES, ("Permission denied", "Let this user read and write")),
        (errno.EPERM, ("Operation not permitted", "--device /dev/fuse")),
    ],
)
def test_a_device_that_cannot_be_used_is_explained(number: int, words: tuple[str, ...]) -> None:
    found = _found("fuse", ("s3fs",), device=number)
    assert found.status is FindingStatus.FAILURE
    for word in words:
        assert word in f"{found.message} {found.hint}"


def test_root_needs_no_fusermount() -> None:
    found = _found("fusermount", ("s3fs",), is_root=True, fusermount=None)
    assert found.status is FindingStatus.OK


def test_elsewhere_than_on_linux_s3_is_not_mounted() -> None:
    found = _found("s3fs", ("s3fs",), platform="darwin")
    assert found.status is FindingStatus.FAILURE
    assert "darwin" in found.message
    assert 'via = "fsspec"' in found.hint


def test_volumes_are_said_to_be_for_pods() -> None:
    assert _found("s3-volume", ("volume",)).status is FindingStatus.FAILURE


def test_modules_that_the_kernels_python_lacks_are_named_with_how_to_get_them() -> None:
    found = _found("s3-fsspec", ("fsspec",), missing=("s3fs",))
    assert found.status is FindingStatus.FAILURE
    assert "has no s3fs" in found.message
    assert found.hint == "Install it: /usr/bin/python3 -m pip install fsspec s3fs"


async def test_this_hosts_own_python_is_asked_for_its_modules() -> None:
    host = await look(sys.executable, ("python", "-m", "ipykernel_launcher"), {"PATH": "/usr/bin"})
    assert host.python == sys.executable
    assert host.missing is not None
    assert set(host.missing) <= {"fsspec", "s3fs"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("#!/bin/sh\nexit 3\n", "ended with code 3"),
        ("no program", "cannot be run (Exec format error)"),
    ],
)
async def test_a_python_that_does_not_answer_is_not_known(
    tmp_path: Path, text: str, why: str
) -> None:
    program = tmp_path / "python3.99"
    program.write_text(text)
    program.chmod(0o755)
    host = await look(sys.executable, (str(program),), {"PATH": "/usr/bin"})
    assert host.missing is None
    assert host.python.endswith(why)
    (found,) = (each for each in findings(host, ()) if each.name == "s3-fsspec")
    assert found.status is FindingStatus.WARNING
    assert why in found.message


async def test_a_kernel_that_is_no_python_is_not_asked() -> None:
    host = await look(sys.executable, ("sh", "-c", "exit 0"), {"PATH": "/usr/bin:/bin"})
    assert (host.python, host.missing) == ("sh is no Python", None)
    host = await look(sys.executable, ("nonesuch",), {"PATH": "/usr/bin:/bin"})
    assert (host.python, host.missing) == ("there is no nonesuch", None)
