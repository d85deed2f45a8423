"""The subprotocol ``SPDY/3.1+portforward.k8s.io``: a SPDY connection inside a websocket.

It is kubectl's own (KEP-4006; API servers from 1.31 on).  The websocket ends at the API server,
behind which kubelet and container runtime speak SPDY, which costs them a fourth of what their
websockets do.  A port-forward is a pair of streams, one for data and one for the text of an error,
which headers join (``k8s.io/kubelet/pkg/cri/streaming/portforward/httpstream.go``).

SPDY/3.1 (https://www.chromium.org/spdy/spdy-protocol/spdy-protocol-draft3-1/) as moby/spdystream
has it: without flow control.  Frames are 8 bytes and what they say follows; integers are
big-endian.
"""

from __future__ import annotations

import struct
import zlib

from .framing import FramingUser

PROTOCOL = "SPDY/3.1+portforward.k8s.io"

# Clients' streams are odd.
_ERROR, _DATA = 1, 3
_SYN_STREAM, _RST_STREAM, _PING, _GOAWAY = 1, 3, 6, 7
_FIN = 1
_FRAME = struct.Struct(">II")
_CONTROL = struct.Struct(">HHI")
_VERSION = 0x8003
_LENGTH = 0xFFFFFF
# No control frame is as long.
_LONGEST = 1 << 16


class SpdyFraming:
    """A :class:`~.framing.Framing` of one port-forward to ``port``."""

    needs_ends = False

    def __init__(self, port: int) -> None:
        self._port = port
        self._partial = b""
        # Of a DATA frame: its stream, what of it is still to come, and whether it is the last.
        self._stream = 0
        self._left = 0
        self._is_last = False

    def opening(self) -> bytes:
        """See :class:`~.framing.Framing`.  Opens both streams."""
        # One zlib stream for all headers of a connection (2.6.10.1).  That it begins with a
        # dictionary is the reader's business only where the writer says so.
        headers = zlib.compressobj()
        frames = []
        for stream, kind, flags in ((_ERROR, "error", _FIN), (_DATA, "data", 0)):
            pairs = {"streamtype": kind, "port": str(self._port), "requestid": "0"}
            words = [word.encode() for pair in pairs.items() for word in pair]
            block = struct.pack(">I", len(pairs))
            block += b"".join(struct.pack(">I", len(word)) + word for word in words)
            packed = headers.compress(block) + headers.flush(zlib.Z_SYNC_FLUSH)
            frames.append(_control(_SYN_STREAM, flags, struct.pack(">IIH", stream, 0, 0) + packed))
        return b"".join(frames)

    def header(self, size: int) -> bytes:
        """See :class:`~.framing.Framing`."""
        return _FRAME.pack(_DATA, size)

    def receive(self, message: memoryview, is_last: bool, user: FramingUser) -> None:
        """See :class:`~.framing.Framing`.  Where messages begin and end means nothing."""
        if self._left > len(message) and self._stream == _DATA:
            # The common case: nothing but data.
            self._left -= len(message)
            user.on_data(message)
            return
        if self._partial:
            message, self._partial = memoryview(self._partial + message), b""
        at, size = 0, len(message)
        while at < size:
            if self._left:
                take = min(self._left, size - at)
                self._left -= take
                self._on_data(message[at : at + take], user)
                at += take
            elif size - at < _FRAME.size:
                break
            else:
                first, second = _FRAME.unpack_from(message, at)
                length, flags = second & _LENGTH, second >> 24
                body = at + _FRAME.size
                if not first >> 31:
                    self._stream, self._left, self._is_last = first, length, bool(flags & _FIN)
                    at = body
                elif length > _LONGEST:
                    user.on_trouble(f"The API server sent a SPDY frame of {length:,} bytes.")
                    user.on_end()
                    return
                elif size - body < length:
                    break
                else:
                    self._on_control(first & 0xFFFF, bytes(message[body : body + length]), user)
                    at = body + length
            if self._is_last and not self._left:
                self._is_last = False
                if self._stream == _DATA:
                    user.on_end()
                    return
        self._partial = bytes(message[at:])

    def _on_data(self, data: memoryview, user: FramingUser) -> None:
        if self._stream == _DATA:
            user.on_data(data)
        elif self._stream == _ERROR:
            user.on_trouble(bytes(data).decode("utf-8", "replace"))

    def _on_control(self, kind: int, body: bytes, user: FramingUser) -> None:
        if kind == _PING:
            user.send(_control(_PING, 0, body))
        elif kind == _GOAWAY or (kind == _RST_STREAM and body[:4] == struct.pack(">I", _DATA)):
            user.on_end()


def _control(kind: int, flags: int, body: bytes) -> bytes:
    return _CONTROL.pack(_VERSION, kind, flags << 24 | len(body)) + body
