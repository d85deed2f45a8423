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
that it stays with a folder that stays; ``origin`` is the folder on the other end that it is about.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import sys
from typing import Any, BinaryIO, Callable, Dict, List, Tuple

from .parcel import Action, Changed, Folder, Refused, pack, unpack
from .tree import OWN_PREFIX, Entry, TooMany, digests, listing

SETTLED_FILE = f"{OWN_PREFIX}sent.json"

_HERE = "."

Request = Dict[str, Any]


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
    origin, files = _settled()
    # Of what was there before nothing is known if it was another folder's.
    known = origin == request["origin"]
    found = listing(_HERE, request["exclude"], request["most"])
    settled: List[str] = []
    before: Dict[str, Tuple[int, int, int]] = {}
    for entry in found.entries if known else ():
        state = files.get(entry.path)
        if state == entry.state:
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
    found = listing(_HERE, request["exclude"], request["most"])
    _write_settled(
        request["origin"],
        {entry.path: entry.state for entry in found.entries if entry.path not in pending},
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
    origin, files = _settled()
    for entry in (Entry(*entry) for entry in request["entries"]):
        files[entry.path] = entry.state
    _write_settled(origin or request["origin"], files)
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


def _settled() -> Tuple[str, Dict[str, Tuple[int, int, int]]]:
    """The origin and the files, with their states; both empty if that is not known."""
    try:
        with open(SETTLED_FILE, encoding="ascii") as file:
            data = json.load(file)
        files = {path: tuple(state) for path, state in data["files"].items()}
        return str(data["origin"]), files
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "", {}


def _write_settled(origin: str, files: Dict[str, Tuple[int, int, int]]) -> None:
    temporary = f"{OWN_PREFIX}{secrets.token_hex(8)}"
    try:
        with open(temporary, "x", encoding="ascii") as file:
            json.dump({"origin": origin, "files": files}, file)
        os.replace(temporary, SETTLED_FILE)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
