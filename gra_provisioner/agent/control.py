"""The control stream at the agent's end: one JSON object a line, requests, responses, events.

A request is ``{"id": n, "method": name, "params": {...}}``; its response has the same id and
``result`` or ``error`` (``reason``, ``message``, ``hint``, ``details``).  An event is
``{"event": name, "data": {...}}`` and comes unasked.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any, Awaitable, Callable, Dict, Set

from .failure import AgentError
from .stream import Stream

# A request with a large environment fits; a peer that sends no newline does not.
MAX_LINE = 8 << 20
# Requests beyond these wait, and so does the client, once it has a window full of them.
MAX_TASKS = 64

Dispatch = Callable[[str, Dict[str, Any]], Awaitable[Any]]


class ControlHandler:
    """Reads requests from a session's stream 1 and answers them, several at a time."""

    def __init__(self, stream: Stream, dispatch: Dispatch) -> None:
        self._stream = stream
        self._dispatch = dispatch
        # Requests that wait and the beginning of the next one; how far it has no newline.
        self._lines = bytearray()
        self._searched = 0
        self._owed = 0
        self._tasks: Set[asyncio.Task[None]] = set()

    def event(self, name: str, data: Dict[str, Any]) -> None:
        """Tell the client."""
        self._send({"event": name, "data": data})

    def on_data(self, data: memoryview) -> None:
        """See :class:`.stream.StreamHandler`."""
        self._lines += data
        self._owed += len(data)
        self._go_on()

    def on_finish(self) -> None:
        """See :class:`.stream.StreamHandler`.  The control stream ends with its session."""

    def on_reset(self, reason: str, message: str) -> None:
        """See :class:`.stream.StreamHandler`."""
        self._lines.clear()
        for task in self._tasks:
            task.cancel()

    def on_drain(self) -> None:
        """See :class:`.stream.StreamHandler`."""
        self._go_on()

    def _go_on(self) -> None:
        stream = self._stream
        while len(self._tasks) < MAX_TASKS and stream.backlog <= stream.high_water:
            end = self._lines.find(b"\n", self._searched)
            if end < 0:
                self._searched = len(self._lines)
                owed, self._owed = self._owed, 0
                stream.consumed(owed)
                if self._searched > MAX_LINE:
                    stream.reset("RequestTooLarge", f"a request is longer than {MAX_LINE} bytes")
                return
            task = asyncio.ensure_future(self._answer(bytes(self._lines[:end])))
            del self._lines[: end + 1]
            self._searched = 0
            self._tasks.add(task)
            task.add_done_callback(self._on_answered)

    def _on_answered(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not self._stream.closed:
            self._go_on()

    def _send(self, value: Dict[str, Any]) -> None:
        self._stream.write(json.dumps(value, separators=(",", ":")).encode() + b"\n")

    async def _answer(self, line: bytes) -> None:
        id: Any = None
        try:
            request = _parse(line)
            id = request["id"]
            result = await self._dispatch(request["method"], request["params"])
        except AgentError as error:
            self._send({"id": id, "error": error.to_wire()})
        except OSError as error:
            failure = AgentError("SystemError", f"The runner's system refused: {error}")
            self._send({"id": id, "error": failure.to_wire()})
        except Exception as error:
            # A fault of ours: the client must not wait for ever, and the log gets the traceback.
            failure = AgentError("InternalError", f"The agent failed: {type(error).__name__}")
            self._send({"id": id, "error": failure.to_wire()})
            raise
        else:
            self._send({"id": id, "result": result})


def _parse(line: bytes) -> Dict[str, Any]:
    try:
        request = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        raise AgentError("BadRequest", "The request is not JSON.") from None
    if not isinstance(request, dict) or not isinstance(request.get("method"), str):
        raise AgentError("BadRequest", "The request is no JSON object with a method.")
    params = request.setdefault("params", {})
    if not isinstance(params, dict):
        raise AgentError("BadRequest", "The request's params are no JSON object.")
    request.setdefault("id", None)
    return request
