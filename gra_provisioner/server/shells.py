"""A login shell in a runner, as a terminal in a page needs it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Coroutine
from typing import Any

from ..errors import GraError
from ..tunnel.process import RemoteProcess
from .bridge import Bridge
from .calls import Call, Setting, Streamed
from .executions import usable
from .host import Host

# bash where there is one; else sh, which every image with a shell has.
_SHELL = ("sh", "-c", "if command -v bash >/dev/null 2>&1; then exec bash -l; fi; exec sh -l")
_ENVIRONMENT = {"TERM": "xterm-256color"}
# Rows and columns until the page has said what it shows.
_SIZE = (24, 80)

log = logging.getLogger(__name__)


class Shell:
    """One shell.  Belongs to the server's loop; the process lives on the background loop.

    ``output`` is what it writes, in order.  Who does not read it holds the shell up.
    """

    def __init__(self, host: Host, call: Call) -> None:
        self.output: Bridge
        self._loop = asyncio.get_running_loop()
        # Set once there is a process, or will be none.
        self._begun = asyncio.Event()
        self._process: RemoteProcess | None = None
        self._process_loop: asyncio.AbstractEventLoop | None = None
        self._requests: set[asyncio.Future[None]] = set()
        self.output, self._running = host.stream(Streamed(self._run), call)
        self._running.add_done_callback(lambda done: self._begun.set())

    async def write(self, text: str) -> None:
        """Type something; waits while the shell takes nothing more."""
        await self._ask(lambda process: process.write(text.encode("utf-8", "replace")))

    async def resize(self, rows: int, columns: int) -> None:
        """Give the terminal a size."""
        await self._ask(lambda process: process.resize(rows, columns))

    async def end(self) -> None:
        """Hang up on the shell, if it runs yet."""
        self.output.close()
        for request in self._requests:
            request.cancel()
        self._running.cancel()
        await asyncio.wait((self._running,))

    async def _ask(self, request: Any) -> None:
        await self._begun.wait()
        process, loop = self._process, self._process_loop
        if process is None or loop is None or self._running.done():
            return
        work: Coroutine[Any, Any, None] = request(process)
        asked = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop))
        self._requests.add(asked)
        try:
            await asyncio.wait((asked,))
            if not asked.cancelled() and isinstance(error := asked.exception(), GraError):
                # What became of the shell its output tells.
                log.debug("a terminal did not take what it was sent: %s", error.message)
            elif not asked.cancelled():
                asked.result()
        finally:
            self._requests.discard(asked)

    async def _run(self, setting: Setting, call: Call) -> AsyncGenerator[bytes, None]:
        """On the background loop: the shell's output."""
        runner = await usable(setting, call)
        # As a terminal of the server's own, where that is the same machine.
        folder = call.folder if runner.backend == "local" else None
        async with setting.service.process(
            runner, _SHELL, env=_ENVIRONMENT, cwd=folder, tty=_SIZE
        ) as process:
            self._process, self._process_loop = process, asyncio.get_running_loop()
            self._loop.call_soon_threadsafe(self._begun.set)
            while (piece := await process.read()) is not None:
                yield piece.data
            await process.wait()
