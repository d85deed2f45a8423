"""What would be copied of a directory, and whether it may be: decided before there is a runner."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import FolderNotCopied
from ..runner import Workspace
from ..units import format_size
from .plan import largest
from .tree import FILE, Entry, Listing, TooMany, listing

#: Files and folders that are listed at most, on either side.
MOST_ENTRIES = 100_000


@dataclass(frozen=True)
class Survey:
    """A directory of this machine as it is before a launch: its path and what is to be copied."""

    folder: str
    entries: Sequence[Entry]
    left_out: Sequence[tuple[str, str]]
    exclude: tuple[str, ...]
    limit: int

    @property
    def origin(self) -> str:
        """A name for the directory that tells nothing about it."""
        return hashlib.sha256(
            f"{socket.gethostname()}\0{self.folder}".encode(errors="surrogateescape")
        ).hexdigest()[:32]


def survey(folder: str, workspace: Workspace, home: str) -> Survey:
    """Look at a directory that is to be copied into a runner.  Blocks.

    ``home`` is the user's: of it, what has a hidden name stays at home.  Raises
    :class:`~..errors.FolderNotCopied`: ``FolderTooLarge``, ``FolderTooWide`` for what is above the
    home directory, ``FolderUnreadable``.
    """
    real = os.path.realpath(folder)
    at_home = os.path.realpath(home)
    if real == "/" or (f"{at_home}/".startswith(f"{real}/") and real != at_home):
        raise FolderNotCopied(
            f"{folder} has more in it than a notebook's own directory: your home directory, too.",
            hint='Start the notebook in a directory of its own, or take sync = "notebook" out of '
            "the profile's workspace.",
            reason="FolderTooWide",
        )
    exclude = (*workspace.sync_exclude, "/.*") if real == at_home else workspace.sync_exclude
    found = _listed(real, exclude)
    size = sum(entry.size for entry in found.entries)
    limit = min(workspace.sync_limit, workspace.size or workspace.sync_limit)
    if size > limit:
        raise _too_large(
            real,
            f"{format_size(size)}, more than the {format_size(limit)} that "
            "are copied into a runner at most",
            found.entries,
        )
    return Survey(real, found.entries, found.left_out, exclude, limit)


def _listed(folder: str, exclude: Iterable[str]) -> Listing:
    try:
        return listing(folder, exclude, MOST_ENTRIES)
    except TooMany as error:
        raise _too_large(
            folder,
            f"more than {MOST_ENTRIES:,} files and folders, which are copied into a runner at most",
            error.entries,
        ) from None
    except OSError as error:
        raise FolderNotCopied(
            f"{folder} cannot be read: {error.strerror}.",
            hint="Start the notebook in a directory that you may read.",
            reason="FolderUnreadable",
        ) from error


def _too_large(folder: str, what: str, entries: Sequence[Entry]) -> FolderNotCopied:
    parts = [
        f"{name} {format_size(size)} in {number:,} files"
        if name.endswith("/")
        else f"{name} {format_size(size)}"
        for name, size, number in largest(entries)
    ]
    return FolderNotCopied(
        f"{folder} has {what}. The largest in it: {'; '.join(parts)}.",
        hint="Name what the runner does not need in sync_exclude of the profile's workspace, or "
        "raise its sync_limit; large data is better mounted from S3.",
        reason="FolderTooLarge",
        details={"folder": folder, "largest": parts},
    )


def counted(entries: Iterable[Entry]) -> str:
    """``120 files, 34Mi``."""
    sizes = [entry.size for entry in entries if entry.kind == FILE]
    files = "1 file" if len(sizes) == 1 else f"{len(sizes):,} files"
    return f"{files}, {format_size(sum(sizes))}"


def shown(text: str) -> str:
    """A text with names of files in it, which may have any bytes, without what cannot be shown."""
    return "".join(char if char.isprintable() else "�" for char in text)


def home_of(environ: Mapping[str, str]) -> str:
    """The home directory of the user with this environment."""
    return environ.get("HOME") or str(Path.home())
