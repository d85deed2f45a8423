"""The far end of a transfer: run in the runner's working directory, asked by one line of JSON.

The line on stdin has an ``op`` and what that needs:

``list``
    All files and folders; the paths of those that are as they were when both ends last had the same
    (``settled``), and of others how they were then (``before``).
``digests``
    SHA-256 of ``paths``.
``receive``
    Files, as a stream that follows (:mod:`.parcel`); what was in their way lies beside then.  All
    that is there in the end is settled, but for ``pending`` paths and, if ``known``, what lies
    beside.
``send``
    ``entries`` as a stream on stdout.
``settle``
    These ``entries`` were taken over by the other end.

All but ``send`` answer with one line of JSON on stdout.  What goes wrong is a line of JSON on
stderr, ``{"message": …}``, and exit code 1.  What is settled is kept in a file of the folder, so
that it stays with a folder that stays: one for each ``origin``, which is a name for the folder on
the other end, since several may share this one.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import sys
from typing import Any, BinaryIO, Callable, Dict, List, Optional, Set, Tuple

from .parcel import Action, Changed, Folder, Refused, pack, unpack
from .tree import OWN_PREFIX, Entry, TooMany, digests, listing

_HERE = "."
_SETTLED = f"{OWN_PREFIX}sent-"

Request = Dict[str, Any]
States = Dict[str, Tuple[int, ...]]


def main() -> int:
    """Do what is asked for on stdin; the exit code."""
    source, out = sys.stdin.buffer, sys.stdout.buffer
    try:
        request = json.loads(source.readline())
        _OPERATIONS[request["op"]](request, source, out)
        out.flush()
    except (OSError, Refused, Changed, TooMany) as error:
        message = f"{error} was changed while it was read" if isinstance(error, Changed) else error
        sys.stderr.write(json.dumps({"message": str(message)}) + "\n")
        return 1
    return 0


def _list(request: Request, source: BinaryIO, out: BinaryIO) -> None:
    own = _read(_file_of(request["origin"]))
    # If not, nothing is known of what was there before.
    known = own is not None
    files, sent = own or ({}, set())
    theirs = _sent_by_others(request["origin"]) - sent
    found = listing(_HERE, request["exclude"], request["most"])
    settled: List[str] = []
    before: States = {}
    for entry in found.entries if known else ():
        state = files.get(entry.path)
        # What came from elsewhere does not go to this one.
        if state == entry.state or entry.path in theirs:
            settled.append(entry.path)
        elif state is not None:
            before[entry.path] = state
    _answer(
        out,
        entries=found.entries,
        left_out=found.left_out,
        settled=settled,
        before=before,
        known=known,
        folder=os.getcwd(),
    )


def _digests(request: Request, source: BinaryIO, out: BinaryIO) -> None:
    with Folder(_HERE) as folder:
        _answer(out, digests=digests(request["paths"], folder.open))


def _receive(request: Request, source: BinaryIO, out: BinaryIO) -> None:
    actions = {
        path: Action(None if over is None else tuple(over), True)
        for path, over in request["actions"].items()
    }
    with Folder(_HERE, request["mark"]) as folder:
        written = unpack(source, folder, actions)
    pending = set(request["pending"])
    if request["known"]:
        pending.update(written.beside.values())
    _, sent = _read(_file_of(request["origin"])) or ({}, set())
    found = listing(_HERE, request["exclude"], request["most"])
    _write(
        request["origin"],
        {entry.path: entry.state for entry in found.entries if entry.path not in pending},
        sent.union(entry.path for entry in written.files),
    )
    _answer(
        out,
        files=[entry.path for entry in written.files],
        beside=written.beside,
        failed=written.failed,
    )


def _send(request: Request, source: BinaryIO, out: BinaryIO) -> None:
    with Folder(_HERE) as folder:
        pack(folder, [Entry(*entry) for entry in request["entries"]], out)


def _settle(request: Request, source: BinaryIO, out: BinaryIO) -> None:
    files, sent = _read(_file_of(request["origin"])) or ({}, set())
    for entry in (Entry(*entry) for entry in request["entries"]):
        files[entry.path] = entry.state
    _write(request["origin"], files, sent)
    _answer(out)


_OPERATIONS: Dict[str, Callable[[Request, BinaryIO, BinaryIO], None]] = {
    "list": _list,
    "digests": _digests,
    "receive": _receive,
    "send": _send,
    "settle": _settle,
}


def _answer(out: BinaryIO, **fields: Any) -> None:
    out.write(json.dumps(fields).encode() + b"\n")


def _file_of(origin: str) -> str:
    return f"{_SETTLED}{origin}.json"


def _read(name: str) -> Optional[Tuple[States, Set[str]]]:
    """What is settled, with its states, and what was sent there; None if that is not known."""
    try:
        with open(name, encoding="ascii") as file:
            data = json.load(file)
        files = {path: tuple(state) for path, state in data["files"].items()}
        return files, set(data["sent"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _sent_by_others(origin: str) -> Set[str]:
    """What was sent here from other folders on the other end."""
    sent: Set[str] = set()
    for name in os.listdir(_HERE):
        if name.startswith(_SETTLED) and name != _file_of(origin):
            _, theirs = _read(name) or ({}, set())
            sent |= theirs
    return sent


def _write(origin: str, files: States, sent: Set[str]) -> None:
    temporary = f"{OWN_PREFIX}{secrets.token_hex(8)}"
    try:
        with open(temporary, "x", encoding="ascii") as file:
            json.dump({"files": files, "sent": sorted(sent)}, file)
        os.replace(temporary, _file_of(origin))
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
