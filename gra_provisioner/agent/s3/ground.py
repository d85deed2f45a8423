"""How a mount comes to where it is wanted: at once on a host, or from a sidecar into the kernel's
container.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from typing import Dict, Optional, Set, Tuple

from ..failure import AgentError
from . import namespace
from .mount import Mount

_UNMOUNT_WITHIN = 5.0


class Host:
    """A local runner's: s3fs mounts at the path itself.  Folders that are missing are made."""

    def __init__(self, own: str) -> None:
        # No mount may be at or below this folder, which is removed with the runner.
        self._own = os.path.realpath(own)
        self._made: Dict[str, Tuple[str, int]] = {}

    def prepare(self, mount: Mount) -> str:
        """Where s3fs is to mount.  Raises :class:`AgentError` ``S3MountPointUnusable``."""
        path = mount.path
        if self._holds_own(path):
            raise _unusable(path, "it belongs to gra")
        try:
            unmount(path, lazily=True)
            if not os.path.lexists(path):
                # Nothing can be written into it while nothing is mounted.
                self._make(path)
            if path in self._made and os.geteuid() != 0:
                # fusermount wants to be sure that its user may do this.
                os.fchmod(self._made[path][1], 0o755)
            if os.path.islink(path) or not os.path.isdir(path):
                raise _unusable(path, "it is no folder")
            if os.path.ismount(path):
                raise _unusable(path, "something else is mounted there")
            if os.listdir(path):
                raise _unusable(path, "the folder is not empty")
        except OSError as error:
            raise _unusable(path, error.strerror or type(error).__name__) from error
        return path

    def _holds_own(self, path: str) -> bool:
        real = os.path.realpath(path)
        both = os.path.commonpath([real, self._own])
        return both in (real, self._own)

    def _make(self, path: str) -> None:
        first = path
        while not os.path.lexists(os.path.dirname(first)):
            first = os.path.dirname(first)
        os.makedirs(path, mode=0o755)
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        os.fchmod(folder, 0o555)
        self._made[path] = first, folder

    def show(self, mount: Mount, folder: str) -> None:
        """It is where it is to be; what is below it cannot be written to if it is gone."""
        if mount.path in self._made:
            os.fchmod(self._made[mount.path][1], 0o555)

    def retire(self, folder: str) -> None:
        """Take a mount away; who uses it still may go on until then."""
        unmount(folder, lazily=True)

    def release(self, mount: Mount, folder: Optional[str]) -> None:
        """Unmount, and remove the folder if it was made here."""
        unmount(mount.path, lazily=False)
        first, fd = self._made.pop(mount.path, ("", -1))
        if fd >= 0:
            os.close(fd)
        path = mount.path
        while first and path.startswith(first):
            try:
                os.rmdir(path)
            except OSError:
                # Somebody else uses it by now.
                return
            path = os.path.dirname(path)

    def ready(self) -> bool:
        """Whether mounts can be shown."""
        return True


class Container:
    """A sidecar's: s3fs mounts in a folder of its own, and a clone goes to the kernel's container.

    ``namespace`` is a descriptor of that container's mount namespace, once the agent has sent it.
    """

    def __init__(self, staging: str) -> None:
        self._staging = staging
        self._namespace: Optional[int] = None
        self._inode = (0, 0)
        self._count = 0
        self._folders: Set[str] = set()
        os.makedirs(staging, mode=0o700, exist_ok=True)
        for name in os.listdir(staging):
            # Of one that was killed.  Never more than empty folders: a bucket could be there.
            namespace.detach(os.path.join(staging, name))
            self._remove(os.path.join(staging, name))

    def use(self, fd: int) -> bool:
        """Take a namespace's descriptor; whether it is another one than before."""
        stat = os.fstat(fd)
        inode = (stat.st_dev, stat.st_ino)
        self.forget()
        self._namespace = fd
        changed = inode != self._inode
        self._inode = inode
        return changed

    def forget(self) -> None:
        """The container is gone: a descriptor would keep its namespace, with its mounts."""
        if self._namespace is not None:
            os.close(self._namespace)
        self._namespace = None

    def ready(self) -> bool:
        """Whether mounts can be shown."""
        return self._namespace is not None

    def prepare(self, mount: Mount) -> str:
        """Where s3fs is to mount: a new folder, as the last mount stays until this one is there."""
        self._count += 1
        folder = os.path.join(self._staging, f"{mount.id}-{self._count}")
        os.mkdir(folder, 0o700)
        self._folders.add(folder)
        return folder

    def show(self, mount: Mount, folder: str) -> None:
        """Put it into the kernel's container.  Raises :class:`AgentError`."""
        if self._namespace is None:
            raise AgentError("S3SidecarGone", "The kernel's container has not connected yet.")
        namespace.place(folder, self._namespace, mount.path)

    def retire(self, folder: str) -> None:
        """Take a mount away here; a clone of it may still be in use."""
        unmount(folder, lazily=True)
        self._remove(folder)

    def release(self, mount: Mount, folder: Optional[str]) -> None:
        """Unmount here.  The kernel's container is gone, or going, with what is mounted in it."""
        if folder is not None:
            unmount(folder, lazily=False)
            self._remove(folder)

    def _remove(self, folder: str) -> None:
        self._folders.discard(folder)
        try:
            os.rmdir(folder)
        except OSError:
            # Removed at the next start.
            return


def _unusable(path: str, why: str) -> AgentError:
    return AgentError(
        "S3MountPointUnusable",
        f"{path} cannot be mounted on: {why}.",
        "Name a folder for the mount that is empty, or that does not exist yet where you may "
        "make it.",
    )


def unmount(path: str, *, lazily: bool) -> None:
    """Unmount s3fs from a path, if it is mounted there.

    Where somebody still uses it, and with ``lazily`` at once, it vanishes for everybody else.
    Raises OSError where it is refused.
    """
    if not namespace.is_mounted(path):
        return
    if os.geteuid() != 0:
        _fusermount(path, lazily)
        return
    if lazily or not namespace.unmount_idle(path):
        namespace.detach(path)


def _fusermount(path: str, lazily: bool) -> None:
    program = shutil.which("fusermount") or shutil.which("fusermount3") or "fusermount"
    for flags in ("-uz",) if lazily else ("-u", "-uz"):
        done = subprocess.run(
            [program, flags, "--", path],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_UNMOUNT_WITHIN,
        )
        if done.returncode == 0 or not namespace.is_mounted(path):
            return
    raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), path)
