"""What was copied into runners, remembered on this machine until it is over with them.

A record is a file in the state folder, named by the runner's uid, so that whichever process of the
same user ends the runner knows where its results belong.  It is not kept in the runner: code there
could then say where on this machine something is to be written.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import StateFolderError

_UID = re.compile(r"[A-Za-z0-9-]{1,64}", re.ASCII)
# Runners that end by themselves leave theirs behind.
_KEPT_FOR = 30 * 24 * 3600.0
_FORM = 1


@dataclass(frozen=True)
class Record:
    """What went into one runner.

    ``folder`` is the directory on this machine, ``directory`` the runner's (None: where its agent
    is; ``there`` is its path, for sentences), ``files`` the states of those in ``folder`` by path.
    ``stays``: what is in the runner's directory outlives the runner.  ``limit`` is in bytes.
    ``fetched``: everything was copied back at least once.
    """

    runner: str
    uid: str
    folder: str
    origin: str
    directory: str | None
    there: str
    exclude: tuple[str, ...]
    limit: int
    stays: bool = False
    files: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)
    fetched: bool = False


class Records:
    """The records in a folder, which is made when there is the first.  All methods block."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, record: Record) -> None:
        """Remember, in the place of what was remembered of this runner.

        Raises :class:`~..errors.StateFolderError`.
        """
        path = self._path(record.uid)
        temporary = path.with_name(f".{secrets.token_hex(8)}")
        data = {"form": _FORM, **dataclasses.asdict(record)}
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._prune()
            try:
                with open(temporary, "x", opener=_private, encoding="ascii") as file:
                    json.dump(data, file)
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
        except OSError as error:
            raise StateFolderError(
                f"{path} cannot be written: {error.strerror}.",
                hint="What is copied into a runner is remembered there, so that results find their "
                "way back.",
            ) from error

    def read(self, uid: str) -> Record | None:
        """The record of a runner; None if there is none that can be read."""
        try:
            data: dict[str, Any] = json.loads(self._path(uid).read_text(encoding="ascii"))
            if data.pop("form") != _FORM:
                return None
            data["exclude"] = tuple(data["exclude"])
            data["files"] = {path: tuple(state) for path, state in data["files"].items()}
            return Record(**data)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def remove(self, uid: str) -> None:
        """Forget a runner."""
        for path in (self._path(uid), self._lock(uid)):
            with contextlib.suppress(OSError):
                path.unlink()

    def lock(self, uid: str) -> int | None:
        """Keep other processes from this runner's record until :meth:`unlock`.

        None while another has it.  Raises :class:`~..errors.StateFolderError`.
        """
        path = self._lock(uid)
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StateFolderError(f"{path} cannot be written: {error.strerror}.") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
        return fd

    @staticmethod
    def unlock(fd: int) -> None:
        """Give back what :meth:`lock` gave."""
        os.close(fd)

    def _path(self, uid: str) -> Path:
        if not _UID.fullmatch(uid):
            raise StateFolderError(f"{uid!r} is no uid of a runner.")
        return self._folder / f"{uid}.json"

    def _lock(self, uid: str) -> Path:
        return self._path(uid).with_suffix(".lock")

    def _prune(self) -> None:
        before = time.time() - _KEPT_FOR
        for path in self._folder.iterdir():
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < before:
                    path.unlink()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
