"""What was written to a stream and is not yet acknowledged: in memory, then in a spill file.

Shared by both ends; only the agent gives a spill file.  Offsets count from the start of the
stream, so they only grow.
"""

from __future__ import annotations

import os
from collections import deque
from typing import Deque, List, Optional, Union

Piece = Union[bytes, memoryview]

# What is read back from the spill file at a time.
_BLOCK = 1 << 18
# A chunk's cost besides its bytes: the object and its place in the queue.
_OVERHEAD = 64


class SpillFile:
    """A ring of ``limit`` bytes in a file that has no name, readable by nobody else.

    The file is made at the first write and shrunk to nothing each time it is drained.
    """

    def __init__(self, directory: str, limit: int) -> None:
        self.limit = limit
        # Why nothing can be written just now (the disk is full), or "".
        self.failure = ""
        self._directory = directory
        self._fd: Optional[int] = None
        self._head = 0
        self._tail = 0

    def __len__(self) -> int:
        return self._tail - self._head

    @property
    def room(self) -> int:
        """How many bytes :meth:`write` would take now."""
        return 0 if self.failure else self.limit - len(self)

    def write(self, data: Piece) -> bool:
        """Append ``data``, all or nothing.  False if it does not fit or the disk is full."""
        if len(data) > self.room:
            return False
        view = memoryview(data)
        try:
            if self._fd is None:
                self._fd = self._open()
            position = self._tail
            while view:
                at = position % self.limit
                written = os.pwrite(self._fd, view[: self.limit - at], at)
                view = view[written:]
                position += written
        except OSError as error:
            self.failure = os.strerror(error.errno or 0)
            return False
        self._tail = position
        return True

    def read(self, limit: int) -> bytes:
        """Remove and return up to ``limit`` bytes from the front."""
        if self._fd is None or self._head == self._tail:
            return b""
        at = self._head % self.limit
        data = os.pread(self._fd, min(limit, self._tail - self._head, self.limit - at), at)
        self._head += len(data)
        if self._head == self._tail:
            os.ftruncate(self._fd, 0)
            self._head = self._tail = 0
            self.failure = ""
        return data

    def close(self) -> None:
        """Give the space back."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
        self._head = self._tail = 0

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_CLOEXEC
        if hasattr(os, "O_TMPFILE"):
            try:
                return os.open(self._directory, flags | os.O_TMPFILE, 0o600)
            except OSError:
                # Not every file system knows O_TMPFILE; any other reason shows up again below.
                pass
        path = os.path.join(self._directory, f".spill-{os.getpid()}-{id(self):x}")
        fd = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
        os.unlink(path)
        return fd


class SendBuffer:
    """A stream's bytes from the first unacknowledged one on.

    ``start`` is acknowledged, ``sent`` was handed to the link, ``end`` was written.  Of what was
    never sent, ``memory`` bytes are kept in memory and the rest goes to the spill file, if there
    is one.  What was sent is bounded by the receiver's window, and does not count: else a peer
    that has it all, and has yet to say so, would seem to be one that is away.
    """

    def __init__(self, memory: int = 0, spill: Optional[SpillFile] = None) -> None:
        self.start = 0
        self.sent = 0
        self.end = 0
        self._memory = memory
        self._spill = spill
        self._sent: Deque[Piece] = deque()
        self._sent_start = 0
        self._pending: Deque[Piece] = deque()
        # Written while the spill file could take no more, so behind all that is in it.
        self._behind: Deque[Piece] = deque()
        # Up to here all was sent at least once, ``sent`` may have been put back since.
        self._reached = 0
        # The cost of what is in memory and lies behind that.
        self._held = 0

    def __len__(self) -> int:
        return self.end - self.start

    @property
    def room(self) -> int:
        """How many bytes may be appended before the bound is passed."""
        free = max(0, self._memory - self._held)
        if self._spill is None:
            return free
        if self._behind:
            return 0
        if len(self._spill):
            free = 0
        return min(free + self._spill.room, max(0, self.bound - self.waiting))

    @property
    def waiting(self) -> int:
        """How many bytes were never sent so far."""
        return self.end - self._reached

    @property
    def reached(self) -> int:
        """Up to where bytes were sent at least once."""
        return self._reached

    @property
    def bound(self) -> int:
        """How many bytes may wait here to be sent, in memory and spill file together."""
        return self._memory + (self._spill.limit if self._spill is not None else 0)

    @property
    def failure(self) -> str:
        """Why the spill file takes no more (the disk is full), or an empty string."""
        return self._spill.failure if self._spill is not None else ""

    def append(self, data: Piece) -> None:
        """Add bytes at the end.  They are kept even where ``room`` says there is none."""
        size = len(data)
        if not size:
            return
        self.end += size
        spill = self._spill
        if spill is not None and (len(spill) or self._behind or self._held >= self._memory):
            if not self._behind and spill.write(data):
                return
            queue = self._behind if len(spill) or self._behind else self._pending
        else:
            queue = self._pending
        queue.append(data)
        self._held += size + _OVERHEAD

    @property
    def drained(self) -> bool:
        """Whether everything written has been sent."""
        return self.sent == self.end

    def append_sent(self, data: Piece) -> None:
        """Add bytes that are being sent at this moment.  Only when :attr:`drained`."""
        self._sent.append(data)
        self.end += len(data)
        self.sent = self._reached = self.end

    def take(self, limit: int) -> List[Piece]:
        """The next unsent bytes, at most ``limit``, in one or more pieces; they count as sent."""
        pieces: List[Piece] = []
        pending = self._pending
        while limit:
            if not pending and not self._refill():
                break
            piece = pending.popleft()
            size = len(piece)
            cost = size + _OVERHEAD
            if size > limit:
                view = memoryview(piece)
                pending.appendleft(view[limit:])
                piece = view[:limit]
                size = cost = limit
            pieces.append(piece)
            self._sent.append(piece)
            self.sent += size
            if self.sent > self._reached:
                self._reached = self.sent
                self._held -= cost
            limit -= size
        return pieces

    def release(self, offset: int) -> None:
        """Forget all before ``offset``: the peer is done with it.  ``start <= offset <= sent``."""
        queue = self._sent
        while queue:
            after = self._sent_start + len(queue[0])
            if after > offset:
                break
            queue.popleft()
            self._sent_start = after
        self.start = offset

    def rewind(self, offset: int) -> None:
        """Send again from ``offset`` on.  ``start <= offset <= sent``."""
        self._pending.extendleft(reversed(self._sent))
        self._sent.clear()
        self.sent = self._sent_start
        while self.sent < offset:
            self.take(offset - self.sent)

    def close(self) -> None:
        """Forget everything and give the spill file's space back."""
        self._sent.clear()
        self._pending.clear()
        self._behind.clear()
        self._held = 0
        self.start = self.sent = self._sent_start = self._reached = self.end
        if self._spill is not None:
            self._spill.close()

    def _refill(self) -> bool:
        """Bring spilled bytes back to memory.  False if there are none."""
        if self._spill is not None and len(self._spill):
            block = self._spill.read(_BLOCK)
            self._pending.append(block)
            self._held += len(block) + _OVERHEAD
            return True
        if self._behind:
            self._pending.extend(self._behind)
            self._behind.clear()
            return True
        if self._spill is not None:
            # Drained: the disk may have room again.
            self._spill.failure = ""
        return False
