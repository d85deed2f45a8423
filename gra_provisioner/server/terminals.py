"""Terminals in runners: a websocket that speaks as those of Jupyter's own terminals do.

Messages are JSON arrays, each with its kind first.  A page sends ``["stdin", text]`` and
``["set_size", rows, columns, …]``, and is sent ``["setup", {}]`` once, ``["stdout", text]`` and at
the end ``["disconnect", 1]``.  Source: terminado's ``websocket.py``
(https://github.com/jupyter/terminado), which JupyterLab's terminals are made for.
"""

from __future__ import annotations

import asyncio
import codecs
import json
from typing import Any

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.websocket import WebSocketMixin
from tornado import web
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from ..errors import GraError
from .calls import Call
from .handlers import AUTH_RESOURCE, ApiHandler
from .shells import Shell
from .status import status_of

#: Below the API's root.
PATH = "/runners/{name}/terminal"

# RFC 6455, section 7.4: 1000 is a good end, 1007 a message that is none; 4000 and above is for
# applications, here with the HTTP status that the error would have.
_GOOD_END = 1000
_NO_MESSAGE = 1007
_OF_STATUS = 4000
# Of characters, so that a page has drawn one before it takes the next.
_LONGEST_MESSAGE = 1 << 16


class TerminalHandler(WebSocketMixin, WebSocketHandler, ApiHandler):
    """The websocket of one terminal.  Its shell ends with it."""

    _shell: Shell | None = None
    _serving: asyncio.Task[None] | None = None

    async def prepare(self) -> None:  # type: ignore[override]
        """Called by tornado before any method: authentication and origin, as for all the API."""
        await ApiHandler.prepare(self)

    @web.authenticated
    @authorized(action="execute", resource=AUTH_RESOURCE)  # type: ignore[untyped-decorator]
    async def get(self, **names: str) -> None:  # type: ignore[override]
        """Called by tornado to open the websocket."""
        if self.request.headers.get("Upgrade", "").lower() != "websocket":
            raise web.HTTPError(400, "This is a websocket: the request must be an upgrade to one.")
        await super().get(**names)

    def open(self, **names: str) -> None:
        """Called by tornado once the websocket is open."""
        super().open(**names)
        self.set_nodelay(True)
        call = Call(names, None, None, self.base_url, self._folder, self.log)
        shell = self._shell = Shell(self._host, call)
        self._serving = asyncio.create_task(self._serve(shell), name="gra terminal")

    async def on_message(self, message: str | bytes) -> None:
        """Called by tornado with one message after another: the next one waits for this one."""
        shell = self._shell
        if shell is None:
            return
        kind, values = _parsed(message)
        if kind == "stdin" and values and isinstance(values[0], str):
            await shell.write(values[0])
        elif kind == "set_size" and (size := _size(values)) is not None:
            await shell.resize(*size)
        elif not kind:
            self.close(_NO_MESSAGE, "a message is a JSON array")

    def on_close(self) -> None:
        """Called by tornado when the websocket is closed, from whichever side."""
        if self._shell is not None:
            # Whoever serves it sees to the rest.
            self._shell.output.close()

    async def _serve(self, shell: Shell) -> None:
        with self._host.answering(works=True):
            try:
                code, reason = _GOOD_END, ""
                try:
                    # A page shows nothing that comes before it.
                    await self._say("setup", {})
                    await self._pass_on(shell)
                except GraError as error:
                    code, reason = _OF_STATUS + status_of(error), error.code
                    text = f"[gra] {error}\n"
                    await self._say("stdout", text.replace("\n", "\r\n"))
                await self._say("disconnect", 1)
            except WebSocketClosedError:
                return
            finally:
                await shell.end()
            self.close(code, reason)

    async def _pass_on(self, shell: Shell) -> None:
        """Send what the shell writes.  Raises :class:`GraError`."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        while (data := await shell.output.take()) is not None:
            text = decoder.decode(data)
            for start in range(0, len(text), _LONGEST_MESSAGE):
                # Whoever reads slowly holds the shell up.
                await self._say("stdout", text[start : start + _LONGEST_MESSAGE])

    async def _say(self, kind: str, value: Any) -> None:
        await self.write_message(json.dumps([kind, value]))


def _parsed(message: str | bytes) -> tuple[str, list[Any]]:
    """A message's kind and what follows; an empty kind for what is none."""
    try:
        document = json.loads(message)
    except ValueError:
        return "", []
    if not isinstance(document, list) or not document or not isinstance(document[0], str):
        return "", []
    return document[0], document[1:]


def _size(values: list[Any]) -> tuple[int, int] | None:
    """Rows and columns; None for what is no size of a terminal, as of one that is not shown."""
    size = values[:2]
    if len(size) == 2 and all(type(value) is int and 0 < value < 1 << 16 for value in size):
        return size[0], size[1]
    return None
