"""The agent's end: what it asks of the mounter, and what it knows of the mounts.

The mounter is the pod's sidecar, or a process that the agent of a local runner starts.  Either may
end and be there again: then it is told everything anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
import time
from typing import Any, Awaitable, Callable, Dict, List, Mapping, Optional

from .. import params
from ..failure import AgentError
from ..log import Log
from ..reaper import Reaper
from ..spawn import spawn

_LARGEST = 1 << 20
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0
_CLOSE_WITHIN = 10.0
_SETTLED = ("mounted", "failing")
Documents = List[Dict[str, Any]]


class S3Remote:
    """See the module.  ``on_change`` gets all mounts' documents whenever one has changed."""

    def __init__(
        self,
        directory: str,
        socket_path: Optional[str],
        reaper: Reaper,
        log: Log,
        on_change: Callable[[Documents], None],
    ) -> None:
        self._directory = directory
        self._socket_path = socket_path
        self._reaper = reaper
        self._log = log
        self._on_change = on_change
        self._mounts: Dict[str, Dict[str, Any]] = {}
        self._credentials: Dict[str, Dict[str, str]] = {}
        self._turn = 0
        self._seen_turn = -1
        self._refused: Optional[AgentError] = None
        self._documents: Documents = []
        self._changed = asyncio.Event()
        self._writer: Optional[asyncio.StreamWriter] = None
        self._ended: Optional[asyncio.Event] = None
        self._task: Optional[asyncio.Task[None]] = None
        if socket_path is not None:
            self._task = asyncio.ensure_future(self._serve(self._dial_sidecar))

    def documents(self) -> Documents:
        """How it goes with the mounts."""
        return self._documents

    async def start(self, args: Mapping[str, Any]) -> Dict[str, Any]:
        """The request ``mounts.start``: see docs/tunnel.md.  Idempotent.

        Raises :class:`AgentError` with the reason of the first mount that is not there.
        """
        mounts, credentials = args.get("mounts") or [], args.get("credentials") or {}
        bound = params.number(args, "timeout", 60.0)
        if not isinstance(mounts, list) or not isinstance(credentials, dict):
            raise AgentError("BadRequest", "The mounts are a list, their credentials an object.")
        before = self._mounts, self._credentials
        if self._socket_path is None:
            if not all(isinstance(mount, dict) for mount in mounts):
                raise AgentError("BadRequest", "A mount is a JSON object.")
            self._mounts = {**self._mounts, **{str(mount.get("id")): mount for mount in mounts}}
            if not self._mounts:
                return {"mounts": []}
        self._credentials = {**self._credentials, **credentials}
        self._turn += 1
        turn, self._refused = self._turn, None
        if self._task is None:
            self._task = asyncio.ensure_future(self._serve(self._dial_own))
        self._send()
        deadline = time.monotonic() + bound
        while not self._is_settled(turn):
            self._changed.clear()
            left = deadline - time.monotonic()
            try:
                await asyncio.wait_for(self._changed.wait(), left)
            except asyncio.TimeoutError:
                raise self._late(bound) from None
        refused = self._refusal()
        if refused is not None:
            # It is not to be said again to the next mounter.
            self._mounts, self._credentials = before
            raise refused
        return {"mounts": self._documents}

    def _refusal(self) -> Optional[AgentError]:
        return self._refused

    def _is_settled(self, turn: int) -> bool:
        """Whether all are mounted, or the request is refused.

        Raises :class:`AgentError` where a mount cannot be made.
        """
        if self._seen_turn < turn:
            return False
        if self._refused is not None:
            return True
        for mount in self._documents:
            if mount["state"] in ("failed", "waiting"):
                raise AgentError(
                    mount["reason"],
                    mount["message"],
                    mount["hint"],
                    {"mount": mount["id"], "mounts": self._documents},
                )
        return all(mount["state"] in _SETTLED for mount in self._documents)

    def _late(self, bound: float) -> AgentError:
        if self._writer is None or self._seen_turn < self._turn:
            return AgentError(
                "S3SidecarGone",
                f"The process that mounts S3 did not answer within {bound:g} s.",
                "Look at the log of the runner's container gra-s3.",
                {"mounts": self._documents},
            )
        late = [mount["path"] for mount in self._documents if mount["state"] not in _SETTLED]
        return AgentError(
            "S3MountFailed",
            f"{', '.join(late)} is not mounted after {bound:g} s.",
            "Look at the log of the runner's container gra-s3.",
            {"mounts": self._documents},
        )

    async def close(self) -> None:
        """A local runner's mounts are unmounted; a pod's sidecar is ended after the agent."""
        task, self._task = self._task, None
        if task is None:
            return
        if self._socket_path is None and self._writer is not None:
            # Which tells the mounter to end.
            self._writer.close()
            self._writer = None
        if self._socket_path is None and self._ended is not None:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._ended.wait(), _CLOSE_WITHIN)
        task.cancel()
        await asyncio.wait([task])

    # -- the connection -------------------------------------------------------------------------

    async def _serve(self, dial: Callable[[], Awaitable[socket.socket]]) -> None:
        pause = _FIRST_PAUSE
        while self._task is not None:
            try:
                sock = await dial()
                reader, writer = await asyncio.open_unix_connection(sock=sock, limit=_LARGEST)
            except (OSError, AgentError):
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
                continue
            pause = _FIRST_PAUSE
            self._writer = writer
            try:
                self._send()
                await self._read(reader)
            except (OSError, ValueError) as error:
                self._log.line(f"the S3 mounter: {type(error).__name__}")
            finally:
                self._writer = None
                writer.close()
            self._lost()
            await asyncio.sleep(pause)

    async def _dial_sidecar(self) -> socket.socket:
        loop = asyncio.get_running_loop()
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            await loop.sock_connect(sock, str(self._socket_path))
            namespace = os.open("/proc/self/ns/mnt", os.O_RDONLY)
            try:
                # A line of its own, so that it is one piece with the descriptor.
                sock.sendmsg(
                    [b'{"namespace": true}\n'],
                    [(socket.SOL_SOCKET, socket.SCM_RIGHTS, namespace.to_bytes(4, sys.byteorder))],
                )
            finally:
                os.close(namespace)
        except BaseException:
            sock.close()
            raise
        return sock

    async def _dial_own(self) -> socket.socket:
        """Start a mounter.  Its end of the pair is its stdin."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        null = os.open(os.devnull, os.O_WRONLY)
        try:
            pid = spawn(
                [
                    *(sys.executable, "-I", "-S", _program(), "s3-sidecar", "--fd", "0"),
                    *("--own", self._directory),
                    *("--cache", os.path.join(self._directory, "s3")),
                    *("--grace", f"{_CLOSE_WITHIN - 3:g}"),
                ],
                dict(os.environ),
                "/",
                (theirs.fileno(), null, 2),
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
            os.close(null)
        ended = self._ended = asyncio.Event()
        self._reaper.watch(pid, lambda status: ended.set())
        return ours

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while True:
            line = await reader.readline()
            if not line:
                return
            message = json.loads(line.decode())
            self._seen_turn = int(message.get("turn", 0))
            error = message.get("error")
            if error:
                self._refused = AgentError(error["reason"], error["message"], error["hint"])
            self._take(message["mounts"])

    def _send(self) -> None:
        """Say everything, to whatever mounter there is."""
        if self._writer is None:
            return
        message: Dict[str, Any] = {"turn": self._turn, "credentials": self._credentials}
        if self._socket_path is None:
            message["mounts"] = list(self._mounts.values())
        self._writer.write(json.dumps(message).encode() + b"\n")

    def _take(self, documents: Documents) -> None:
        if documents != self._documents:
            before = {mount["id"]: mount for mount in self._documents}
            for mount in documents:
                if mount != before.get(mount["id"]):
                    said = f": {mount['reason']}: {mount['message']}" if mount["reason"] else ""
                    self._log.line(f"S3 at {mount['path']} is {mount['state']}{said}")
            self._documents = documents
            self._on_change(documents)
        self._changed.set()

    def _lost(self) -> None:
        """The mounter is gone: what it mounted is no longer looked after."""
        self._seen_turn = -1
        if self._task is None:
            return
        gone = {
            "state": "failing",
            "reason": "S3SidecarGone",
            "message": "The process that mounts S3 has ended; it is being started again.",
            "hint": "If it happens again, look at the log of the runner's container gra-s3.",
            "since": round(time.time(), 3),
        }
        self._take([{**mount, **gone} for mount in self._documents])


def _program() -> str:
    """What Python is to run: this package's folder, or the archive that it is in."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return package if os.path.isdir(package) else os.path.dirname(package)
