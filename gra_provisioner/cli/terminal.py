"""A line on a terminal that is rewritten in place while a launch goes on.

Used by the commands, and by the provisioner in clients that run in a terminal (``jupyter console``,
nbclient, papermill).  rich is imported only once a line is shown.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import TextIO

from ..progress import LaunchEnd

# Seconds between two looks at the clock.
_EVERY = 1.0
# ECMA-48: to the first column, and erase from there to the end of the line.
_ERASE = "\r\x1b[K"


def printable(text: str) -> str:
    """Names come from notebooks and kernels: without what could steer the terminal."""
    return "".join(char if char.isprintable() or char == "\n" else "�" for char in text)


def can_rewrite(stream: TextIO | None) -> bool:
    """Whether a line can be rewritten there: a terminal, and not a dumb one."""
    if stream is None or stream.closed:
        return False
    return stream.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown", "")


def fitted(message: str, seconds: float, columns: int) -> str:
    """``runner-3: pulling python:3.12 … 12 s``, on one line of a terminal of that width."""
    from rich.cells import cell_len, set_cell_size

    text = printable(message).replace("\n", " ")
    time_ = f" … {seconds:.0f} s"
    # The last column stays free: writing there makes some terminals begin a new line.
    room = max(0, columns - 1 - cell_len(time_))
    if cell_len(text) > room:
        text = set_cell_size(text, room).rstrip()
    return text + time_


class LiveLine:
    """A :class:`~gra_provisioner.progress.LaunchObserver` that shows the phase and its seconds.

    The launch runs on an event loop, whose timer moves the seconds on.  Nothing of the line is left
    at the end.  A terminal that goes away ends the line, not the launch.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream: TextIO | None = stream
        self._clock = clock
        self._phase = ""
        self._message = ""
        self._since = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def on_phase(self, phase: str, message: str, runner: str = "") -> None:
        """Show it."""
        if phase != self._phase:
            self._phase, self._since = phase, self._clock()
        self._message = message
        self._show()

    def on_end(self, end: LaunchEnd) -> None:
        """Remove the line."""
        self.close()

    def close(self) -> None:
        """Remove the line.  Can be called again."""
        if self._timer is not None:
            self._timer.cancel()
            self._write("")
        self._stream = None

    def _show(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(_EVERY, self._show)
        self._write(fitted(self._message, self._clock() - self._since, self._columns()))

    def _columns(self) -> int:
        try:
            columns = os.get_terminal_size(self._stream.fileno()).columns if self._stream else 0
        except (OSError, ValueError):
            columns = 0
        # A pseudo-terminal whose size nobody has set says 0.
        return columns or 80

    def _write(self, text: str) -> None:
        if self._stream is None:
            return
        try:
            self._stream.write(_ERASE + text)
            self._stream.flush()
        except (OSError, ValueError):
            # Hung up or closed: there is nobody to show it to.
            self._stream = None


@contextlib.contextmanager
def waiting_line() -> Iterator[Callable[[str, str], None]]:
    """What is told of phases while something starts: a line on stderr if that is a terminal."""
    if not can_rewrite(sys.stderr):
        yield lambda phase, message: None
        return
    line = LiveLine(sys.stderr)
    try:
        yield line.on_phase
    finally:
        line.close()
