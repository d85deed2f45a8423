"""Puts a mount into another mount namespace, and takes mounts out of it.

As systemd does it (src/shared/mount-util.c, mount_in_namespace): a clone of the mount is made here
with open_tree(2), and attached there with move_mount(2), in a process that has gone there with
setns(2).  Needs CAP_SYS_ADMIN and Linux 5.2.  Nothing of it is in any other mount table.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import signal
import time
from typing import Callable, List, NamedTuple, Optional

from ..failure import AgentError

# The same numbers on every architecture: both are younger than the common table.
_OPEN_TREE, _MOVE_MOUNT = 428, 429
_OPEN_TREE_CLONE, _OPEN_TREE_CLOEXEC = 1, os.O_CLOEXEC
_MOVE_MOUNT_F_EMPTY_PATH, _MOVE_MOUNT_T_EMPTY_PATH = 0x04, 0x40
_MNT_DETACH, _UMOUNT_NOFOLLOW = 2, 8
_CLONE_NEWNS = 0x00020000
_AT_FDCWD = -100
_FUSE_TYPES = ("fuse.s3fs",)
_BOUND = 5.0


class Entry(NamedTuple):
    """A line of a mount table (proc(5))."""

    id: int
    point: str
    kind: str


def parse_table(text: str) -> List[Entry]:
    """The entries of mountinfo, in the order of mounting."""
    found = []
    for line in text.splitlines():
        words = line.split(" ")
        if "-" in words:
            kind = words[words.index("-") + 1]
            found.append(Entry(int(words[0]), unescaped(words[4]), kind))
    return found


def unescaped(point: str) -> str:
    """A path of the mount table, where blanks and backslashes are octal."""
    raw = os.fsencode(point)
    pieces = raw.split(b"\\")
    text = pieces[0]
    for piece in pieces[1:]:
        text += bytes([int(piece[:3], 8)]) + piece[3:]
    return os.fsdecode(text)


def table() -> List[Entry]:
    """This process's mounts."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        return parse_table(file.read())


def top_at(path: str, entries: List[Entry]) -> Optional[Entry]:
    """What is mounted at a path, the last if there are several."""
    return next((entry for entry in reversed(entries) if entry.point == path), None)


def is_mounted(path: str) -> bool:
    """Whether s3fs, alive or not, is mounted at the path."""
    top = top_at(path, table())
    return top is not None and top.kind in _FUSE_TYPES


def place(staged: str, namespace: int, path: str) -> None:
    """Show what is mounted at ``staged`` at ``path`` of another namespace, in the place of what
    was there of s3fs.

    Raises :class:`AgentError` ``S3KernelTooOld``, ``S3MountPointUnusable`` or ``S3MountFailed``.
    """
    libc = _libc()
    _in_child(lambda: _place(libc, staged, namespace, path), path)


def _place(libc: ctypes.CDLL, staged: str, namespace: int, path: str) -> None:
    # Here, as the other namespace's /proc knows nothing of this process.
    proc = os.open("/proc/self", os.O_RDONLY | os.O_DIRECTORY)
    flags = _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC
    tree = _called(
        libc,
        "open_tree",
        libc.syscall(_OPEN_TREE, _AT_FDCWD, os.fsencode(staged), ctypes.c_uint(flags)),
    )
    _called(libc, "setns", libc.setns(namespace, _CLONE_NEWNS))
    while _kind_at(proc, path) in _FUSE_TYPES:
        _called(libc, "umount2", libc.umount2(os.fsencode(path), _MNT_DETACH | _UMOUNT_NOFOLLOW))
    target = _open_target(proc, path)
    flags = _MOVE_MOUNT_F_EMPTY_PATH | _MOVE_MOUNT_T_EMPTY_PATH
    _called(
        libc,
        "move_mount",
        libc.syscall(_MOVE_MOUNT, tree, b"", target, b"", ctypes.c_uint(flags)),
    )


def _open_target(proc: int, path: str) -> int:
    """The folder, which must be a mount point itself: whoever runs there cannot exchange it."""
    try:
        target = os.open(path, _O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY)
    except OSError as error:
        raise _StepError("open", error.errno or errno.EIO) from None
    with os.fdopen(os.open(f"fdinfo/{target}", os.O_RDONLY, dir_fd=proc)) as file:
        facts = dict(line.split(":", 1) for line in file.read().splitlines() if ":" in line)
    top = top_at(path, _table_of(proc))
    if top is None or top.id != int(facts.get("mnt_id", "-1")):
        raise _StepError("mount point", errno.EINVAL)
    return target


def _kind_at(proc: int, path: str) -> str:
    top = top_at(path, _table_of(proc))
    return top.kind if top else ""


def _table_of(proc: int) -> List[Entry]:
    fd = os.open("mountinfo", os.O_RDONLY, dir_fd=proc)
    with os.fdopen(fd, encoding="utf-8", errors="surrogateescape") as file:
        return parse_table(file.read())


# Linux only, and this module is imported wherever the agent's tests are.
_O_PATH = getattr(os, "O_PATH", 0)


class _StepError(Exception):
    """A system call failed."""

    def __init__(self, step: str, number: int) -> None:
        super().__init__(step)
        self.step = step
        self.number = number


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _called(libc: ctypes.CDLL, step: str, result: int) -> int:
    if result < 0:
        raise _StepError(step, ctypes.get_errno())
    return result


def _in_child(work: Callable[[], None], path: str) -> None:
    """Run in a process of one thread, as setns(2) wants; errors come back by a pipe."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            work()
            said = b"ok"
        except _StepError as error:
            said = f"{error.step}:{error.number}".encode()
        except OSError as error:
            said = f"system:{error.errno}".encode()
        finally:
            # Nothing else may happen here, whatever went wrong.
            os.write(writing, said if "said" in locals() else b"child:0")
            os._exit(0)
    os.close(writing)
    try:
        said = _read(reading, pid)
    finally:
        os.close(reading)
    _collect(pid)
    if said == b"ok":
        return
    step, _, number = said.decode().partition(":")
    raise explain(step, int(number or 0), path)


def _collect(pid: int) -> None:
    """Wait for the child, unless the reaper has done so."""
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        return


def _read(reading: int, pid: int) -> bytes:
    """What the child says, or why it said nothing."""
    deadline = time.monotonic() + _BOUND
    if not select.select([reading], [], [], max(0.0, deadline - time.monotonic()))[0]:
        os.kill(pid, signal.SIGKILL)
        return b"time:0"
    return os.read(reading, 200) or b"child:0"


def explain(step: str, number: int, path: str) -> AgentError:
    """The error for a system call that failed while a mount was put into place.  Pure."""
    what = os.strerror(number) if number else "no answer"
    if number == errno.ENOSYS:
        return AgentError(
            "S3KernelTooOld",
            f"The node's Linux is too old to show a mount in another container ({step}: {what}).",
            'Use nodes with Linux 5.2 or later, or via = "volume" or "fsspec".',
        )
    if number == errno.EPERM:
        return AgentError(
            "S3FuseMissing",
            f"The S3 sidecar may not mount ({step}: {what}).",
            "The sidecar must be privileged: check what the cluster made of its security context.",
        )
    if step in ("open", "mount point"):
        return AgentError(
            "S3MountPointUnusable",
            f"{path} cannot be mounted on: {what}.",
            "Name a folder for the mount that nothing else uses.",
        )
    return AgentError(
        "S3MountFailed", f"The mount could not be shown at {path} ({step}: {what}).", ""
    )


def detach(path: str) -> None:
    """Take s3fs's mounts off a path of this process's namespace, whatever still uses them.

    Raises OSError where that is refused.
    """
    libc = _libc()
    while is_mounted(path):
        if libc.umount2(os.fsencode(path), _MNT_DETACH | _UMOUNT_NOFOLLOW) < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), path)


def unmount_idle(path: str) -> bool:
    """Unmount what nobody uses, which ends s3fs in good order; whether that was so."""
    libc = _libc()
    return int(libc.umount2(os.fsencode(path), _UMOUNT_NOFOLLOW)) == 0 and not is_mounted(path)


def die_with_parent() -> None:
    """To be run in a child before its program: get SIGTERM when the parent ends (prctl(2))."""
    _libc().prctl(1, signal.SIGTERM)
