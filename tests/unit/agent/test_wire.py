"""Frames: any cut of a stream gives the same frames, and no bytes can do harm."""

from __future__ import annotations

import itertools
import json
import tracemalloc
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gra_provisioner.agent import wire

_KINDS = [kind for kind in range(wire.HELLO, wire.REJECT + 1) if kind != wire.DATA]

frames = st.tuples(
    st.sampled_from([*_KINDS, wire.DATA, wire.DATA]),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**63),
    st.binary(max_size=80),
)
# What a hostile or confused peer sends: garbage, or frames that are nearly right.
headers = st.builds(
    wire.HEADER.pack,
    st.integers(0, 20),
    st.integers(0, 255),
    st.integers(0, 2**16 - 1),
    st.integers(0, 2**32 - 1),
    st.one_of(st.integers(0, 100), st.integers(0, 2**32 - 1)),
    st.integers(0, 2**64 - 1),
)
garbage = st.lists(st.one_of(st.binary(max_size=60), headers), max_size=12).map(b"".join)


@dataclass
class Collector:
    """Keeps frames; the pieces of DATA are joined to one run of bytes each."""

    found: list[tuple[int, int, int, bytes]] = field(default_factory=list)

    def on_frame(self, kind: int, stream: int, offset: int, payload: bytes) -> None:
        self.found.append((kind, stream, offset, payload))

    def on_data(self, stream: int, offset: int, piece: memoryview) -> None:
        if self.found:
            kind, before, start, data = self.found[-1]
            if (kind, before, start + len(data)) == (wire.DATA, stream, offset):
                self.found[-1] = (kind, stream, start, data + piece)
                return
        self.found.append((wire.DATA, stream, offset, bytes(piece)))

    def on_packed(self, stream: int, offset: int, flags: int, payload: memoryview) -> None:
        self.found.append((wire.DATA | flags << 8, stream, offset, bytes(payload)))


def _pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[start:end] for start, end in itertools.pairwise(places)]


def _decode(pieces: list[bytes]) -> list[tuple[int, int, int, bytes]]:
    collector = Collector()
    decoder = wire.FrameDecoder(collector)
    for piece in pieces:
        decoder.feed(piece)
    return collector.found


def _joined(sent: list[tuple[int, int, int, bytes]]) -> list[tuple[int, int, int, bytes]]:
    """What a decoder may report: neighbouring DATA that continue each other are one run."""
    collector = Collector()
    for kind, stream, offset, payload in sent:
        if kind != wire.DATA:
            collector.on_frame(kind, stream, offset, payload)
        elif payload:
            collector.on_data(stream, offset, memoryview(payload))
    return collector.found


@given(st.lists(frames, max_size=10), st.lists(st.integers(0, 2000), max_size=30))
def test_any_cut_of_a_stream_gives_the_same_frames(
    sent: list[tuple[int, int, int, bytes]], cuts: list[int]
) -> None:
    stream = b"".join(wire.pack(*frame) for frame in sent)

    assert _decode(_pieces(stream, cuts)) == _joined(sent)


@given(st.lists(frames, max_size=4))
def test_a_stream_that_comes_byte_by_byte_gives_the_same_frames(
    sent: list[tuple[int, int, int, bytes]],
) -> None:
    stream = b"".join(wire.pack(*frame) for frame in sent)

    assert _decode([bytes((byte,)) for byte in stream]) == _joined(sent)


@given(garbage, st.lists(st.integers(0, 1000), max_size=10))
def test_garbage_is_refused_or_passed_over_whatever_the_cuts(data: bytes, cuts: list[int]) -> None:
    outcomes = []
    for pieces in ([data], _pieces(data, cuts)):
        collector = Collector()
        decoder = wire.FrameDecoder(collector)
        error = ""
        try:
            for piece in pieces:
                decoder.feed(piece)
        except wire.WireError as refused:
            error = str(refused)
        outcomes.append((collector.found, error))

    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("kind", [0, 11, 255])
def test_an_unknown_kind_of_frame_is_refused(kind: int) -> None:
    with pytest.raises(wire.WireError, match=f"kind {kind}"):
        _decode([wire.HEADER.pack(kind, 0, 0, 1, 0, 0)])


def test_a_frame_that_claims_to_be_huge_is_refused_before_it_is_kept() -> None:
    with pytest.raises(wire.WireError, match="length"):
        _decode([wire.HEADER.pack(wire.OPEN, 0, 0, 1, wire.MAX_PAYLOAD + 1, 0)])


def test_data_that_claims_to_be_huge_takes_no_memory() -> None:
    class Forgetful(Collector):
        def on_data(self, stream: int, offset: int, piece: memoryview) -> None:
            self.size = offset + len(piece)

    collector = Forgetful()
    decoder = wire.FrameDecoder(collector)
    block = bytes(1 << 16)
    tracemalloc.start()
    try:
        decoder.feed(wire.HEADER.pack(wire.DATA, 0, 0, 1, 2**32 - 1, 0))
        for _ in range(500):
            decoder.feed(block)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert collector.size == 500 * len(block)
    assert peak < 1 << 20


@given(
    st.sampled_from([wire.HELLO, wire.REJECT]),
    st.dictionaries(st.text(max_size=8), st.integers(), max_size=5),
    st.binary(max_size=50),
    st.lists(st.integers(0, 500), max_size=10),
)
def test_a_greeting_comes_in_any_pieces(
    kind: int, value: dict[str, int], rest: bytes, cuts: list[int]
) -> None:
    data = wire.PREFACE + wire.pack_json(kind, value)
    greeting = wire.Greeting()

    *early, last = _pieces(data, cuts)
    assert [greeting.feed(piece) for piece in early] == [None] * len(early)
    assert greeting.feed(last + rest) == (kind, value, rest)


@given(
    st.one_of(garbage, garbage.map(lambda data: wire.PREFACE + data)),
    st.lists(st.integers(0, 500), max_size=10),
)
def test_garbage_is_no_greeting(data: bytes, cuts: list[int]) -> None:
    greeting = wire.Greeting()
    try:
        for piece in _pieces(data, cuts):
            if greeting.feed(piece) is not None:
                break
    except wire.WireError:
        return
    # Nothing but the start of a greeting, or a whole one, is taken without complaint.
    head = data[: len(wire.PREFACE)]
    assert wire.PREFACE.startswith(head)


@pytest.mark.parametrize("line", [b"GET / HTTP/1.1\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", b"\x16\x03"])
def test_a_peer_of_another_protocol_is_refused_at_its_first_bytes(line: bytes) -> None:
    with pytest.raises(wire.WireError, match="protocol"):
        wire.Greeting().feed(line)


def test_a_greeting_keeps_no_more_than_one_frame_may_have() -> None:
    greeting = wire.Greeting()
    with pytest.raises(wire.WireError, match="length"):
        greeting.feed(wire.PREFACE + wire.HEADER.pack(wire.HELLO, 0, 0, 0, 2**32 - 1, 0))


@pytest.mark.parametrize(
    "payload",
    [b"", b"{", b"[]", b"1", b"null", b'"text"', b"\xff\xfe", b"[" * 100_000, b"9" * 5000],
    ids=lambda payload: repr(payload[:8]),
)
def test_a_payload_that_is_no_json_object_is_refused(payload: bytes) -> None:
    with pytest.raises(wire.WireError, match="JSON"):
        wire.unpack_json(payload)


@given(st.binary(max_size=200))
def test_any_payload_is_an_object_or_refused(payload: bytes) -> None:
    try:
        assert isinstance(wire.unpack_json(payload), dict)
    except wire.WireError:
        return


@given(st.dictionaries(st.text(), st.one_of(st.none(), st.booleans(), st.text(), st.integers())))
def test_json_frames_round_trip(value: dict[str, object]) -> None:
    ((kind, stream, offset, payload),) = _decode([wire.pack_json(wire.OPEN, value, 7)])

    assert (kind, stream, offset) == (wire.OPEN, 7, 0)
    assert wire.unpack_json(payload) == value == json.loads(payload)
