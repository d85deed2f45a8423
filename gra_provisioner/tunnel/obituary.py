"""Tells a kernel's clients why it died, in Jupyter's own messages.  Pure.

What a client shows of a dead kernel is fixed text ("Kernel died"), so the reason is put where
every client looks: into the output of the cell that was running, and into the reply it waits
for.  The messages are signed with the kernel's key and stand between two of its own.
Source: https://jupyter-client.readthedocs.io/en/stable/messaging.html
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jupyter_client.session import Session

from ..agent import zmtp

ENAME = "KernelDied"
_DELIMITER = b"<IDS|MSG>"


@dataclass(frozen=True)
class Obituary:
    """Why a kernel died, as its clients are to be told.

    ``running`` is the header of the request that it was working on, if any; ``aborted`` those of
    the requests that waited behind it.
    """

    message: str
    hint: str = ""
    stderr: Sequence[str] = ()
    running: Mapping[str, Any] | None = None
    aborted: Sequence[Mapping[str, Any]] = ()

    @classmethod
    def from_report(cls, report: Mapping[str, Any]) -> Obituary:
        """From the agent's report of the exit (``kernel.exited``)."""
        return cls(
            message=str(report.get("message", "The kernel died.")),
            hint=str(report.get("hint", "")),
            stderr=tuple(map(str, report.get("stderr", ()))),
            running=report.get("running"),
        )

    def with_pending(self, pending: Sequence[Mapping[str, Any]]) -> Obituary:
        """The same, knowing all requests without a reply, oldest first.

        If the kernel ended before it could say what it was working on, that was the oldest.
        """
        running = self.running or (pending[0] if pending else None)
        id = (running or {}).get("msg_id")
        aborted = tuple(header for header in pending if header.get("msg_id") != id)
        return dataclasses.replace(self, running=running, aborted=aborted)

    @property
    def text(self) -> str:
        """Message, the kernel's last lines, and the hint, for people."""
        lines = [self.message]
        if self.stderr:
            lines += ["Its last lines on stderr:", *(f"    {line}" for line in self.stderr)]
        if self.hint:
            lines.append(self.hint)
        return "\n".join(lines)


class Requests:
    """The ``execute_request`` messages on one shell connection that have no reply yet.

    Fed with the messages of both directions by the relay; oldest first.
    """

    def __init__(self) -> None:
        self.pending: dict[str, dict[str, Any]] = {}
        self.shutdown_requested = False
        # What the kernel says of itself, once it was asked.
        self.kernel_info: dict[str, Any] = {}

    def on_request(self, frames: Sequence[bytes], session: Session) -> None:
        """A message of the client's."""
        header = _part(frames, 2, session)
        kind = header.get("msg_type")
        if kind == "execute_request":
            self.pending[str(header.get("msg_id"))] = header
        elif kind == "shutdown_request":
            self.shutdown_requested = True

    def on_reply(self, frames: Sequence[bytes], session: Session) -> None:
        """A message of the kernel's."""
        self.pending.pop(str(_part(frames, 3, session).get("msg_id")), None)
        if _part(frames, 2, session).get("msg_type") == "kernel_info_reply":
            self.kernel_info = _part(frames, 5, session)


def iopub_messages(obituary: Obituary, session: Session) -> bytes:
    """What goes into an iopub connection.

    For the cell that ran the reason, as stderr and as an error; for it and those that waited
    idle, without which their clients would wait for more.
    """
    parent = obituary.running
    messages = []
    if parent is not None:
        messages.append(notice_message(obituary.text, parent, session))
        messages.append(_encode(session, "error", _error(obituary), parent, b"error"))
        messages.append(_idle(session, parent))
    messages += [_idle(session, header) for header in obituary.aborted]
    return b"".join(messages)


def _idle(session: Session, parent: Mapping[str, Any]) -> bytes:
    return _encode(session, "status", {"execution_state": "idle"}, parent, b"kernel.gra.status")


def notice_message(text: str, parent: Mapping[str, Any], session: Session) -> bytes:
    """A line of gra's own on stderr, in the output of the cell of ``parent``."""
    content = {"name": "stderr", "text": f"\n[gra] {text}\n"}
    return _encode(session, "stream", content, parent, b"stream.stderr")


def shell_messages(obituary: Obituary, requests: Requests, session: Session) -> bytes:
    """What goes into a shell connection: an error for the request that ran, aborts for the rest."""
    running = (obituary.running or {}).get("msg_id")
    replies = []
    for id, header in requests.pending.items():
        content = {"status": "aborted", "execution_count": 0}
        if id == running:
            content = {"status": "error", "execution_count": 0, **_error(obituary)}
            content |= {"user_expressions": {}, "payload": []}
        replies.append(_encode(session, "execute_reply", content, header))
    return b"".join(replies)


def kernel_info_message(
    frames: Sequence[bytes], kernel_info: Mapping[str, Any], session: Session
) -> bytes:
    """The reply to a ``kernel_info_request``; empty if the frames are of any other request.

    papermill asks for it after each notebook, and would rather report a dead kernel than the
    cell's error if nobody answered.
    """
    header = _part(frames, 2, session)
    if header.get("msg_type") != "kernel_info_request":
        return b""
    return _encode(session, "kernel_info_reply", kernel_info, header)


def _error(obituary: Obituary) -> dict[str, Any]:
    lines = obituary.text.split("\n")
    return {
        "ename": ENAME,
        "evalue": obituary.message,
        "traceback": [f"{ENAME}: {lines[0]}", *lines[1:]],
    }


def _encode(
    session: Session,
    kind: str,
    content: Mapping[str, Any],
    parent: Mapping[str, Any],
    topic: bytes | None = None,
) -> bytes:
    message = session.msg(kind, content=dict(content), parent={"header": dict(parent)})
    return zmtp.encode([bytes(frame) for frame in session.serialize(message, ident=topic)])


def _part(frames: Sequence[bytes], index: int, session: Session) -> dict[str, Any]:
    # A message too large to be kept comes without frames.
    try:
        value = session.unpack(frames[frames.index(_DELIMITER) + index])
    except (ValueError, IndexError, TypeError):
        return {}
    return value if isinstance(value, dict) else {}
