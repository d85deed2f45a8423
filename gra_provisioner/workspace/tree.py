"""What is in a folder: its files and folders as plain data, listed without reading a file.

Both ends of a transfer have this module.  Paths are relative to the folder, with ``/`` between
their parts; bytes of names that are no UTF-8 are as :func:`os.fsdecode` has them.  Symbolic links,
device files, sockets and what is mounted below the folder are left out, and said.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import re
import stat
from typing import Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

FILE, FOLDER = "file", "folder"

#: Names of our own files, for a moment or for good: never copied.
OWN_PREFIX = ".gra-"

_READ_AT_ONCE = 1 << 20


class Entry(NamedTuple):
    """One file or folder.  ``mtime`` and ``ctime`` are in nanoseconds, ``mode`` has nine bits.

    Of a folder, size and times are 0.
    """

    path: str
    kind: str
    size: int
    mtime: int
    ctime: int
    mode: int

    @property
    def state(self) -> Tuple[int, int, int]:
        """What changes with a file's content: size and times."""
        return self.size, self.mtime, self.ctime


class Listing(NamedTuple):
    """What :func:`listing` found; ``left_out`` are paths and what is there, excluded ones not."""

    entries: List[Entry]
    left_out: List[Tuple[str, str]]


class TooMany(Exception):
    """A folder has more in it than may be listed; ``entries`` is what was found until then."""

    def __init__(self, entries: List[Entry]) -> None:
        super().__init__(f"there are more than {len(entries)} files and folders")
        self.entries = entries


def excluder(patterns: Iterable[str]) -> Callable[[str, str], bool]:
    """The function that tells whether ``(path, name)`` is excluded, with all that is below it.

    Patterns are those of :mod:`fnmatch`.  One with a slash in it is compared with the path, any
    other with the name, wherever it is.
    """
    by_path: List[str] = []
    by_name = [f"{OWN_PREFIX}*"]
    for pattern in patterns:
        bare = pattern.strip("/")
        (by_path if "/" in pattern.rstrip("/") else by_name).append(bare)
    names, paths = _any_of(by_name), _any_of(by_path)
    return lambda path, name: bool(names.match(name) or paths.match(path))


def _any_of(patterns: Sequence[str]) -> re.Pattern[str]:
    # Without any, what nothing matches.
    return re.compile("|".join(map(fnmatch.translate, patterns)) or r"(?!)")


def below(excluded: Callable[[str, str], bool]) -> Callable[[str], bool]:
    """Whether a path or a folder that it is in is excluded."""

    def is_excluded(path: str) -> bool:
        parts = path.split("/")
        return any(excluded("/".join(parts[: count + 1]), part) for count, part in enumerate(parts))

    return is_excluded


def listing(root: str, exclude: Iterable[str], most: int) -> Listing:
    """All files and folders below ``root``, a folder always before what is in it.

    Raises :class:`TooMany` where that is more than ``most``, and :class:`OSError` where ``root``
    itself cannot be read; a folder below that cannot be is left out.
    """
    excluded = excluder(exclude)
    device = os.stat(root).st_dev
    found = Listing([], [])
    folders = [""]
    while folders:
        folder = folders.pop()
        try:
            there = sorted(os.scandir(os.path.join(root, folder)), key=lambda item: item.name)
        except OSError as error:
            if not folder:
                raise
            found.left_out.append((folder, f"unreadable ({error.strerror})"))
            continue
        below = []
        for item in there:
            path = f"{folder}/{item.name}" if folder else item.name
            if excluded(path, item.name):
                continue
            try:
                status = item.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            entry = entry_of(path, status)
            if entry is None or status.st_dev != device:
                found.left_out.append((path, kind_of(status, device)))
                continue
            if len(found.entries) >= most:
                raise TooMany(found.entries)
            found.entries.append(entry)
            if entry.kind == FOLDER:
                below.append(path)
        folders.extend(reversed(below))
    return found


def entry_of(path: str, status: os.stat_result) -> Optional[Entry]:
    """A file or folder as it is listed; None for anything else."""
    mode = status.st_mode & 0o777
    if stat.S_ISDIR(status.st_mode):
        return Entry(path, FOLDER, 0, 0, 0, mode)
    if stat.S_ISREG(status.st_mode):
        return Entry(path, FILE, status.st_size, status.st_mtime_ns, status.st_ctime_ns, mode)
    return None


def kind_of(status: os.stat_result, device: int) -> str:
    """What is left out, in words."""
    if stat.S_ISLNK(status.st_mode):
        return "a symbolic link"
    if stat.S_ISDIR(status.st_mode) or stat.S_ISREG(status.st_mode):
        return "on another file system" if status.st_dev != device else "unreadable"
    return "a device, socket or pipe"


def safe(path: object) -> bool:
    """Whether this is a path that can only lead to what is below a folder."""
    if not isinstance(path, str) or not path or "\0" in path:
        return False
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        return False
    return all(part not in ("", ".", "..") for part in path.split("/"))


def digests(paths: Iterable[str], open_file: Callable[[str], int]) -> Dict[str, str]:
    """SHA-256 of files by path; one that cannot be read is not in it.

    ``open_file`` gives a descriptor (:meth:`.parcel.Folder.open`).
    """
    result = {}
    for path in paths:
        try:
            with os.fdopen(open_file(path), "rb") as file:
                digest = hashlib.sha256()
                for data in _pieces(file.read):
                    digest.update(data)
        except OSError:
            continue
        result[path] = digest.hexdigest()
    return result


def _pieces(read: Callable[[int], bytes]) -> Iterator[bytes]:
    while True:
        data = read(_READ_AT_ONCE)
        if not data:
            return
        yield data
