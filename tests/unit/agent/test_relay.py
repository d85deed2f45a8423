"""A kernel's output through the agent's small buffer, to a client that comes and goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gra_provisioner.agent import zmtp
from gra_provisioner.agent.buffer import SendBuffer, SpillFile
from gra_provisioner.agent.relay import IopubRelay
from gra_provisioner.agent.session import ACK_EVERY, Session
from gra_provisioner.agent.stream import Stream, StreamHandler

MEMORY, SPILL = 64 << 10, 256 << 10
# Less than the client acknowledges at once, and than the buffer takes, but not twice.
BURST = [bytes([number]) * 1000 for number in range(200)]
assert len(BURST) * 1000 < ACK_EVERY < MEMORY + SPILL < 2 * len(BURST) * 1000


class Reader:
    """A client's end of a stream, or of none: takes at once all that comes."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.splitter = zmtp.Splitter()
        self.messages: list[list[bytes]] = []
        self.resets: list[str] = []

    def on_data(self, data: memoryview) -> None:
        found = self.splitter.feed(bytes(data))
        self.messages += [message.frames for message in found if not message.command]
        self.stream.consumed(len(data))

    def on_finish(self) -> None:
        """No more comes."""

    def on_reset(self, reason: str, message: str) -> None:
        self.resets.append(reason)

    def on_drain(self) -> None:
        """Nothing was held back."""


class Runner:
    """A client's and an agent's session with one iopub stream; the test is kernel and link."""

    def __init__(self, folder: Path) -> None:
        # How many messages each notice counts.
        self.drops: list[int] = []
        self._folder = folder
        self.client = Session("s", Reader, lambda: None)
        self.agent = Session("s", Reader, lambda: None, self._accept)
        self.reader: Reader
        self.relay: IopubRelay
        self.connect()
        self.client.open({"kind": "kernel", "channel": "iopub"}, self._read)
        self.pass_on()
        self.say_bytes(zmtp.GREETING + zmtp.ready("PUB"))

    def _read(self, stream: Stream) -> StreamHandler:
        self.reader = Reader(stream)
        return self.reader

    def _accept(self, stream: Stream) -> StreamHandler:
        stream.out = SendBuffer(MEMORY, SpillFile(str(self._folder), SPILL))
        self.relay = IopubRelay(stream, self._never, self._notice)
        return self.relay

    async def _never(self, protocol: asyncio.Protocol) -> None:
        await asyncio.Event().wait()

    def _notice(self, count: int, size: int, why: str, before: list[bytes]) -> list[bytes]:
        self.drops.append(count)
        return [b"stream", b"dropped"]

    def connect(self) -> None:
        """Bring a link up."""
        for end, peer in ((self.agent, self.client), (self.client, self.agent)):
            end.link_up(peer.hello())
        self.pass_on()

    def disconnect(self) -> None:
        """Lose the link."""
        self.client.link_down()
        self.agent.link_down()

    def pass_on(self) -> None:
        """Let both ends' bytes through until they have nothing more to say."""
        while not (self.client.quiet and self.agent.quiet):
            for end, peer in ((self.agent, self.client), (self.client, self.agent)):
                peer.receive(b"".join(map(bytes, end.pull(1 << 18))))

    def say_bytes(self, data: bytes) -> None:
        """Let the kernel send bytes."""
        self.relay.data_received(data)
        if self.agent.linked:
            self.pass_on()

    def say(self, *texts: bytes) -> None:
        """Let the kernel send messages, all at once."""
        self.say_bytes(b"".join(zmtp.encode([b"stream", text]) for text in texts))

    @property
    def heard(self) -> list[bytes]:
        """The texts that the client has."""
        return [frames[1] for frames in self.reader.messages]

    def close(self) -> None:
        """Give the spill file back."""
        self.agent.end("Tested", "the test is over")


@pytest.fixture
async def runner(tmp_path: Path) -> AsyncIterator[Runner]:
    made = Runner(tmp_path)
    yield made
    made.close()


async def test_a_client_that_reads_gets_all_however_little_it_has_acknowledged(
    runner: Runner,
) -> None:
    for _ in range(20):
        runner.say(*BURST)

    assert runner.heard == BURST * 20
    assert runner.drops == []


async def test_a_client_that_was_away_for_too_long_gets_all_that_comes_after_the_loss(
    runner: Runner,
) -> None:
    runner.say(*BURST)
    runner.disconnect()
    for _ in range(10):
        runner.say(*BURST)
    runner.connect()

    runner.say(b"on")

    kept = runner.heard[:-2]
    assert kept == (BURST * 11)[: len(kept)]
    assert runner.heard[-2:] == [b"dropped", b"on"]
    assert runner.drops == [len(BURST) * 11 - len(kept)]


async def test_output_under_way_when_the_link_is_lost_takes_no_room_from_what_follows(
    runner: Runner,
) -> None:
    # Sent, and lost on the way.
    runner.relay.data_received(b"".join(zmtp.encode([b"stream", text]) for text in BURST))
    while runner.agent.pull(1 << 18):
        pass
    runner.disconnect()
    runner.say(*BURST)
    runner.connect()

    assert runner.heard == BURST * 2
    assert runner.drops == []
