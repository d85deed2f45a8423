"""How ``gra logs`` shows lines, and how it writes them: whoever reads slowly holds up only that.

rich is imported only for a terminal.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import select
import stat
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field

from ..errors import GraError
from ..logs import LogLine, format_time
from .terminal import printable

# Wide enough for agent, stdout and stderr.
_SOURCE_WIDTH = 6
_SOURCE_STYLES = {"agent": "cyan", "stdout": "dim", "stderr": "yellow"}
_OTHER_SOURCE = "magenta"
# One after the other; those of the sources are not among them.
_RUNNER_STYLES = ("green", "blue", "bright_magenta", "bright_green", "bright_blue", "bright_cyan")
# ECMA-48: Select Graphic Rendition, which sets colours.
_COLOURS = re.compile(r"\x1b\[[0-9;:]*m")
# What has come and is not written yet, in bytes.
_WAITING = 1 << 18

Painter = Callable[[str, str], str]


def unpainted(text: str, style: str) -> str:
    """A :data:`Painter` for what is no terminal."""
    return text


def painter() -> Painter:
    """What gives a text a style of rich's, as stdout's terminal shows it."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)

    def paint(text: str, style: str) -> str:
        with console.capture() as capture:
            console.print(Text(text, style), end="")
        return capture.get()

    return paint


@dataclass
class Layout:
    """What stands before the text of a line, and what becomes of that.

    ``runners`` are named if there are several, ``sources`` if asked for, and ``times``.  On a
    ``terminal`` nothing in a text can steer it; elsewhere its bytes are as they were written.
    """

    runners: Sequence[str]
    sources: bool = True
    times: bool = False
    terminal: bool = False
    paint: Painter = unpainted
    _prefixes: dict[tuple[str, str], str] = field(default_factory=dict)

    def line(self, line: LogLine) -> bytes:
        """The line as it is printed."""
        time = ""
        if self.times:
            time = f"{'-' if line.time is None else format_time(line.time):24} "
        key = line.runner, line.source
        if key not in self._prefixes:
            self._prefixes[key] = self._source(line.source) if self.sources else ""
        text = shown(line.text) if self.terminal else line.text
        whole = f"{self._runner(line.runner)}{time}{self._prefixes[key]}{text}\n"
        return whole.encode("utf-8", "surrogateescape")

    def _runner(self, name: str) -> str:
        if len(self.runners) < 2:
            return ""
        if (name, "") not in self._prefixes:
            width = max(map(len, self.runners))
            style = _RUNNER_STYLES[self.runners.index(name) % len(_RUNNER_STYLES)]
            self._prefixes[name, ""] = self.paint(f"{name:{width}} | ", style)
        return self._prefixes[name, ""]

    def _source(self, source: str) -> str:
        style = _SOURCE_STYLES.get(source, _OTHER_SOURCE)
        return self.paint(f"{source:{_SOURCE_WIDTH}}", style) + "  "


def shown(text: str) -> str:
    """A text as a terminal may have it: without colours, and without what could steer it.

    Of what carriage returns overwrite, the last is shown.
    """
    if text.isprintable():
        return text
    written = [part for part in _COLOURS.sub("", text).split("\r") if part]
    return "\t".join(map(printable, written[-1].split("\t"))) if written else ""


def json_line(line: LogLine) -> bytes:
    """The line as one JSON object."""
    return json.dumps(line.public()).encode() + b"\n"


def not_writable(why: str) -> GraError:
    """What to say where stdout takes nothing."""
    return GraError(f"stdout cannot be written to: {why}.", reason="OutputNotWritable")


async def write_lines(
    lines: AsyncGenerator[LogLine, None], encode: Callable[[LogLine], bytes], fd: int = 1
) -> None:
    """Write each line as soon as it has come, many at once where they come fast.

    Raises :class:`BrokenPipeError` once nobody reads what is written, also while nothing comes,
    :class:`~gra_provisioner.errors.GraError` where it cannot be written, and what the lines do.
    """
    writer = _Writer(fd)
    reading = asyncio.ensure_future(_read(lines, encode, writer))
    writing = asyncio.ensure_future(writer.work())
    try:
        await asyncio.wait((reading, writing), return_when=asyncio.FIRST_COMPLETED)
        if not writing.done():
            writer.finish()
            await writing
            reading.result()
        writing.result()
    finally:
        writer.close()
        for task in (reading, writing):
            task.cancel()
        await asyncio.gather(reading, writing, return_exceptions=True)


async def _read(
    lines: AsyncGenerator[LogLine, None], encode: Callable[[LogLine], bytes], writer: _Writer
) -> None:
    async for line in lines:
        await writer.put(encode(line))


class _Writer:
    """What is to be written: put in by one task and written by another."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray()
        self._stirred = asyncio.Event()
        self._has_room = asyncio.Event()
        self._finished = False
        self._is_gone = False
        # A pipe's writing end has nothing to be read: what epoll tells is that nobody reads it.
        self._watched = hasattr(select, "epoll") and stat.S_ISFIFO(os.fstat(fd).st_mode)
        if self._watched:
            self._loop.add_reader(fd, self._on_gone)

    async def put(self, data: bytes) -> None:
        """Have it written; waits while too much is waiting already."""
        self._buffer += data
        self._stirred.set()
        while len(self._buffer) > _WAITING:
            self._has_room.clear()
            await self._has_room.wait()

    def finish(self) -> None:
        """There is no more to come."""
        self._finished = True
        self._stirred.set()

    async def work(self) -> None:
        """Write until it is finished."""
        while not self._finished or self._buffer:
            await self._stirred.wait()
            self._stirred.clear()
            if self._is_gone:
                raise BrokenPipeError
            data, self._buffer = self._buffer, bytearray()
            self._has_room.set()
            try:
                await _in_thread(_write_all, self._fd, bytes(data))
            except BrokenPipeError:
                raise
            except OSError as error:
                raise not_writable(os.strerror(error.errno or 0)) from None
            if self._finished or self._is_gone:
                self._stirred.set()

    def close(self) -> None:
        """Watch the pipe no more."""
        if self._watched:
            self._watched = False
            self._loop.remove_reader(self._fd)

    def _on_gone(self) -> None:
        self.close()
        self._is_gone = True
        self._stirred.set()


async def _in_thread(write: Callable[[int, bytes], None], fd: int, data: bytes) -> None:
    """Call in a thread for which the end of the process does not wait, as for an executor's."""
    loop = asyncio.get_running_loop()
    written: asyncio.Future[None] = loop.create_future()

    def settle(error: OSError | None) -> None:
        if written.done():
            return
        if error is None:
            written.set_result(None)
        else:
            written.set_exception(error)

    def work() -> None:
        failure = None
        try:
            write(fd, data)
        except OSError as error:
            failure = error
        # The loop may have ended meanwhile.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, failure)

    threading.Thread(target=work, name="gra output", daemon=True).start()
    await written


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
