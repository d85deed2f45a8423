"""Files of a folder as a tar stream, and back into a folder, out of which no path can lead.

Both ends of a transfer have this module.  The stream is pax (POSIX.1-2001,
https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html), for names of any bytes and
length and for times of full precision; ``GRA.ctime`` in it is the source's, by which that end knows
later what it has sent.  Only files and folders are in it, and only those that are expected are
taken out of it.  Folders are opened part by part without following a link, so that what is swapped
meanwhile leads nowhere else.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import tarfile
from types import TracebackType
from typing import Any, BinaryIO, Dict, Iterable, List, NamedTuple, Optional, Tuple, Type

from .tree import FILE, FOLDER, OWN_PREFIX, Entry, entry_of

_COPY_AT_ONCE = 1 << 20
_CTIME = "GRA.ctime"
_AS_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_AS_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# How many names are tried for a file that is in the way of none.
_TRIES = 1000
_LONGEST_NAME = 255


class Refused(Exception):
    """The stream has something in it that was not expected there, or cannot be read."""


class Changed(Exception):
    """A file became shorter while it was read."""


class Action(NamedTuple):
    """What is to be done with one file of a stream.

    ``over`` is the state (:attr:`.tree.Entry.state`) of the file that may be replaced by it; None
    if there should be none.  Whatever else is there then stays: under its name, and the new file is
    written beside it; or, with ``displace``, beside, and the new file gets the name.
    """

    over: Optional[Tuple[int, int, int]] = None
    displace: bool = False


class Written(NamedTuple):
    """What became of a stream.

    ``files`` are those written: as the source had them, and by their path under which name they
    are if that is another (``beside``); with ``displace`` the name of what was there.
    ``failed`` are paths and why they could not be written.
    """

    files: List[Entry]
    beside: Dict[str, str]
    failed: List[Tuple[str, str]]


class Folder:
    """A folder, whose files are found part by part of their paths.  A context manager.

    ``mark`` is put into the names of what is written beside something: ``name.mark.ext``.
    """

    def __init__(self, root: str, mark: str = "copy") -> None:
        self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._mark = mark
        # The last one: files come folder by folder.
        self._parent: Tuple[str, int] = ("", self._root)

    def __enter__(self) -> Folder:
        """Usable at once."""
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self._forget()
        os.close(self._root)

    def open(self, path: str) -> int:
        """A descriptor of a regular file.  Raises :class:`OSError`."""
        parent, name = self._parent_of(path)
        fd = os.open(name, _AS_FILE, dir_fd=parent)
        entry = entry_of(path, os.fstat(fd))
        if entry is None or entry.kind != FILE:
            os.close(fd)
            raise OSError(errno.EINVAL, "is no file any more", path)
        return fd

    def make(self, path: str, mode: int) -> None:
        """Make a folder where there is none."""
        parent, name = self._parent_of(path, make=True)
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, mode | 0o700, dir_fd=parent)
            # Whatever the umask says.
            os.chmod(name, mode | 0o700, dir_fd=parent)

    def write(self, entry: Entry, source: Any, action: Action) -> Optional[str]:
        """Write a file as a whole or not at all.

        Returns the path of what lies beside now (see :class:`Action`), if anything does.
        Raises :class:`OSError`.
        """
        wanted = os.path.dirname(entry.path)
        parent, name = self._parent_of(entry.path, make=True)
        folder = self._parent[0]
        temporary = f"{OWN_PREFIX}{secrets.token_hex(8)}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with os.fdopen(os.open(temporary, flags, 0o600, dir_fd=parent), "wb") as file:
                _copy(source, file, entry.size, entry.path)
                file.flush()
                os.fchmod(file.fileno(), entry.mode)
                os.utime(file.fileno(), ns=(entry.mtime, entry.mtime))
            beside = self._place(temporary, parent, name, action)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=parent)
            raise
        if beside is None and folder == wanted:
            return None
        placed = beside or name
        return f"{folder}/{placed}" if folder else placed

    def _place(self, temporary: str, parent: int, name: str, action: Action) -> Optional[str]:
        """Give a file its name: None, or the name of what lies beside."""
        if action.over is not None and self._is(parent, name, action.over):
            os.replace(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
            return None
        if _rename_to_free(temporary, name, parent):
            return None
        if action.displace:
            moved = self._beside(name, parent, name)
            if not _rename_to_free(temporary, name, parent):
                raise FileExistsError(errno.EEXIST, "was made meanwhile", name)
            return moved
        return self._beside(temporary, parent, name)

    @staticmethod
    def _is(parent: int, name: str, state: Tuple[int, int, int]) -> bool:
        try:
            there = entry_of(name, os.stat(name, dir_fd=parent, follow_symlinks=False))
        except FileNotFoundError:
            return False
        return there is not None and there.kind == FILE and there.state == tuple(state)

    def _beside(self, source: str, parent: int, name: str) -> str:
        """Rename ``source`` to the first free name that is like ``name``."""
        for number in range(1, _TRIES):
            free = beside(name, self._mark, number)
            if _rename_to_free(source, free, parent):
                return free
        raise FileExistsError(errno.EEXIST, "there are too many others beside it", name)

    # -- folders ----------------------------------------------------------------------------

    def _parent_of(self, path: str, *, make: bool = False) -> Tuple[int, str]:
        """The folder of a path, opened, and the last part of the path.

        With ``make`` folders that are missing are made; one whose name something else has gets
        another, beside it, and then :attr:`_parent` tells which.
        """
        folder, _, name = path.rpartition("/")
        if self._parent[0] != folder:
            self._forget()
            at, so_far = os.dup(self._root), ""
            try:
                for part in folder.split("/") if folder else ():
                    below, part = self._step(at, part, make=make)
                    os.close(at)
                    at, so_far = below, f"{so_far}/{part}" if so_far else part
            except BaseException:
                os.close(at)
                raise
            self._parent = (so_far, at)
        return self._parent[1], name

    def _step(self, at: int, part: str, *, make: bool) -> Tuple[int, str]:
        for number in range(_TRIES):
            name = beside(part, self._mark, number) if number else part
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, 0o777, dir_fd=at)
            try:
                return os.open(name, _AS_FOLDER, dir_fd=at), name
            except OSError as error:
                if not make or error.errno not in (errno.ENOTDIR, errno.ELOOP):
                    raise
        raise FileExistsError(errno.EEXIST, "there are too many others beside it", part)

    def _forget(self) -> None:
        _, fd = self._parent
        if fd != self._root:
            os.close(fd)
        self._parent = ("", self._root)


def beside(name: str, mark: str, number: int = 1) -> str:
    """A name like this one, with a mark before its ending: ``name.mark.ext``."""
    stem, ending = os.path.splitext(name)
    tail = f".{mark}{f'.{number}' if number > 1 else ''}{ending}"
    room = _LONGEST_NAME - len(os.fsencode(tail))
    while len(os.fsencode(stem)) > room:
        stem = stem[:-1]
    return stem + tail


def _rename_to_free(source: str, name: str, parent: int) -> bool:
    """Rename unless something has the name."""
    try:
        # A rename would replace what came meanwhile.
        os.link(source, name, src_dir_fd=parent, dst_dir_fd=parent, follow_symlinks=False)
    except FileExistsError:
        return False
    except (OSError, NotImplementedError):
        # Not every file system has hard links, and none for folders.
        with contextlib.suppress(FileNotFoundError):
            os.stat(name, dir_fd=parent, follow_symlinks=False)
            return False
        os.rename(source, name, src_dir_fd=parent, dst_dir_fd=parent)
        return True
    os.unlink(source, dir_fd=parent)
    return True


# -- the stream ---------------------------------------------------------------------------------


def pack(folder: Folder, entries: Iterable[Entry], out: Any) -> List[Entry]:
    """Write files and folders to a stream; what was written, as it was then.

    What is gone, or is no file any more, is left out.  A file that changed while it was read has
    the ``ctime`` 0.  Raises :class:`Changed` and :class:`OSError`.
    """
    packed: List[Entry] = []
    with tarfile.open(
        fileobj=out,
        mode="w|",
        format=tarfile.PAX_FORMAT,
        encoding="utf-8",
        errors="surrogateescape",
        bufsize=_COPY_AT_ONCE,
    ) as tar:
        for entry in entries:
            if entry.kind == FOLDER:
                tar.addfile(_header(entry))
                packed.append(entry)
                continue
            try:
                fd = folder.open(entry.path)
            except OSError:
                continue
            with os.fdopen(fd, "rb") as file:
                before = _of_open(entry.path, file)
                try:
                    tar.addfile(_header(before), file)
                except (OSError, ValueError) as error:
                    if _of_open(entry.path, file).size < before.size:
                        raise Changed(entry.path) from error
                    raise
                same = _of_open(entry.path, file).state == before.state
            packed.append(before if same else before._replace(ctime=0))
    return packed


def unpack(stream: BinaryIO, folder: Folder, actions: Dict[str, Action]) -> Written:
    """Take the files of ``actions``, and folders, out of a stream.

    Raises :class:`Refused` at what is anything else, before that is written.
    """
    written = Written([], {}, [])
    try:
        with tarfile.open(
            fileobj=stream,
            mode="r|",
            encoding="utf-8",
            errors="surrogateescape",
            bufsize=_COPY_AT_ONCE,
        ) as tar:
            while True:
                member = tar.next()
                if member is None:
                    break
                _take(tar, member, folder, actions, written)
    except tarfile.TarError as error:
        raise Refused(f"the stream is not what it should be: {error}") from error
    return written


def _take(
    tar: tarfile.TarFile,
    member: tarfile.TarInfo,
    folder: Folder,
    actions: Dict[str, Action],
    written: Written,
) -> None:
    path = member.name
    action = actions.get(path)
    if action is None or member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE):
        raise Refused(f"the stream has {path!r} in it, which was not asked for")
    entry = _entry(member)
    try:
        if entry.kind == FOLDER:
            folder.make(path, entry.mode)
            return
        source = tar.extractfile(member)
        if source is None or getattr(member, "sparse", None) is not None:
            raise Refused(f"the stream has {path!r} in it, which is no plain file")
        other = folder.write(entry, source, action)
    except OSError as error:
        written.failed.append((path, error.strerror or str(error)))
        return
    written.files.append(entry)
    if other is not None:
        written.beside[path] = other


def _header(entry: Entry) -> tarfile.TarInfo:
    info = tarfile.TarInfo(entry.path)
    info.mode = entry.mode
    if entry.kind == FOLDER:
        info.type = tarfile.DIRTYPE
        return info
    info.size = entry.size
    seconds, fraction = divmod(entry.mtime, 10**9)
    # A number of its own would lose the nanoseconds.
    info.pax_headers = {"mtime": f"{seconds}.{fraction:09}", _CTIME: str(entry.ctime)}
    return info


def _entry(member: tarfile.TarInfo) -> Entry:
    mode = member.mode & 0o777
    if member.isdir():
        return Entry(member.name, FOLDER, 0, 0, 0, mode)
    headers = member.pax_headers
    try:
        seconds, _, fraction = headers["mtime"].partition(".")
        mtime = int(seconds) * 10**9 + int(fraction[:9].ljust(9, "0"))
        if abs(mtime) >= 1 << 63:
            raise ValueError(mtime)
        return Entry(member.name, FILE, member.size, mtime, int(headers[_CTIME]), mode)
    except (KeyError, ValueError):
        raise Refused(f"the stream does not say when {member.name!r} was changed") from None


def _of_open(path: str, file: BinaryIO) -> Entry:
    status = os.fstat(file.fileno())
    return Entry(
        path, FILE, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_mode & 0o777
    )


def _copy(source: BinaryIO, target: BinaryIO, size: int, path: str) -> None:
    left = size
    while left:
        data = source.read(min(left, _COPY_AT_ONCE))
        if not data:
            raise Refused(f"the stream ends within {path!r}")
        target.write(data)
        left -= len(data)
