"""The client's end of the tunnel: one session with a runner's agent, kept over lost links."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from ..agent.control import MAX_LINE
from ..agent.session import Session
from ..agent.stream import Stream, StreamHandler
from ..errors import (
    GraError,
    RequestError,
    SessionLost,
    TunnelError,
    Unreachable,
    from_wire,
)
from .links import Dial, Links

log = logging.getLogger(__name__)

EventCallback = Callable[[str, dict[str, Any]], None]


class Tunnel:
    """One client process's conversation with one runner.

    ``dial`` makes a byte stream to the agent (:meth:`~..backends.base.Backend.dial`).  Once
    connected, a lost link is dialled again, with growing pauses, for as long as the runner
    exists; streams and requests notice nothing but the delay.  ``on_event`` is told what the
    agent reports.  An ``observer`` does not count as a client of the runner (it does not keep it
    from ending as an orphan).  ``keep`` is for how many seconds the agent waits for a client that
    is gone without a word; by default for as long as it can.
    """

    def __init__(
        self,
        dial: Dial,
        on_event: EventCallback = lambda name, data: None,
        *,
        observer: bool = False,
        keep: float | None = None,
    ) -> None:
        # Done once the tunnel has ended for good: why.
        self.ended: asyncio.Future[GraError] = asyncio.get_running_loop().create_future()
        self._on_event = on_event
        self._pending: dict[int, asyncio.Future[Any]] = {}
        self._next_id = 1
        self._control: Stream | None = None
        self._links = Links(
            dial, self._new_session, self._on_session_lost, observer=observer, keep=keep
        )
        self._task: asyncio.Task[None] | None = None

    @property
    def agent(self) -> dict[str, Any]:
        """What the agent says of itself: ``uid``, and ``python``, the version of its Python."""
        return self._links.agent

    @property
    def connected(self) -> bool:
        """Whether a link is up just now."""
        return self._links.linked.is_set()

    async def connect(self, timeout: float = 20.0) -> None:
        """Dial, and wait until the agent has answered.

        Raises :class:`Unreachable` after ``timeout`` seconds, saying what stood in the way, or
        whatever ended the tunnel for good.
        """
        self._task = asyncio.create_task(self._keep_linked(), name="gra tunnel")
        self._task.add_done_callback(self._on_task_done)
        linked: asyncio.Future[Any] = asyncio.ensure_future(self._links.linked.wait())
        ended: asyncio.Future[Any] = self.ended
        try:
            await asyncio.wait((linked, ended), timeout=timeout, return_when="FIRST_COMPLETED")
        except asyncio.CancelledError:
            # Nobody else knows of this tunnel yet, and it would dial for ever.
            await self.close()
            raise
        finally:
            linked.cancel()
        if self.ended.done():
            raise self.ended.result()
        if not self._links.linked.is_set():
            await self.close()
            raise Unreachable(
                f"No answer from the runner's agent within {timeout:g} s: {self._links.trouble}",
                hint="`gra list` shows whether the runner is there.",
            )

    async def request(
        self, method: str, args: Mapping[str, Any] | None = None, timeout: float = 10.0
    ) -> Any:
        """Ask the agent for something and wait for the result.

        A request outlives a lost link.  Raises the agent's error,
        :class:`Unreachable` if there is no answer within ``timeout`` seconds, or whatever ended
        the tunnel.
        """
        if self.ended.done():
            raise self.ended.result()
        id, self._next_id = self._next_id, self._next_id + 1
        line = json.dumps({"id": id, "method": method, "params": dict(args or {})}).encode()
        if len(line) > MAX_LINE:
            raise RequestError(
                f"The request {method!r} has {len(line):,} bytes, {MAX_LINE:,} are allowed.",
                hint="Send large data as a file or by a stream.",
                reason="RequestTooLarge",
            )
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._pending[id] = future
        try:
            if self._control is not None:
                self._control.write(line + b"\n")
            return await asyncio.wait_for(future, timeout)
        except asyncio.TimeoutError:
            why = "the agent does not answer" if self.connected else self._links.trouble
            raise Unreachable(
                f"No answer to {method!r} within {timeout:g} s: {why}.",
                hint="The runner may be busy or the connection down; it is tried again.",
            ) from None
        finally:
            self._pending.pop(id, None)

    def open(self, target: Mapping[str, Any], handler: Callable[[Stream], StreamHandler]) -> Stream:
        """Open a stream to ``target`` in the runner, for example ``{"kind": "tcp", "port": N}``."""
        return self._links.session.open(target, handler)

    async def drop(self) -> None:
        """Cut the link, as a network failure would.  The tunnel dials again at once."""
        self._links.drop(ConnectionError("cut on purpose"))

    async def close(self) -> None:
        """End the conversation.  The runner goes on."""
        if self.ended.done():
            return
        try:
            if self._task is not None:
                self._task.cancel()
                await asyncio.wait((self._task,))
            await self._links.leave()
        finally:
            self._end(TunnelError("The tunnel was closed."))

    def _end(self, error: GraError) -> None:
        if self.ended.done():
            return
        self.ended.set_result(error)
        self._links.linked.clear()
        self._links.session.end(error.code, error.message)
        self._fail_requests(error)

    async def _keep_linked(self) -> None:
        self._end(await self._links.keep())

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            # A fault of ours or of the backend's: whoever waits must not wait for ever.
            log.error("the tunnel failed", exc_info=error)
            self._end(TunnelError(f"The tunnel failed: {type(error).__name__}."))

    def _on_session_lost(self, error: SessionLost) -> None:
        self._links.session.end(error.code, error.message)
        self._fail_requests(error)
        self._on_event("tunnel.session_lost", error.to_dict())

    def _new_session(self) -> Session:
        return Session(secrets.token_hex(16), self._take_control, lambda: None)

    # -- the control stream -----------------------------------------------------------------

    def _take_control(self, stream: Stream) -> StreamHandler:
        self._control = stream
        return _ControlReader(stream, self._on_line, self._on_control_reset)

    def _on_control_reset(self, reason: str, message: str) -> None:
        # At the tunnel's end, its error is the answer.
        if not self.ended.done():
            self._fail_requests(from_wire({"reason": reason, "message": message}))

    def _fail_requests(self, error: GraError) -> None:
        for future in self._pending.values():
            if not future.done():
                future.set_exception(error)
                # Whoever waited may be gone; then nobody needs to hear of it.
                future.exception()

    def _on_line(self, line: bytes) -> None:
        value = json.loads(line)
        if "event" in value:
            self._on_event(value["event"], value.get("data") or {})
            return
        future = self._pending.get(value.get("id"))
        if future is None or future.done():
            return
        if "error" in value:
            future.set_exception(from_wire(value["error"]))
        else:
            future.set_result(value.get("result"))


class _ControlReader:
    """Cuts what comes on the control stream into lines."""

    def __init__(
        self,
        stream: Stream,
        on_line: Callable[[bytes], None],
        on_reset: Callable[[str, str], None],
    ) -> None:
        self._stream = stream
        self._on_line = on_line
        self.on_reset = on_reset
        self._partial = b""

    def on_data(self, data: memoryview) -> None:
        self._stream.consumed(len(data))
        *lines, self._partial = (self._partial + bytes(data)).split(b"\n")
        for line in lines:
            self._on_line(line)

    def on_finish(self) -> None:
        """The link ends next, and says why."""

    def on_drain(self) -> None:
        """Requests are small; nothing is held back."""
