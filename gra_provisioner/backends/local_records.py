"""What is on disk of local runners: a folder for each, and in it ``runner.json``."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import StateFolderError
from ..runner import KnownResources, RunnerLabels


class Records:
    """The folders of runners in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def claim(self) -> Path:
        """Make the folder of a new runner, under the lowest free number.  Raises OSError."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder.chmod(0o700)
        number = 1
        while True:
            folder = self._folder / f"runner-{number}"
            try:
                folder.mkdir(mode=0o700)
            except FileExistsError:
                number += 1
            else:
                return folder

    def names(self) -> Iterable[str]:
        """The names of all runners there are.  Raises OSError."""
        try:
            return [entry.name for entry in self._folder.iterdir() if is_name(entry.name)]
        except FileNotFoundError:
            return []

    def read(self, name: str) -> dict[str, Any] | None:
        """The runner's record, with what is not known of it left empty; None if there is no such.

        Raises :class:`~..errors.StateFolderError`.
        """
        if not is_name(name):
            return None
        folder = self._folder / name
        try:
            created = folder.stat().st_mtime
            text = (folder / "runner.json").read_text(encoding="utf-8")
            record = json.loads(text)
        except NotADirectoryError:
            return None
        except FileNotFoundError:
            if not folder.is_dir():
                return None
            record = None
        except ValueError:
            record = None
        except PermissionError as error:
            raise unusable(folder, error) from None
        bare = _bare(name, created)
        if not isinstance(record, dict) or not bare.keys() <= record.keys():
            # The folder was made and its maker is about to write, or never came to it.
            return bare
        return record


def is_name(name: str) -> bool:
    """Whether a runner's folder may have that name."""
    prefix, _, number = name.partition("-")
    return prefix == "runner" and number.isdecimal() and number == str(int(number))


def _bare(name: str, created: float) -> dict[str, Any]:
    empty = dict.fromkeys(("kernel_id", "kernel_name", "notebook", "client_host"))
    pids = {"agent_pid": None, "agent_identity": None}
    return {"name": name, "uid": "", "profile": "", "owner": "", "created": created} | empty | pids


def labels_of(record: Mapping[str, Any]) -> RunnerLabels:
    """Who and what the runner is for."""
    return RunnerLabels(
        owner=record["owner"],
        kernel_id=record["kernel_id"],
        kernel_name=record["kernel_name"],
        notebook=record["notebook"],
        client_host=record["client_host"],
        user_labels=_user_labels(record),
    )


def _user_labels(record: Mapping[str, Any]) -> dict[str, str]:
    spec = record.get("spec")
    pod = spec.get("pod") if isinstance(spec, dict) else None
    labels = pod.get("labels") if isinstance(pod, dict) else None
    return dict(labels) if isinstance(labels, dict) else {}


def resources_of(record: Mapping[str, Any]) -> KnownResources:
    """What the runner asked for; a record of another version may lack it."""
    spec = record.get("spec")
    found = spec.get("resources") if isinstance(spec, dict) else None
    if not isinstance(found, dict):
        return KnownResources()
    fields = dataclasses.fields(KnownResources)
    return KnownResources(**{field.name: found.get(field.name) for field in fields})


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a file that only its owner may read.  Raises OSError."""
    # Whole or not at all: another process may read it at any time.
    draft = path.with_suffix(".new")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        json.dump(value, file, indent=1)
    draft.replace(path)


def unusable(folder: Path, error: OSError) -> StateFolderError:
    """The error for a folder in which the system refused something."""
    return StateFolderError(
        f"The state folder {folder} cannot be used: {error.strerror}.",
        hint="Make it writable, free space on its disk, or set GRA_STATE_DIR to another folder.",
    )


@contextlib.contextmanager
def state_errors(folder: Path) -> Iterator[None]:
    """What the system refuses in the block is a :class:`~..errors.StateFolderError`."""
    try:
        yield
    except OSError as error:
        raise unusable(folder, error) from None
