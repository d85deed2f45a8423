"""A reader of server-sent events, as a browser has it.

https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Event:
    """One event.  ``id`` is that of the last event which had one."""

    name: str
    data: str
    id: str

    def json(self) -> Any:
        return json.loads(self.data)


class EventReader:
    """Makes events of bytes that come in blocks."""

    def __init__(self) -> None:
        self.comments: list[str] = []
        self._held = b""
        self._name = self._id = ""
        self._data: list[str] = []

    def feed(self, block: bytes) -> list[Event]:
        """The events that are complete with the next block."""
        events = []
        *lines, self._held = re.split(rb"\r\n|\n|\r", self._held + block)
        for line in lines:
            event = self._line(line.decode())
            if event is not None:
                events.append(event)
        return events

    def _line(self, line: str) -> Event | None:
        if not line:
            name, data = self._name or "message", "\n".join(self._data)
            self._name, has_data, self._data = "", bool(self._data), []
            return Event(name, data, self._id) if has_data else None
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not field:
            self.comments.append(value)
        elif field == "event":
            self._name = value
        elif field == "data":
            self._data.append(value)
        elif field == "id":
            self._id = value
        return None
