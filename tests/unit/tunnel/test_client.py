"""The client's end of the tunnel against an agent's session in the same process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gra_provisioner.errors import (
    GraError,
    ProtocolMismatch,
    RequestError,
    RunnerNotFound,
    TunnelError,
    Unreachable,
)
from gra_provisioner.tunnel.client import Tunnel
from tests.support.waiting import until_async
from tests.unit.tunnel.fake_agent import FakeAgent

BOUND = 20.0


@pytest.fixture
async def tunnel(agent: FakeAgent) -> AsyncIterator[Tunnel]:
    made = Tunnel(agent.dial)
    yield made
    await made.close()


async def test_a_request_is_answered(tunnel: Tunnel) -> None:
    await tunnel.connect()

    assert await tunnel.request("echo", {"a": [1, "ü"]}) == {"a": [1, "ü"]}


async def test_many_requests_at_once_get_their_own_answers(tunnel: Tunnel) -> None:
    await tunnel.connect()
    answers = await asyncio.gather(*(tunnel.request("echo", {"n": n}) for n in range(200)))

    assert answers == [{"n": n} for n in range(200)]


async def test_a_request_outlives_a_lost_link(agent: FakeAgent, tunnel: Tunnel) -> None:
    await tunnel.connect()
    agent.cut()
    agent.refusals = 3

    assert await tunnel.request("echo", {"n": 1}) == {"n": 1}
    assert len(agent.sessions) == 1


async def test_dialling_in_vain_at_first_loses_nothing(agent: FakeAgent) -> None:
    events: list[str] = []
    agent.refusals = 3
    tunnel = Tunnel(agent.dial, lambda name, data: events.append(name))
    await tunnel.connect()
    agent.cut()
    await tunnel.request("echo")
    await tunnel.close()

    assert [hello["resumes"] for hello in agent.hellos] == [False, True]
    assert events == []


async def test_each_greeting_counts_up_and_names_the_agent_that_is_meant(
    agent: FakeAgent, tunnel: Tunnel
) -> None:
    await tunnel.connect()
    agent.cut()
    await until_async(lambda: len(agent.hellos) == 2, "the second greeting", BOUND)

    first, second = agent.hellos
    assert second["epoch"] > first["epoch"]
    assert second["session"] == first["session"]
    assert (first["agent"], second["agent"]) == (None, "the-uid")


async def test_an_agent_that_lost_the_session_gets_a_new_one(agent: FakeAgent) -> None:
    events: list[tuple[str, dict[str, Any]]] = []
    tunnel = Tunnel(agent.dial, lambda name, data: events.append((name, data)))
    await tunnel.connect()
    waiting = asyncio.create_task(tunnel.request("ignore"))
    await asyncio.sleep(0.1)
    agent.rejection = {"reason": "SessionLost", "message": "Gone."}
    agent.cut()
    await until_async(lambda: bool(events), "the client to learn of it", BOUND)

    with pytest.raises(TunnelError, match="Gone"):
        await waiting
    assert events[0][0] == "tunnel.session_lost"
    assert await tunnel.request("echo", {"n": 2}) == {"n": 2}
    assert len(agent.sessions) == 2
    await tunnel.close()


@pytest.mark.parametrize(
    ("rejection", "kind", "code"),
    [
        ({"reason": "ProtocolMismatch", "message": "x"}, ProtocolMismatch, "ProtocolMismatch"),
        ({"reason": "RunnerNotFound", "message": "x"}, RunnerNotFound, "RunnerNotFound"),
        ({"reason": "SessionTaken", "message": "x"}, ProtocolMismatch, "SessionTaken"),
        ({"reason": "Novel", "message": "x"}, ProtocolMismatch, "Novel"),
        ({}, ProtocolMismatch, "RequestFailed"),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_a_rejection_ends_the_tunnel(
    agent: FakeAgent, tunnel: Tunnel, rejection: dict[str, Any], kind: type[GraError], code: str
) -> None:
    agent.rejection = rejection
    with pytest.raises(kind) as raised:
        await tunnel.connect()

    assert raised.value.code == code
    with pytest.raises(kind):
        await tunnel.request("echo")


async def test_an_agent_that_refuses_is_unreachable_and_why(
    agent: FakeAgent, tunnel: Tunnel
) -> None:
    agent.refusals = 10_000
    with pytest.raises(Unreachable, match="refused by the test") as raised:
        await tunnel.connect(timeout=0.5)

    assert raised.value.hint


async def test_an_agent_that_does_not_answer_is_told_from_a_link_that_is_down(
    agent: FakeAgent, tunnel: Tunnel
) -> None:
    await tunnel.connect()
    with pytest.raises(Unreachable, match="the agent does not answer"):
        await tunnel.request("ignore", timeout=0.2)
    agent.refusals = 10_000
    agent.cut()
    with pytest.raises(Unreachable, match=r"refused by the test|the link was lost"):
        await tunnel.request("ignore", timeout=0.5)


async def test_a_request_that_the_agent_will_not_take_is_not_sent(tunnel: Tunnel) -> None:
    await tunnel.connect()
    with pytest.raises(RequestError, match="'large'") as raised:
        await tunnel.request("large", {"text": "x" * (9 << 20)})

    assert raised.value.code == "RequestTooLarge"
    assert await tunnel.request("echo") == {}


async def test_a_control_stream_that_is_reset_answers_all_requests(tunnel: Tunnel) -> None:
    await tunnel.connect()
    waiting = asyncio.create_task(tunnel.request("ignore"))
    await asyncio.sleep(0.05)

    with pytest.raises(RequestError, match="told to"):
        await tunnel.request("reset")
    with pytest.raises(RequestError, match="told to"):
        await waiting


async def test_events_are_passed_on(agent: FakeAgent) -> None:
    events: list[tuple[str, dict[str, Any]]] = []
    tunnel = Tunnel(agent.dial, lambda name, data: events.append((name, data)))
    await tunnel.connect()
    agent.controls[0].say({"event": "kernel.state", "data": {"state": "busy"}})
    agent.controls[0].say({"event": "bare"})
    await until_async(lambda: len(events) == 2, "two events", BOUND)

    assert events == [("kernel.state", {"state": "busy"}), ("bare", {})]
    await tunnel.close()


async def test_closing_ends_what_waits(tunnel: Tunnel) -> None:
    await tunnel.connect()
    waiting = asyncio.create_task(tunnel.request("ignore"))
    await asyncio.sleep(0.05)
    await tunnel.close()

    with pytest.raises(TunnelError, match="closed"):
        await waiting
    assert not tunnel.connected
    await tunnel.close()


async def test_a_link_that_breaks_at_once_is_dialled_with_pauses(
    agent: FakeAgent, tunnel: Tunnel
) -> None:
    await tunnel.connect()
    deadline = asyncio.get_running_loop().time() + 2
    while asyncio.get_running_loop().time() < deadline:
        agent.cut()
        await asyncio.sleep(0.005)

    assert 2 <= len(agent.hellos) < 20
    assert await tunnel.request("echo") == {}
