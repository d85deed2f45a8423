"""Two ends and a real connection between them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gra_provisioner.agent import wire
from gra_provisioner.agent.link import Link
from gra_provisioner.agent.session import Session
from gra_provisioner.agent.stream import Stream
from tests.support.waiting import until_async

# Within a test no ping is ever sent.
_NEVER = 1000.0


class User:
    """The user of a stream that takes all at once and notes what it is told."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.received = b""
        self.drained = 0

    def on_data(self, data: memoryview) -> None:
        self.received += data
        self.stream.consumed(len(data))

    def on_finish(self) -> None:
        """No more comes."""

    def on_reset(self, reason: str, message: str) -> None:
        """Nothing more comes."""

    def on_drain(self) -> None:
        self.drained += 1


class Pair:
    """A client's and an agent's session, joined by a socket pair."""

    def __init__(self) -> None:
        self.client = Session("s", User, lambda: None)
        self.agent = Session("s", User, lambda: None, User)
        self.links: list[Link] = []
        self.lost: list[Exception | None] = []

    async def connect(self) -> None:
        """Bring a link up between the two."""
        loop = asyncio.get_running_loop()
        for session, sock in zip((self.client, self.agent), socket.socketpair(), strict=True):
            link = Link(self._greets(session), self._on_lost, ping_every=_NEVER, patience=_NEVER)
            session.on_output = link.flush
            session.acknowledge_soon = link.acknowledge_soon
            await loop.create_connection(lambda link=link: link, sock=sock)
            self.links.append(link)
        for session, link in zip((self.client, self.agent), self.links, strict=True):
            link.send_greeting(wire.HELLO, session.hello())
        await until_async(
            lambda: self.client.linked and self.agent.linked, "both ends to have greeted", 10
        )

    def _greets(self, session: Session) -> Any:
        def on_greeting(link: Link, kind: int, value: dict[str, Any]) -> Session:
            assert kind == wire.HELLO
            session.link_up(value)
            return session

        return on_greeting

    def _on_lost(self, link: Link, error: Exception | None) -> None:
        self.lost.append(error)

    async def close(self) -> None:
        """Close both links."""
        for link in self.links:
            link.abort()
        await until_async(lambda: len(self.lost) == len(self.links), "the links to be gone", 10)


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    made = Pair()
    await made.connect()
    yield made
    await made.close()


async def test_what_is_consumed_is_acknowledged_without_a_ping_however_little_it_is(
    pair: Pair,
) -> None:
    stream = pair.client.open({}, User)
    for size in (1, 1000):
        stream.write(bytes(size))
        await until_async(
            lambda: stream.unacknowledged == 0, f"{size} bytes to be acknowledged", 10
        )


async def test_a_sender_with_a_low_water_mark_below_the_acknowledged_amounts_goes_on(
    pair: Pair,
) -> None:
    user: list[User] = []

    def handler(stream: Stream) -> User:
        user.append(User(stream))
        return user[0]

    stream = pair.client.open({}, handler)
    stream.high_water = 100
    # More than may be on its way at first.
    stream.write(bytes(1 << 20))
    await until_async(lambda: user[0].drained, "the sender to be told to go on", 10)
    assert stream.backlog <= 25
