"""Follows a kernel's iopub as a subscriber of the agent's own: what runs, with no client there.

Wire format of the messages: https://jupyter-client.readthedocs.io/en/stable/messaging.html
(topic, ``<IDS|MSG>``, signature, header, parent header, metadata, content).
"""

from __future__ import annotations

import asyncio
import json
from typing import Any, Callable, Dict, List, Optional

from . import zmtp
from .peer import Peer

_DELIMITER = b"<IDS|MSG>"
# A kernel that never says idle must not fill the memory.
_MOST_PARENTS = 1000


class Activity:
    """Busy or idle, from the status messages of iopub.  Pure.

    Several requests can be under way at once (subshells, the control channel), each with its own
    busy and idle, so the kernel is idle when each has ended.
    """

    def __init__(self) -> None:
        self._parents: Dict[str, Dict[str, Any]] = {}

    @property
    def busy(self) -> bool:
        """Whether any request is being worked on."""
        return bool(self._parents)

    @property
    def running(self) -> Optional[Dict[str, Any]]:
        """The header of the ``execute_request`` being run (the last one begun), or None."""
        parents: List[Dict[str, Any]] = list(self._parents.values())
        requests = [parent for parent in parents if parent.get("msg_type") == "execute_request"]
        return requests[-1] if requests else None

    def on_message(self, frames: List[bytes]) -> bool:
        """Take the frames of one iopub message.  True if it was a status message."""
        try:
            at = frames.index(_DELIMITER)
            header = json.loads(frames[at + 2])
            if header.get("msg_type") != "status":
                return False
            parent = json.loads(frames[at + 3])
            state = json.loads(frames[at + 5]).get("execution_state")
            id = parent.get("msg_id")
        except (ValueError, IndexError, AttributeError, RecursionError):
            return False
        if not isinstance(id, str):
            return True
        if state == "busy":
            self._parents[id] = parent
            while len(self._parents) > _MOST_PARENTS:
                del self._parents[next(iter(self._parents))]
        elif state == "idle":
            self._parents.pop(id, None)
        return True


class Follower(Peer):
    """A SUB socket on the kernel's iopub port.

    ``ready`` gets True when the kernel has answered the ZMTP handshake, so it listens, or False
    if the connection ended before; ``on_change`` is called when the kernel goes from busy to idle
    or back, ``on_lost`` when a connection that was ready has ended.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        on_change: Callable[[bool], None],
        on_lost: Callable[[], None],
    ) -> None:
        super().__init__("SUB")
        self.activity = Activity()
        self.ready: asyncio.Future[bool] = loop.create_future()
        self._on_change = on_change
        self._on_lost = on_lost
        self._narrowed = False

    def protocol(self) -> asyncio.Protocol:
        """Itself, as the protocol factory of a connection."""
        return self

    def on_message(self, transport: asyncio.Transport, message: zmtp.Message) -> None:
        """See :class:`.peer.Peer`."""
        if message.command:
            if not self.ready.done():
                transport.write(zmtp.subscribe(b""))
                self.ready.set_result(True)
        elif message.frames:
            self._on_message(transport, message.frames)

    def connection_lost(self, exc: Optional[Exception]) -> None:
        """See :class:`asyncio.Protocol`."""
        super().connection_lost(exc)
        if not self.ready.done():
            self.ready.set_result(False)
        elif self.ready.result():
            self._on_lost()

    def _on_message(self, transport: asyncio.Transport, frames: List[bytes]) -> None:
        busy = self.activity.busy
        if not self.activity.on_message(frames):
            return
        if not self._narrowed and frames[0].startswith(b"kernel"):
            # Kernels are free to name their topics; this one names them as most do, so the bulk
            # (streams, displays) need not be sent here.
            self._narrowed = True
            transport.write(zmtp.subscribe(b"kernel"))
            transport.write(zmtp.unsubscribe(b""))
        if self.activity.busy != busy:
            self._on_change(self.activity.busy)
