"""Frames: how bytes between client and agent are laid out.  Shared by both ends, does no I/O.

A link is any ordered byte stream.  Each side first sends :data:`PREFACE`, then frames.  A frame
is a header of 20 bytes, big-endian, and a payload::

    kind:u8  flags:u8  reserved:u16  stream:u32  length:u32  offset:u64

``offset`` is the position of a DATA payload in its stream, the position that an ACK confirms,
the end that a CLOSE states, or the token of a PING.  The flags of DATA say how the payload is
compressed, 0 if it is not.  Other flags and the reserved bits are sent as zero and ignored.  The
layout of PREFACE, HELLO and REJECT never changes, so that ends of different versions can still tell
each other so.
"""

from __future__ import annotations

import json
import struct
from typing import Any, Dict, Optional, Protocol, Tuple, Union

PREFACE = b"\x89gra\r\n\x1a\n"
VERSION = 1

HELLO = 1
OPEN = 2
DATA = 3
ACK = 4
CLOSE = 5
RESET = 6
PING = 7
PONG = 8
BYE = 9
REJECT = 10

HEADER = struct.Struct(">BBHIIQ")
HEADER_SIZE = HEADER.size

# No frame but DATA has a large payload; more than this is not a peer of ours.
MAX_PAYLOAD = 1 << 20
# DATA frames are cut to this, so that a slow link serves every stream in turn.
MAX_DATA = 1 << 18

Bytes = Union[bytes, bytearray, memoryview]


class WireError(Exception):
    """The peer's bytes are not our protocol.  The link is closed; the session may go on."""


def pack(kind: int, stream: int = 0, offset: int = 0, payload: bytes = b"") -> bytes:
    """One whole frame.  DATA is sent as a bare header followed by its pieces instead."""
    return HEADER.pack(kind, 0, 0, stream, len(payload), offset) + payload


def pack_json(kind: int, value: Dict[str, Any], stream: int = 0) -> bytes:
    """A frame whose payload is a JSON object."""
    return pack(kind, stream, 0, json.dumps(value, separators=(",", ":")).encode())


def unpack_json(payload: Bytes) -> Dict[str, Any]:
    """The JSON object in a payload.  Raises :class:`WireError` if it is anything else."""
    try:
        value = json.loads(bytes(payload).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise WireError(f"a frame's payload is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise WireError("a frame's payload is not a JSON object")
    return value


class FrameHandler(Protocol):
    """Receives what :class:`FrameDecoder` finds."""

    def on_frame(self, kind: int, stream: int, offset: int, payload: bytes) -> None:
        """A whole frame of any kind but DATA."""

    def on_data(self, stream: int, offset: int, piece: memoryview) -> None:
        """Some of a DATA frame's payload, valid during the call.  ``offset`` is the piece's."""

    def on_packed(self, stream: int, offset: int, flags: int, payload: memoryview) -> None:
        """The whole payload of a DATA frame that is compressed, valid during the call."""


class FrameDecoder:
    """Cuts a byte stream into frames.

    The payload of DATA is handed on as it comes, never put together, so that a frame costs no
    copy and a link that drops in the middle of one loses only what had not arrived.  What is
    compressed has to be whole.
    """

    def __init__(self, handler: FrameHandler) -> None:
        self._handler = handler
        self._partial = bytearray()
        self._data_left = 0
        self._data_stream = 0
        self._data_offset = 0

    def feed(self, data: Bytes) -> None:
        """Take the next bytes.  Raises :class:`WireError` if they cannot be frames."""
        size = len(data)
        if size > HEADER_SIZE and not (self._partial or self._data_left):
            # The common case: one whole DATA frame.
            kind, flags, _, stream, length, offset = HEADER.unpack_from(data)
            if kind == DATA and length == size - HEADER_SIZE and not flags:
                self._handler.on_data(stream, offset, memoryview(data)[HEADER_SIZE:])
                return
        if self._partial:
            self._partial += data
            data, self._partial = bytes(self._partial), bytearray()
        view = memoryview(data)
        size = len(view)
        at = 0
        handler = self._handler
        while True:
            if self._data_left:
                if at == size:
                    return
                take = min(self._data_left, size - at)
                offset = self._data_offset
                self._data_left -= take
                self._data_offset = offset + take
                handler.on_data(self._data_stream, offset, view[at : at + take])
                at += take
            if size - at < HEADER_SIZE:
                break
            kind, flags, _, stream, length, offset = HEADER.unpack_from(view, at)
            if kind == DATA and not flags:
                at += HEADER_SIZE
                self._data_left = length
                self._data_stream = stream
                self._data_offset = offset
                continue
            if not HELLO <= kind <= REJECT or length > MAX_PAYLOAD:
                raise WireError(f"frame of kind {kind} and length {length}")
            end = at + HEADER_SIZE + length
            if end > size:
                break
            if kind == DATA:
                handler.on_packed(stream, offset, flags, view[at + HEADER_SIZE : end])
            else:
                handler.on_frame(kind, stream, offset, bytes(view[at + HEADER_SIZE : end]))
            at = end
        if at < size:
            self._partial += view[at:]


class Greeting:
    """Reads the start of a link: the preface and one HELLO or REJECT frame."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: Bytes) -> Optional[Tuple[int, Dict[str, Any], bytes]]:
        """Take the next bytes; once whole, the kind, the JSON object and what came behind.

        Raises :class:`WireError` as soon as the bytes cannot be a greeting.
        """
        self._data += data
        data = self._data
        if data[: len(PREFACE)] != PREFACE[: len(data)]:
            raise WireError("the peer does not speak the runner's protocol")
        start = len(PREFACE) + HEADER_SIZE
        if len(data) < start:
            return None
        kind, _, _, _, length, _ = HEADER.unpack_from(data, len(PREFACE))
        if kind not in (HELLO, REJECT) or length > MAX_PAYLOAD:
            raise WireError(f"the peer's first frame is of kind {kind} and length {length}")
        if len(data) < start + length:
            return None
        value = unpack_json(data[start : start + length])
        return kind, value, bytes(data[start + length :])
