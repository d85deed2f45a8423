"""Which ways to S3 local runners have on this host: what ``gra doctor`` says of it.

Sources: s3fs-fuse's README (names of packages), fuse(4) (``/dev/fuse``), os-release(5).
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..diagnosis import Finding, bad, good

DEVICE = "/dev/fuse"
# As the agent has it: these are its own interpreter.
_OWN_PYTHON = ("python", "python3")
# A Python on a slow network file system may take seconds to start.
_ANSWER_WITHIN = 15.0
_FSSPEC = ("fsspec", "s3fs")
# Exit code 0 and the names of what is missing.
_LOOK = (
    "import importlib.util, sys; "
    "print(*[n for n in sys.argv[1:] if importlib.util.find_spec(n) is None])"
)
# Family of a distribution -> what installs s3fs and fusermount.
_PACKAGES = {
    "debian": "sudo apt install s3fs fuse3",
    "fedora": "sudo dnf install s3fs-fuse fuse",
    "suse": "sudo zypper install s3fs fuse",
    "arch": "sudo pacman -S s3fs-fuse",
    "alpine": "sudo apk add s3fs-fuse",
}
_FAMILIES = {"ubuntu": "debian", "rhel": "fedora", "centos": "fedora", "opensuse": "suse"}


@dataclass(frozen=True)
class Host:
    """What was found on this host.

    ``device`` is why ``/dev/fuse`` cannot be opened, as an errno, 0 if it can.  ``missing`` are
    the modules that the kernel's Python lacks for fsspec; ``None``: it was not asked, since there
    is none, or did not answer, and ``python`` says which.
    """

    platform: str
    families: tuple[str, ...]
    is_root: bool
    s3fs: str | None
    fusermount: str | None
    device: int
    python: str
    missing: tuple[str, ...] | None


def findings(host: Host, wanted: Collection[str]) -> list[Finding]:
    """What these facts mean.  ``wanted`` are the ways (``via``) that a profile uses.  Pure."""
    mounts = "s3fs" in wanted
    if host.platform == "linux":
        found = [_program(host, mounts), _device(host, mounts), _fusermount(host, mounts)]
    else:
        found = [_no_linux(host, mounts)]
    if "volume" in wanted:
        message = 'via = "volume" is for pods: a local runner has no volumes.'
        found.append(bad("s3-volume", message, 'Use via = "s3fs" or via = "fsspec".'))
    return [*found, _fsspec(host, "fsspec" in wanted)]


def _no_linux(host: Host, wanted: bool) -> Finding:
    return bad(
        "s3fs",
        f"Mounting S3 needs Linux, and this is {host.platform}.",
        'Use via = "fsspec", or runners on a cluster.',
        wanted=wanted,
    )


def _install(host: Host) -> str:
    for family in host.families:
        command = _PACKAGES.get(_FAMILIES.get(family, family))
        if command is not None:
            return command
    return "the package s3fs (Debian) or s3fs-fuse (Fedora, Arch, Alpine)"


def _program(host: Host, wanted: bool) -> Finding:
    if host.s3fs is not None:
        return good("s3fs", f"The program s3fs is {host.s3fs}.")
    hint = f'Install it: {_install(host)}. Or use via = "fsspec", which mounts nothing.'
    return bad("s3fs", "There is no program s3fs, which mounts S3.", hint, wanted=wanted)


def _device(host: Host, wanted: bool) -> Finding:
    if not host.device:
        return good("fuse", f"{DEVICE} can be used.")
    if host.device in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        message = f"There is no {DEVICE}: the kernel has no FUSE."
        hint = (
            "Load it: sudo modprobe fuse. A container gets it by --device /dev/fuse and "
            "--cap-add SYS_ADMIN."
        )
    else:
        message = f"{DEVICE} cannot be opened: {os.strerror(host.device)}."
        hint = "A container must be given it: --device /dev/fuse and --cap-add SYS_ADMIN."
        if host.device in (errno.EACCES, errno.EPERM):
            hint = f"Let this user read and write {DEVICE}, as a rule by its group. {hint}"
    return bad("fuse", message, f'{hint} Or use via = "fsspec".', wanted=wanted)


def _fusermount(host: Host, wanted: bool) -> Finding:
    if host.fusermount is not None:
        return good("fusermount", f"The program that mounts for users is {host.fusermount}.")
    if host.is_root:
        return good("fusermount", "There is no fusermount, and root needs none.")
    return bad(
        "fusermount",
        "There is no program fusermount, by which a user who is not root mounts.",
        f"Install it: {_install(host)}.",
        wanted=wanted,
    )


def _fsspec(host: Host, wanted: bool) -> Finding:
    name = "s3-fsspec"
    if host.missing is None:
        return bad(
            name,
            f"Whether the kernel has fsspec is not known: {host.python}.",
            "fsspec is for kernels in Python.",
            wanted=wanted,
        )
    if host.missing:
        return bad(
            name,
            f"The kernel's Python, {host.python}, has no {' and no '.join(host.missing)}, by "
            'which pandas reads "s3://…".',
            f"Install it: {host.python} -m pip install fsspec s3fs",
            wanted=wanted,
        )
    return good(name, f"The kernel's Python, {host.python}, has fsspec and s3fs.")


# -- looking ------------------------------------------------------------------------------------


async def look(python: str, kernel_argv: Sequence[str], environ: Mapping[str, str]) -> Host:
    """What there is on this host.  ``python`` is the interpreter of agents."""
    path = environ.get("PATH")
    shown, missing = await _modules(python, kernel_argv, path)
    return Host(
        platform=sys.platform,
        families=_families(Path("/etc/os-release")),
        is_root=os.geteuid() == 0,
        s3fs=shutil.which("s3fs", path=path),
        fusermount=shutil.which("fusermount", path=path) or shutil.which("fusermount3", path=path),
        device=_opened(DEVICE),
        python=shown,
        missing=missing,
    )


def _opened(device: str) -> int:
    try:
        os.close(os.open(device, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return error.errno or errno.EIO
    return 0


def _families(release: Path) -> tuple[str, ...]:
    """The distribution, and what it is made of, the closest first."""
    try:
        lines = release.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ()
    fields = dict(line.split("=", 1) for line in lines if "=" in line)
    words = [fields.get(name, "").strip("\"'") for name in ("ID", "ID_LIKE")]
    return tuple(" ".join(words).split())


async def _modules(
    python: str, kernel_argv: Sequence[str], path: str | None
) -> tuple[str, tuple[str, ...] | None]:
    """The kernel's Python and what it lacks, or why that is not known."""
    command = kernel_argv[0] if kernel_argv else "python"
    program = python if command in _OWN_PYTHON else shutil.which(command, path=path)
    if program is None:
        return f"there is no {command}", None
    if "python" not in Path(program).name:
        return f"{command} is no Python", None
    try:
        process = await asyncio.create_subprocess_exec(
            program,
            "-c",
            _LOOK,
            *_FSSPEC,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError as error:
        return f"{program} cannot be run ({error.strerror})", None
    try:
        written, _ = await asyncio.wait_for(process.communicate(), _ANSWER_WITHIN)
    except asyncio.TimeoutError:
        process.kill()
        await process.wait()
        return f"{program} did not answer in {_ANSWER_WITHIN:g} s", None
    if process.returncode != 0:
        return f"{program} ended with code {process.returncode}", None
    return program, tuple(written.decode("utf-8", "replace").split())
