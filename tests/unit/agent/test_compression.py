"""What is compressed: where it gains, and nothing else."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gra_provisioner.agent import wire
from gra_provisioner.agent.compression import LEAST, Choice, choose, codecs
from gra_provisioner.agent.session import Session
from gra_provisioner.agent.stream import Stream

FRAME = 1 << 18
# Links in bytes a second: 50 Mbit/s, and one within a cluster.
SLOW, FAST = 6e6, 200e6
SPEED = 150e6


@pytest.mark.parametrize("name", codecs())
@given(data=st.binary(max_size=5000))
def test_what_is_compressed_comes_out_as_it_was(name: str, data: bytes) -> None:
    codec = codecs()[name]

    assert codec.expand(codec.compress(data), 5000) == data


def test_this_environment_has_zstd_to_test_with() -> None:
    assert list(codecs()) == ["zstd", "zlib"]


@pytest.mark.parametrize("name", codecs())
@pytest.mark.parametrize("broken", [b"", b"no such format", None], ids=["empty", "other", "half"])
def test_what_is_broken_is_refused(name: str, broken: bytes | None) -> None:
    codec = codecs()[name]
    if broken is None:
        broken = codec.compress(os.urandom(1000))[:-10]

    with pytest.raises(ValueError, match=r"."):
        codec.expand(broken, 5000)


@pytest.mark.parametrize("name", codecs())
def test_a_bomb_is_not_expanded(name: str) -> None:
    codec = codecs()[name]
    bomb = codec.compress(bytes(100 << 20))

    assert len(bomb) < 1 << 20
    assert len(codec.expand(bomb, 1000)) == 1001


def test_both_ends_have_to_know_it() -> None:
    ours = codecs()

    assert choose(ours, ["zlib"]) is ours["zlib"]
    assert choose(ours, ["zlib", "zstd"]) is ours["zstd"]
    assert choose(ours, ["lz4", 1, None]) is None
    assert choose(ours, []) is None


# -- whether ------------------------------------------------------------------------------------


def _frames(
    choice: Choice, rates: Iterator[float], number: int, ratio: float = 0.2, speed: float = SPEED
) -> list[bool]:
    """Which of so many frames went compressed."""
    packed = []
    for rate, _ in zip(rates, range(number), strict=False):
        used = choice.applies(FRAME, rate)
        if used:
            used = choice.measured(FRAME, int(FRAME * ratio), FRAME / speed)
        packed.append(used)
    return packed


def _always(rate: float) -> Iterator[float]:
    return (rate for _ in count())


def test_what_never_had_to_wait_is_not_compressed() -> None:
    assert not any(_frames(Choice(), _always(0.0), 1000))


def test_a_slow_link_gets_compressed_frames_from_the_first_on() -> None:
    assert all(_frames(Choice(), _always(SLOW), 1000))


def test_a_link_faster_than_the_compressor_gets_none() -> None:
    assert not any(_frames(Choice(), _always(FAST), 1000))


def test_small_frames_go_as_they_are() -> None:
    assert not Choice().applies(LEAST - 1, SLOW)


def test_a_slow_machine_compresses_for_slower_links_only() -> None:
    choice = Choice()

    packed = _frames(choice, _always(20e6), 1000, speed=30e6)

    # Until it knew its own speed.
    assert packed[0]
    assert not packed[-1]


def test_what_does_not_shrink_is_tried_ever_more_seldom() -> None:
    choice = Choice()
    tried = 0
    for _ in range(4000):
        if choice.applies(FRAME, SLOW):
            tried += 1
            assert not choice.measured(FRAME, FRAME, FRAME / SPEED)

    # A GB in 4,000 frames.
    assert tried < 30


def test_a_stream_that_changes_to_what_shrinks_is_compressed_again() -> None:
    choice = Choice()
    assert not any(_frames(choice, _always(SLOW), 3, ratio=1.0))

    assert _frames(choice, _always(SLOW), 1000)[-1]


def test_a_link_that_has_become_fast_is_found_out() -> None:
    choice = Choice()
    assert all(_frames(choice, _always(SLOW), 100))

    # The compressor is what is slow now; without it the link shows its real rate.
    def rates() -> Iterator[float]:
        while True:
            yield SPEED if choice.is_on else FAST

    packed = _frames(choice, rates(), 10_000)
    assert not any(packed[-5000:])


def test_a_link_that_only_seems_fast_keeps_its_compression_nearly_always() -> None:
    choice = Choice()
    assert all(_frames(choice, _always(SLOW), 100))

    # 25 MB/s carry 125 MB/s of this.
    def rates() -> Iterator[float]:
        while True:
            yield 0.9 * SPEED if choice.is_on else 25e6

    packed = _frames(choice, rates(), 20_000)
    assert sum(packed) > 0.97 * len(packed)


# -- in a session -------------------------------------------------------------------------------


class Taker:
    """Takes all that comes."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.received = bytearray()

    def on_data(self, data: memoryview) -> None:
        self.received += data
        self.stream.consumed(len(data))

    def on_finish(self) -> None:
        """Nothing is held back."""

    def on_reset(self, reason: str, message: str) -> None:
        raise AssertionError(message)

    def on_drain(self) -> None:
        """Nothing is held back."""


class Clock:
    """A clock of the test's own."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1e-4
        return self.now


def _joined(peer_codecs: list[str] | None = None) -> tuple[Session, Session, Clock]:
    clock = Clock()
    client = Session("s", Taker, lambda: None, clock=clock)
    agent = Session("s", Taker, lambda: None, Taker, clock=clock)
    hello = client.hello()
    if peer_codecs is not None:
        hello["compression"] = peer_codecs
    agent.link_up(hello)
    client.link_up(agent.hello())
    return client, agent, clock


def _carry(client: Session, agent: Session, clock: Clock, rate: float) -> int:
    """Carry all that both have to say over a link of ``rate`` bytes a second; how many it took."""
    total = 0
    while True:
        there, back = (b"".join(session.pull(1 << 18)) for session in (client, agent))
        if not there and not back:
            return total
        total += len(there) + len(back)
        clock.now += (len(there) + len(back)) / rate
        agent.receive(there)
        client.receive(back)


TEXT = b"".join(b'{"row": %d, "value": "<td>%d</td>"}\n' % (n, n * n) for n in range(200_000))


@pytest.mark.parametrize("name", ["zlib", "zstd"])
def test_text_over_a_slow_link_takes_a_part_of_its_bytes(name: str) -> None:
    client, agent, clock = _joined([name])
    agent_end = agent.streams[1].handler
    # The agent expands what the client compresses, and the other way round.
    stream = client.streams[1]
    assert client._codec is not None
    stream.write(TEXT)

    taken = _carry(client, agent, clock, SLOW)

    assert isinstance(agent_end, Taker)
    assert bytes(agent_end.received) == TEXT
    assert taken < 0.45 * len(TEXT)


def test_the_agent_compresses_with_what_the_client_knows() -> None:
    client, agent, clock = _joined(["zlib"])
    agent.streams[1].write(TEXT)

    taken = _carry(client, agent, clock, SLOW)

    received = client.streams[1].handler
    assert isinstance(received, Taker)
    assert bytes(received.received) == TEXT
    assert agent._codec is not None
    assert agent._codec.name == "zlib"
    assert taken < 0.45 * len(TEXT)


def test_a_client_that_names_no_codec_gets_plain_frames() -> None:
    client, agent, clock = _joined([])
    agent.streams[1].write(TEXT)

    assert _carry(client, agent, clock, SLOW) >= len(TEXT)
    received = client.streams[1].handler
    assert isinstance(received, Taker)
    assert bytes(received.received) == TEXT


def test_noise_over_a_slow_link_costs_next_to_nothing() -> None:
    client, agent, clock = _joined()
    noise = os.urandom(8 << 20)
    agent.streams[1].write(noise)

    assert _carry(client, agent, clock, SLOW) < 1.01 * len(noise)


def test_a_fast_link_carries_it_as_it_is() -> None:
    client, agent, clock = _joined()
    agent.streams[1].write(TEXT)

    assert _carry(client, agent, clock, 1e9) >= len(TEXT)


@pytest.mark.parametrize(
    ("flags", "payload", "said"),
    [
        (1, b"rubbish", "cannot be expanded"),
        (1, zlib.compress(bytes(wire.MAX_DATA + 1)), "more than"),
        (1, zlib.compress(b""), "more than"),
        (9, b"x", "flags 9"),
    ],
)
def test_a_frame_that_is_no_frame_ends_the_link(flags: int, payload: bytes, said: str) -> None:
    client, _, _ = _joined()
    frame = wire.HEADER.pack(wire.DATA, flags, 0, 1, len(payload), 0) + payload

    with pytest.raises(wire.WireError, match=said):
        client.receive(frame)
