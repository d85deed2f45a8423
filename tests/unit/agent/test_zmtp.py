"""ZMTP as far as frames: messages are found whatever way the bytes are cut."""

from __future__ import annotations

import itertools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gra_provisioner.agent import zmtp

bodies = st.one_of(
    st.binary(max_size=40),
    # Around the lengths at which a frame's size takes nine bytes, not two.
    st.integers(250, 260).map(bytes),
    st.integers(400, 3000).map(lambda size: b"x" * size),
)
messages = st.lists(bodies, min_size=1, max_size=6)
cuts = st.lists(st.integers(0, 20_000), max_size=40)


def _pieces(data: bytes, places: list[int]) -> list[bytes]:
    places = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[start:end] for start, end in itertools.pairwise(places)]


def _split(pieces: list[bytes], capture: int = zmtp.CAPTURE_LIMIT) -> list[zmtp.Message]:
    splitter = zmtp.Splitter(capture)
    return [message for piece in pieces for message in splitter.feed(piece)]


@given(messages)
def test_what_is_encoded_is_split_again(frames: list[bytes]) -> None:
    assert zmtp.split(zmtp.encode(frames)) == frames


@given(st.lists(messages, max_size=6), cuts, st.sampled_from([0, 100, 600, zmtp.CAPTURE_LIMIT]))
def test_any_cut_of_a_connection_gives_the_same_messages(
    sent: list[list[bytes]], places: list[int], capture: int
) -> None:
    encoded = [zmtp.encode(frames) for frames in sent]
    data = zmtp.GREETING + zmtp.ready("SUB") + b"".join(encoded)

    found = _split(_pieces(data, places), capture)

    handshake, *rest = found
    assert handshake.command
    assert [message.size for message in rest] == [len(each) for each in encoded]
    assert [message.frames for message in rest] == [
        frames if len(each) <= capture else [] for frames, each in zip(sent, encoded, strict=True)
    ]
    assert not any(message.command for message in rest)


@given(st.lists(messages, min_size=1, max_size=4), cuts)
def test_a_message_ends_where_it_says_and_a_boundary_is_known(
    sent: list[list[bytes]], places: list[int]
) -> None:
    data = zmtp.GREETING + b"".join(map(zmtp.encode, sent))
    ends = {len(zmtp.GREETING)}
    for frames in sent:
        ends.add(max(ends) + len(zmtp.encode(frames)))
    splitter = zmtp.Splitter()
    at = 0
    seen = {len(zmtp.GREETING)}

    for piece in _pieces(data, places):
        seen |= {at + message.end for message in splitter.feed(piece)}
        at += len(piece)
        assert splitter.at_boundary == (at in ends)
        assert splitter.greeted == (at >= zmtp.GREETING_SIZE)

    assert seen == ends


def test_a_greeting_may_come_as_ten_bytes_first() -> None:
    splitter = zmtp.Splitter()

    assert splitter.feed(zmtp.GREETING[:10]) == []
    assert not splitter.greeted
    assert splitter.feed(zmtp.GREETING[10:]) == []
    assert splitter.greeted
    assert splitter.at_boundary


def test_a_large_message_is_counted_and_not_kept() -> None:
    splitter = zmtp.Splitter(capture=1000)
    splitter.feed(zmtp.GREETING)
    block = bytes(100_000)
    found = splitter.feed(b"\x02" + struct.pack(">Q", 100 * len(block)))
    for _ in range(100):
        found += splitter.feed(block)

    (message,) = found
    assert message.frames == []
    assert message.size == 9 + 100 * len(block)
    assert splitter.at_boundary


@pytest.mark.parametrize("command", [zmtp.ready("SUB"), zmtp.frame(bytes(300), command=True)])
def test_commands_are_told_from_messages(command: bytes) -> None:
    (message,) = _split([zmtp.GREETING + command])

    assert message.command
    assert message.size == len(command)


def test_the_handshake_is_that_of_the_specification() -> None:
    # ZMTP 3.0: signature (10), version, mechanism (20), as-server, filler (31).
    assert len(zmtp.GREETING) == zmtp.GREETING_SIZE
    assert (zmtp.GREETING[0], zmtp.GREETING[9]) == (0xFF, 0x7F)
    assert zmtp.GREETING[10:12] == b"\x03\x00"
    assert zmtp.GREETING[12:32].rstrip(b"\0") == b"NULL"
    assert zmtp.ready("SUB") == b"\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x03SUB"
    assert zmtp.subscribe(b"kernel") == b"\x00\x07\x01kernel"
    assert zmtp.unsubscribe(b"") == b"\x00\x01\x00"


@pytest.mark.parametrize("flags", [0x08, 0x10, 0x80, 0xFF])
@pytest.mark.parametrize("whole", [True, False])
def test_reserved_flags_are_refused(flags: int, whole: bool) -> None:
    splitter = zmtp.Splitter()
    splitter.feed(zmtp.GREETING)
    data = bytes((flags,)) + bytes(20)

    if not whole:
        splitter.feed(data[:1])
        data = data[1:]
    with pytest.raises(zmtp.ZmtpError):
        splitter.feed(data)


@given(st.binary(max_size=300), cuts)
def test_garbage_is_refused_or_counted(data: bytes, places: list[int]) -> None:
    splitter = zmtp.Splitter(capture=50)
    splitter.feed(zmtp.GREETING)
    total = 0
    try:
        for piece in _pieces(data, places):
            total += sum(message.size for message in splitter.feed(piece))
    except zmtp.ZmtpError:
        return
    assert total <= len(data)
