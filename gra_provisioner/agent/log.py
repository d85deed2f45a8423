"""The agent's log: what it did, and what the kernel wrote to stdout and stderr.

In a pod it is the container's log, so lines go to stdout.  Locally it is a file that is kept
small: at the bound it becomes ``NAME.1`` and a new one is begun.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Optional


class Log:
    """Appends lines with a time stamp.  Never give it a key, a token or an environment value."""

    def __init__(self, path: Optional[str] = None, limit: int = 1 << 20) -> None:
        self._path = path
        self._limit = limit
        self._fd = self._open() if path else sys.stdout.fileno()
        self._size = os.fstat(self._fd).st_size if path else 0

    def line(self, text: str, source: str = "agent") -> None:
        """Write one line.  A log that cannot be written (disk full) never stops the agent.

        A text with line feeds makes several, each with the stamp: a reader takes what has one for
        the agent's word of who wrote it.
        """
        now = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
        begin = f"{stamp}.{int(now % 1 * 1000):03d}Z {source}: "
        data = begin + text.replace("\n", "\n" + begin) + "\n"
        raw = data.encode("utf-8", "backslashreplace")
        try:
            if self._path and self._size + len(raw) > self._limit:
                os.close(self._fd)
                os.replace(self._path, self._path + ".1")
                self._fd = self._open()
                self._size = 0
            self._size += os.write(self._fd, raw)
        except OSError:
            # There is no better place to say it.
            return

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        return os.open(str(self._path), flags, 0o600)
