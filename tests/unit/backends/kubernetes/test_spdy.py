"""A SPDY connection in a websocket's messages, wherever those are cut."""

from __future__ import annotations

import itertools
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gra_provisioner.backends.kubernetes.spdy import SpdyFraming

ERROR, DATA = 1, 3


class User:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.trouble = ""
        self.ended = 0
        self.sent: list[bytes] = []

    def on_data(self, data: memoryview) -> None:
        assert not self.ended
        self.data += data

    def on_trouble(self, text: str) -> None:
        self.trouble += text

    def on_end(self) -> None:
        self.ended += 1

    def send(self, message: bytes) -> None:
        self.sent.append(message)


def data(payload: bytes, stream: int = DATA, flags: int = 0) -> bytes:
    return struct.pack(">II", stream, flags << 24 | len(payload)) + payload


def control(kind: int, body: bytes) -> bytes:
    return struct.pack(">HHI", 0x8003, kind, len(body)) + body


def received(connection: bytes, cuts: list[int]) -> User:
    """What a framing makes of it, if it comes in pieces."""
    user, framing = User(), SpdyFraming(7117)
    edges = sorted({0, len(connection), *(cut % (len(connection) + 1) for cut in cuts)})
    for start, end in itertools.pairwise(edges):
        framing.receive(memoryview(connection[start:end]), True, user)
    return user


def headers(frame: bytes, expander: zlib._Decompress) -> dict[str, str]:
    block = expander.decompress(frame[18:])
    (count,) = struct.unpack_from(">I", block)
    at, words = 4, []
    for _ in range(2 * count):
        (size,) = struct.unpack_from(">I", block, at)
        words.append(block[at + 4 : at + 4 + size].decode())
        at += 4 + size
    assert at == len(block)
    return dict(zip(words[::2], words[1::2], strict=True))


def test_both_streams_are_opened_with_the_same_request_id() -> None:
    opening = SpdyFraming(7117).opening()
    expander = zlib.decompressobj()
    frames = []
    while opening:
        version, kind, rest = struct.unpack_from(">HHI", opening)
        assert (version, kind) == (0x8003, 1)
        size = 8 + (rest & 0xFFFFFF)
        frames.append((struct.unpack_from(">I", opening, 8)[0], rest >> 24, opening[:size]))
        opening = opening[size:]

    (error, error_flags, first), (stream, flags, second) = frames
    assert (error, error_flags, stream, flags) == (ERROR, 1, DATA, 0)
    assert headers(first, expander) == {"streamtype": "error", "port": "7117", "requestid": "0"}
    assert headers(second, expander) == {"streamtype": "data", "port": "7117", "requestid": "0"}


@given(
    payloads=st.lists(st.binary(max_size=300)),
    cuts=st.lists(st.integers(0, 10_000), max_size=30),
)
def test_bytes_come_in_order_wherever_messages_begin_and_end(
    payloads: list[bytes], cuts: list[int]
) -> None:
    # Between frames of data there is whatever else a server may say.
    connection = control(2, bytes(10)) + control(4, bytes(12))
    for number, payload in enumerate(payloads):
        connection += data(payload) + control(9, bytes(8))
        connection += control(6, struct.pack(">I", 2 * number))

    user = received(connection, cuts)

    assert bytes(user.data) == b"".join(payloads)
    assert (user.trouble, user.ended) == ("", 0)
    pings = [control(6, struct.pack(">I", 2 * number)) for number in range(len(payloads))]
    assert user.sent == pings


@given(cuts=st.lists(st.integers(0, 10_000), max_size=10))
def test_the_text_of_an_error_is_no_data(cuts: list[int]) -> None:
    connection = data(b"connection ", ERROR) + data(b"refused", ERROR, 1) + data(b"", flags=1)

    user = received(connection, cuts)

    assert (bytes(user.data), user.trouble, user.ended) == (b"", "connection refused", 1)


@pytest.mark.parametrize(
    "last",
    [
        data(b"", flags=1),
        control(3, struct.pack(">II", DATA, 5)),
        control(7, bytes(8)),
    ],
    ids=["FIN", "RST_STREAM", "GOAWAY"],
)
@given(cuts=st.lists(st.integers(0, 10_000), max_size=10))
def test_what_came_before_the_end_is_there(last: bytes, cuts: list[int]) -> None:
    user = received(data(b"hello") + last, cuts)

    assert (bytes(user.data), user.ended) == (b"hello", 1)


def test_data_with_the_end_is_there() -> None:
    user = received(data(b"hello", flags=1), [3, 10])

    assert (bytes(user.data), user.ended) == (b"hello", 1)


def test_the_end_of_the_error_stream_is_no_end() -> None:
    user = received(control(3, struct.pack(">II", ERROR, 5)) + data(b"", ERROR, 1), [])

    assert user.ended == 0


def test_what_is_no_spdy_ends_the_connection() -> None:
    user = received(b"\xff" * 100, [])

    assert user.ended == 1
    assert "SPDY" in user.trouble


def test_data_is_sent_as_a_frame() -> None:
    assert SpdyFraming(1).header(5) + b"hello" == data(b"hello")
