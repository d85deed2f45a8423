"""ZMTP 3 as far as frames: enough to follow a kernel's iopub and to know where messages begin.

Shared by both ends, does no I/O.  NULL mechanism only.  Source: ZMTP 3.0, https://rfc.zeromq.org/spec/23/
(greeting, framing, NULL handshake, subscriptions as messages).
"""

from __future__ import annotations

import struct
from typing import List, NamedTuple, Optional, Sequence, Union

GREETING_SIZE = 64
# signature, version 3.0, mechanism padded to 20 bytes, as-server 0, filler.
GREETING = b"\xff" + bytes(8) + b"\x7f" + b"\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)

_MORE = 1
_LONG = 2
_COMMAND = 4
_KNOWN = _MORE | _LONG | _COMMAND

# A message beyond this is counted and passed over, not kept.
CAPTURE_LIMIT = 1 << 16

_LONG_SIZE = struct.Struct(">Q")


class ZmtpError(Exception):
    """The bytes are not ZMTP 3.  Raised while reading a peer's greeting or frames."""


def frame(data: bytes, more: bool = False, command: bool = False) -> bytes:
    """One frame: flags, size, data."""
    flags = (_MORE if more else 0) | (_COMMAND if command else 0)
    if len(data) < 256:
        return bytes((flags, len(data))) + data
    return bytes((flags | _LONG,)) + _LONG_SIZE.pack(len(data)) + data


def encode(frames: Sequence[bytes]) -> bytes:
    """One message of one or more frames."""
    last = len(frames) - 1
    return b"".join(frame(data, more=index < last) for index, data in enumerate(frames))


def ready(socket_type: str) -> bytes:
    """The READY command of the NULL handshake, for example of a ``SUB`` socket."""
    name, value = b"Socket-Type", socket_type.encode()
    body = b"\x05READY" + bytes((len(name),)) + name + struct.pack(">I", len(value)) + value
    return frame(body, command=True)


def subscribe(topic: bytes) -> bytes:
    """The message by which a SUB socket asks for a topic (a prefix of the first frame)."""
    return frame(b"\x01" + topic)


def unsubscribe(topic: bytes) -> bytes:
    """The message by which a SUB socket takes one :func:`subscribe` back."""
    return frame(b"\x00" + topic)


class Message(NamedTuple):
    """What :class:`Splitter` saw of one message or command.

    ``frames`` is empty for a message larger than the capture limit, of which only ``size`` (its
    bytes on the wire) is known.  ``end`` is where it ended in the bytes of the last ``feed``.
    """

    frames: List[bytes]
    size: int
    end: int
    command: bool = False


def is_ready(message: Message) -> bool:
    """Whether this is the READY command, by which a peer of the NULL handshake is done."""
    return message.command and bool(message.frames) and message.frames[0].startswith(b"\x05READY")


class Splitter:
    """Finds the messages in one direction of a ZMTP connection, the greeting included.

    Bytes may come in any pieces: a greeting arrives as 10 bytes first, because a peer waits for
    the version before it says more.
    """

    def __init__(self, capture: int = CAPTURE_LIMIT) -> None:
        self._capture = capture
        self._greeting_left = GREETING_SIZE
        # The message under way: its bytes so far if it may be kept, and how much it has.
        self._kept = bytearray()
        self._size = 0
        # What is left of the frame under way, and whether more frames follow it.
        self._body_left = 0
        self._more = False
        self._command = False
        # A frame's header that came in two pieces.
        self._header = b""

    @property
    def at_boundary(self) -> bool:
        """Whether the bytes so far end exactly behind a message (and behind the greeting)."""
        return not (self._greeting_left or self._size or self._header)

    @property
    def greeted(self) -> bool:
        """Whether the greeting is complete."""
        return not self._greeting_left

    def feed(self, data: Union[bytes, memoryview]) -> List[Message]:
        """Take the next bytes; the messages that ended in them."""
        messages: List[Message] = []
        size = len(data)
        at = 0
        if self._greeting_left:
            at = min(self._greeting_left, size)
            self._greeting_left -= at
        while at < size:
            if self._body_left > 0:
                take = min(self._body_left, size - at)
                self._keep(data[at : at + take])
                at += take
                self._body_left -= take
                if self._body_left:
                    break
            else:
                whole = None if self._size or self._header else self._whole(data, at, size)
                if whole is not None:
                    messages.append(whole)
                    at = whole.end
                    continue
                used = self._read_header(data, at)
                if used is None:
                    break
                at = used
                if self._body_left:
                    continue
            if not self._more:
                frames = split(self._kept) if self._size <= self._capture else []
                messages.append(Message(frames, self._size, at, self._command))
                self._kept = bytearray()
                self._size = 0
        return messages

    def _whole(self, data: Union[bytes, memoryview], at: int, size: int) -> Optional[Message]:
        # The common case, and the quick one: the whole message is in the bytes at hand.
        frames: List[bytes] = []
        start = at
        limit = min(size, start + self._capture)
        while True:
            if at + 2 > limit:
                return None
            flags = data[at]
            if flags > _KNOWN:
                # The long way says what is wrong.
                return None
            if flags & _LONG:
                if at + 9 > limit:
                    return None
                body = at + 9
                at = body + int(_LONG_SIZE.unpack_from(data, at + 1)[0])
            else:
                body = at + 2
                at = body + data[at + 1]
            if at > limit:
                return None
            frames.append(bytes(data[body:at]))
            if not flags & _MORE:
                return Message(frames, at - start, at, bool(flags & _COMMAND))

    def _read_header(self, data: Union[bytes, memoryview], at: int) -> Optional[int]:
        # A frame's header, which may be in two pieces; where it ended in ``data``, if it did.
        have = len(self._header)
        header = self._header + bytes(data[at : at + 9 - have])
        need = 9 if header[0] & _LONG else 2
        if len(header) < need:
            self._header = header
            return None
        flags = header[0]
        header = header[:need]
        if flags > _KNOWN:
            raise ZmtpError(f"a frame with flags {flags:#x}")
        self._more = bool(flags & _MORE)
        self._command = bool(flags & _COMMAND)
        self._body_left = int(_LONG_SIZE.unpack_from(header, 1)[0]) if need == 9 else header[1]
        self._header = b""
        self._keep(header)
        return at + need - have

    def _keep(self, data: Union[bytes, memoryview]) -> None:
        self._size += len(data)
        if self._size <= self._capture:
            self._kept += data
        elif self._kept:
            self._kept = bytearray()


def split(data: Union[bytes, bytearray]) -> List[bytes]:
    """The frames of one whole message."""
    frames: List[bytes] = []
    at = 0
    while at < len(data):
        if data[at] & _LONG:
            body = at + 9
            end = body + int(_LONG_SIZE.unpack_from(data, at + 1)[0])
        else:
            body = at + 2
            end = body + data[at + 1]
        frames.append(bytes(data[body:end]))
        at = end
    return frames
