"""An agent's session in the test's own process, which can be told to misbehave."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from gra_provisioner.agent import wire
from gra_provisioner.agent.link import Link
from gra_provisioner.agent.session import Session
from gra_provisioner.agent.stream import Stream, StreamHandler
from gra_provisioner.errors import Unreachable


class Echo:
    """Answers each line of the control stream with the request's own parameters."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self._line = b""

    def on_data(self, data: memoryview) -> None:
        self.stream.consumed(len(data))
        *lines, self._line = (self._line + bytes(data)).split(b"\n")
        for line in lines:
            self._answer(json.loads(line))

    def _answer(self, request: dict[str, Any]) -> None:
        if request["method"] == "reset":
            self.stream.reset("RequestTooLarge", "told to")
        elif request["method"] != "ignore":
            self.say({"id": request["id"], "result": request["params"]})

    def say(self, value: dict[str, Any]) -> None:
        self.stream.write(json.dumps(value).encode() + b"\n")

    def on_finish(self) -> None:
        """The session ends."""

    def on_reset(self, reason: str, message: str) -> None:
        """The client has left."""

    def on_drain(self) -> None:
        """Little is written."""


class FakeAgent:
    """Keeps sessions as an agent does, and can be told to misbehave."""

    def __init__(self) -> None:
        self.uid = "the-uid"
        self.hellos: list[dict[str, Any]] = []
        self.sessions: dict[str, Session] = {}
        self.controls: list[Echo] = []
        self.links: list[Link] = []
        self.refusals = 0
        self.rejection: dict[str, Any] | None = None
        self.silent = False
        self.server: asyncio.AbstractServer | None = None

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self.server = await loop.create_server(self._link, "127.0.0.1", 0)

    async def stop(self) -> None:
        assert self.server is not None
        self.server.close()
        self.cut()
        await asyncio.sleep(0)

    def cut(self) -> None:
        """Drop all connections."""
        links, self.links = self.links, []
        for link in links:
            link.abort()

    async def dial(self, factory: Callable[[], asyncio.Protocol]) -> asyncio.Transport:
        """The ``dial`` of a tunnel to this agent."""
        if self.refusals:
            self.refusals -= 1
            raise Unreachable("refused by the test")
        assert self.server is not None
        port = self.server.sockets[0].getsockname()[1]
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(factory, "127.0.0.1", port)
        return transport

    def _link(self) -> Link:
        link = Link(self._on_greeting, lambda link, error: None)
        self.links.append(link)
        return link

    def _on_greeting(self, link: Link, kind: int, value: dict[str, Any]) -> Session | None:
        self.hellos.append(value)
        if self.silent:
            # Bytes go nowhere, and nobody says so.
            return None
        if self.rejection is not None:
            rejection = self.rejection
            if rejection.get("reason") == "SessionLost":
                self.rejection = None
            link.send_greeting(wire.REJECT, rejection)
            link.close()
            return None
        session = self.sessions.get(value["session"])
        if session is None:
            session = Session(value["session"], self._control, lambda: None, self._accept)
            self.sessions[session.id] = session
        session.link_down()
        link.send_greeting(wire.HELLO, {**session.hello(), "agent": {"uid": self.uid}})
        session.on_output = link.flush
        session.on_bye = link.close
        session.link_up(value)
        return session

    def _control(self, stream: Stream) -> StreamHandler:
        self.controls.append(Echo(stream))
        return self.controls[-1]

    def _accept(self, stream: Stream) -> StreamHandler:
        return Echo(stream)
