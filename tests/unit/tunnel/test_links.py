"""Networks that hang, in one direction or both, and come back: the tunnel is there at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pytest

from gra_provisioner.agent import link as link_module
from gra_provisioner.agent.link import Link
from gra_provisioner.errors import Unreachable
from gra_provisioner.traffic import Traffic
from gra_provisioner.tunnel import links
from gra_provisioner.tunnel.client import Tunnel
from tests.support.waiting import until_async
from tests.unit.tunnel.fake_agent import FakeAgent

BOUND = 20.0
# The real ones by ten.
PING_EVERY, SUSPICION, PATIENCE = 0.2, 0.6, 1.0


class Network:
    """Between the tunnel and the agent: what is sent may be lost, in each direction."""

    def __init__(self, agent: FakeAgent) -> None:
        self.agent = agent
        self.dialled = 0
        self.open = 0
        # Lost: what the client says, what the agent says.
        self.deaf = self.mute = False
        # Nothing that was under way when the network was away arrives later, as with lost SYNs.
        self._back = asyncio.Event()
        self._back.set()

    def goes(self) -> None:
        self.deaf = self.mute = True
        self._back.clear()

    def comes_back(self) -> None:
        self.deaf = self.mute = False
        self._back.set()

    async def dial(self, factory: Callable[[], asyncio.Protocol]) -> asyncio.Transport:
        self.dialled += 1
        if not self._back.is_set():
            await asyncio.Event().wait()
        transport = await self.agent.dial(lambda: _Lossy(self, cast(Link, factory())))
        self.open += 1
        return transport


class _Lossy(asyncio.Protocol):
    """A link whose bytes are lost while its network is away, and for ever after."""

    def __init__(self, network: Network, link: Link) -> None:
        self.network = network
        self.link = link
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)
        write, writelines = transport.write, transport.writelines

        def filtered_write(data: Any) -> None:
            self.lost = self.lost or self.network.deaf
            if not self.lost:
                write(data)

        def filtered_writelines(list_of_data: Any) -> None:
            self.lost = self.lost or self.network.deaf
            if not self.lost:
                writelines(list_of_data)

        transport.write = filtered_write  # type: ignore[method-assign]
        transport.writelines = filtered_writelines  # type: ignore[method-assign]
        self.link.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self.lost = self.lost or self.network.mute
        if not self.lost:
            self.link.data_received(data)

    def pause_writing(self) -> None:
        self.link.pause_writing()

    def resume_writing(self) -> None:
        self.link.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self.network.open -= 1
        self.link.connection_lost(exc)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "_PING_EVERY", PING_EVERY)
    monkeypatch.setattr(links, "_SUSPICION", SUSPICION)
    monkeypatch.setattr(links, "_PATIENCE", PATIENCE)
    monkeypatch.setattr(links, "_BESIDE_AFTER", 0.1)


@pytest.fixture
async def network(agent: FakeAgent) -> AsyncIterator[Network]:
    made = Network(agent)
    yield made
    await until_async(lambda: made.open == 0, "all connections to be closed", BOUND)


@pytest.fixture
async def tunnel(network: Network) -> AsyncIterator[Tunnel]:
    made = Tunnel(network.dial)
    await made.connect()
    yield made
    await made.close()


async def test_a_network_that_was_away_for_long_is_used_as_soon_as_it_is_back(
    network: Network, tunnel: Tunnel
) -> None:
    network.goes()
    request = asyncio.create_task(tunnel.request("echo", {"n": 1}))
    await until_async(lambda: network.dialled > 6, "some attempts to hang", BOUND)
    network.comes_back()

    assert await request == {"n": 1}
    assert len(network.agent.sessions) == 1
    # One attempt is more than it took, those that hung are given up.
    await until_async(lambda: network.open == 1, "one link to be left", BOUND)


@pytest.mark.parametrize("direction", ["deaf", "mute"])
async def test_a_link_of_which_one_direction_is_dead_is_replaced(
    network: Network, tunnel: Tunnel, direction: str
) -> None:
    setattr(network, direction, True)
    request = asyncio.create_task(tunnel.request("echo", {"n": 1}))
    await until_async(lambda: network.dialled > 3, "others to be tried beside it", BOUND)
    setattr(network, direction, False)

    assert await request == {"n": 1}


async def test_a_link_that_answers_again_is_kept(agent: FakeAgent, network: Network) -> None:
    tunnel = Tunnel(network.dial)
    await tunnel.connect()
    (link,) = agent.links
    transport = link._transport
    assert transport is not None
    # Nothing is read of it for a while, nothing is lost.
    transport.pause_reading()
    network._back.clear()
    await until_async(lambda: network.dialled > 2, "others to be tried beside it", BOUND)
    transport.resume_reading()
    assert await tunnel.request("echo", {"n": 1}) == {"n": 1}
    dialled = network.dialled
    await asyncio.sleep(3 * PING_EVERY)

    assert network.dialled == dialled
    assert agent.links == [link]
    await tunnel.close()


async def test_an_idle_link_is_not_dialled_beside(network: Network, tunnel: Tunnel) -> None:
    await asyncio.sleep(2 * PATIENCE)

    assert network.dialled == 1


async def test_what_was_said_on_the_old_link_meanwhile_is_lost_on_neither_side(
    agent: FakeAgent, network: Network, tunnel: Tunnel
) -> None:
    answers = []
    for n in range(30):
        network.deaf = n % 3 == 0
        network.mute = n % 3 == 1
        request = asyncio.create_task(tunnel.request("echo", {"n": n}))
        await asyncio.sleep(0.1)
        network.deaf = network.mute = False
        answers.append(await request)

    assert answers == [{"n": n} for n in range(30)]
    assert len(agent.sessions) == 1


async def test_a_slow_agent_is_waited_for_while_others_are_tried(
    agent: FakeAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = False
    answered: list[int] = []

    async def dial(factory: Callable[[], asyncio.Protocol]) -> asyncio.Transport:
        number = len(answered)
        answered.append(0)
        if slow:
            # Longer than all others beside it are given.
            await asyncio.sleep(1.5)
        transport = await agent.dial(factory)
        answered[number] = 1
        return transport

    tunnel = Tunnel(dial)
    await tunnel.connect()
    slow = True
    agent.cut()

    assert await tunnel.request("echo", {"n": 1}) == {"n": 1}
    assert len(answered) > 5
    await tunnel.close()


async def test_after_a_sleep_the_link_is_tried_at_once(
    agent: FakeAgent, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "_SUSPICION", 60.0)
    monkeypatch.setattr(links, "_PATIENCE", 60.0)
    clock = link_module.time
    asleep = 0.0

    class Clock:
        @staticmethod
        def time() -> float:
            return clock.time() + asleep

        monotonic = staticmethod(clock.monotonic)

    monkeypatch.setattr(link_module, "time", Clock)
    tunnel = Tunnel(network.dial)
    await tunnel.connect()
    # The link died with the network that the laptop left.
    network.goes()
    await asyncio.sleep(0)
    network.comes_back()
    for link in network.agent.links:
        link.session = None
    asleep = 3600.0

    assert await tunnel.request("echo", {"n": 1}) == {"n": 1}
    assert network.dialled > 1
    await tunnel.close()


async def test_an_attempt_that_comes_too_late_does_not_end_the_tunnel(
    agent: FakeAgent, tunnel: Tunnel
) -> None:
    # As an agent says to an older greeting after a newer one.
    taken = {"reason": "SessionTaken", "message": "Another process has resumed this session."}
    agent.rejection = taken
    session = next(iter(agent.sessions.values()))
    on_greeting = agent._on_greeting

    def greeted(link: Link, kind: int, value: dict[str, Any]) -> Any:
        # A later attempt has been greeted by now.
        tunnel._links.session.epoch += 1
        agent._on_greeting = on_greeting  # type: ignore[method-assign]
        found = on_greeting(link, kind, value)
        agent.rejection = None
        return found

    agent._on_greeting = greeted  # type: ignore[method-assign]
    agent.cut()

    assert await tunnel.request("echo", {"n": 1}) == {"n": 1}
    assert list(agent.sessions.values()) == [session]


async def test_closing_ends_attempts_that_hang(network: Network) -> None:
    tunnel = Tunnel(network.dial)
    await tunnel.connect()
    network.goes()
    await until_async(lambda: network.dialled > 4, "some attempts to hang", BOUND)
    await tunnel.close()

    # Only this test's own task is left, and what serves.
    names = [task.get_name() for task in asyncio.all_tasks()]
    assert "gra dial" not in names


# -- links for the other direction -----------------------------------------------------------------


class Choice:
    """Ways that are better for one direction each, to one agent."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.asked: list[bool] = []
        self.traffic: list[Traffic] = []
        self.refuses = False

    async def dial(
        self, factory: Callable[[], asyncio.Protocol], *, mostly_sends: bool = False
    ) -> asyncio.Transport:
        self.asked.append(mostly_sends)
        if self.refuses and len(self.asked) > 1:
            raise Unreachable("There is no other way.")
        transport = await self.network.dial(factory)
        self.traffic.append(Traffic(mostly_sends=mostly_sends))
        transport._extra["traffic"] = self.traffic[-1]  # type: ignore[attr-defined]
        return transport


async def test_a_link_for_the_other_direction_takes_the_place_of_one_that_is_not(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "_TURN_AGAIN_AFTER", 0.0)
    choice = Choice(network)
    tunnel = Tunnel(choice.dial)
    await tunnel.connect()
    try:
        assert choice.asked == [False]
        choice.traffic[0].sent(1 << 24)
        await until_async(lambda: network.dialled == 2 and network.open == 1, "a turn", BOUND)
        assert tunnel.connected
        assert await tunnel.request("echo", {"n": 1})
        # Nothing more comes of the old one, and the new one is right.
        choice.traffic[0].sent(1 << 24)
        choice.traffic[1].sent(1 << 24)
        choice.traffic[1].received(1 << 26)
        await until_async(lambda: network.dialled == 3 and network.open == 1, "a turn back", BOUND)
        assert choice.asked == [False, True, False]
        # A link that breaks is followed by one for what goes now.
        await tunnel.drop()
        await until_async(lambda: network.dialled == 4, "another link", BOUND)
        assert choice.asked[-1] is False
    finally:
        await tunnel.close()


async def test_where_there_is_no_other_way_the_link_stays(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "_TURN_AGAIN_AFTER", 0.0)
    choice = Choice(network)
    choice.refuses = True
    tunnel = Tunnel(choice.dial)
    await tunnel.connect()
    try:
        for _ in range(10):
            choice.traffic[0].sent(1 << 24)
            await asyncio.sleep(0.01)
        assert choice.asked == [False, True], "it is not tried again at once"
        assert network.open == 1
        assert await tunnel.request("echo", {"n": 1})
    finally:
        await tunnel.close()


async def test_traffic_that_goes_to_and_fro_does_not_turn_the_link_each_time(
    network: Network,
) -> None:
    choice = Choice(network)
    tunnel = Tunnel(choice.dial)
    await tunnel.connect()
    try:
        choice.traffic[0].sent(1 << 24)
        await until_async(lambda: network.dialled == 2 and network.open == 1, "a turn", BOUND)
        choice.traffic[1].received(1 << 24)
        await asyncio.sleep(0.05)
        assert choice.asked == [False, True]
    finally:
        await tunnel.close()
