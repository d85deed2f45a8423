"""What a notebook's cells write, on this process's stdout and stderr as it comes."""

from __future__ import annotations

import asyncio
import os
import queue
import re
import threading
from collections.abc import Callable, Mapping
from typing import Any

_STDOUT, _STDERR = 1, 2
# ECMA-48: colours, which IPython's tracebacks have.
_SGR = re.compile(r"\x1b\[[0-9;]*m")


class LiveOutput:
    """Writes in a thread, so that whoever reads slowly holds up neither signals nor the run.

    What waits there is in memory once more than in the notebook.  ``on_broken`` is called on the
    loop once nobody will ever read stdout.  Made inside a running loop.
    """

    def __init__(self, on_broken: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_broken = on_broken
        # A terminal, or a log.
        self._same = _is_same(_STDOUT, _STDERR)
        self._plain_errors = not os.isatty(_STDERR)
        self._in_line = {_STDOUT: False, _STDERR: False}
        self._queue: queue.SimpleQueue[tuple[int, bytes] | asyncio.Event] = queue.SimpleQueue()
        # Left alone at the end if it stays in a write.
        threading.Thread(target=self._write_all, name="gra live output", daemon=True).start()

    def message(self, kind: str, content: Mapping[str, Any]) -> None:
        """Show an iopub message: streams as they are, the plain text of results, tracebacks."""
        if kind == "stream":
            to = _STDERR if content.get("name") == "stderr" else _STDOUT
            self._put(to, str(content.get("text", "")))
        elif kind in ("execute_result", "display_data"):
            text = content.get("data", {}).get("text/plain")
            if isinstance(text, str):
                self._put(_STDOUT, f"{text}\n")
        elif kind == "error":
            text = "\n".join(map(str, content.get("traceback") or ()))
            text = text or f"{content.get('ename')}: {content.get('evalue')}"
            self._put(_STDERR, (_SGR.sub("", text) if self._plain_errors else text) + "\n")

    def line(self, text: str) -> None:
        """A line of gra's own on stderr."""
        in_line = self._in_line[_STDERR] or (self._same and self._in_line[_STDOUT])
        self._put(_STDERR, ("\n" if in_line else "") + text + "\n")
        if self._same:
            self._in_line[_STDOUT] = False

    async def written(self) -> None:
        """Wait until all that was to be shown has been written."""
        event = asyncio.Event()
        self._queue.put(event)
        await event.wait()

    def _put(self, to: int, text: str) -> None:
        if text:
            self._in_line[to] = not text.endswith("\n")
            self._queue.put((to, text.encode("utf-8", "replace")))

    def _write_all(self) -> None:
        broken: set[int] = set()
        while True:
            item = self._queue.get()
            try:
                if isinstance(item, asyncio.Event):
                    self._loop.call_soon_threadsafe(item.set)
                    continue
                to, data = item
                if to not in broken and not _write(to, data):
                    broken.add(to)
                    if to == _STDOUT:
                        self._loop.call_soon_threadsafe(self._on_broken)
            except RuntimeError:
                # The loop is closed: the run is over.
                return


def _is_same(one: int, other: int) -> bool:
    try:
        return os.path.sameopenfile(one, other)
    except OSError:
        # One is closed.
        return False


def _write(to: int, data: bytes) -> bool:
    """Whether anybody may have got it."""
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(to, view) :]
    except OSError:
        # A closed pipe, or a terminal that is gone.
        return False
    return True
