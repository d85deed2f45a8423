"""What a page of a Jupyter server is told: Jupyter's own events."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import websocket

from gra_provisioner.server.events import RUNNER_LAUNCH
from tests.support.cells import TIMEOUT
from tests.support.server import JupyterServer
from tests.support.waiting import WaitTimeout

_SLICE = 0.5


class Events:
    """A page's subscription.  Yields gra's events, in order."""

    def __init__(self, server: JupyterServer) -> None:
        url = server.url.replace("http", "ws", 1)
        self._connection = websocket.create_connection(
            f"{url}api/events/subscribe",
            header=[f"Authorization: token {server.token}"],
            timeout=TIMEOUT,
        )

    def next(self, schema: str) -> dict[str, Any]:
        """The next event of this schema."""
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline:
            # Each ping of the server's would begin a longer timeout anew.
            self._connection.settimeout(_SLICE)
            try:
                event: dict[str, Any] = json.loads(self._connection.recv())
            except websocket.WebSocketTimeoutException:
                continue
            if event["schema_id"] == schema:
                return event
        raise WaitTimeout(f"an event {schema}", TIMEOUT)

    def launch(self) -> list[dict[str, Any]]:
        """The events of one launch, to its end."""
        events = [self.next(RUNNER_LAUNCH)]
        while events[-1]["state"] == "launching":
            events.append(self.next(RUNNER_LAUNCH))
        return events

    def close(self) -> None:
        self._connection.close()


@contextmanager
def subscribed(server: JupyterServer) -> Iterator[Events]:
    """A subscription, for as long as the block runs."""
    events = Events(server)
    try:
        yield events
    finally:
        events.close()
