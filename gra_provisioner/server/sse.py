"""Server-sent events as bytes.  Pure.

https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
"""

from __future__ import annotations

import json
from typing import Any

CONTENT_TYPE = "text/event-stream"

#: Sent when nothing else is, so that no proxy takes the connection for dead; readers ignore it.
KEEP_ALIVE = b": keep-alive\n\n"


def comment(text: str) -> bytes:
    """A line that readers ignore."""
    return f": {text}\n\n".encode()


def event(name: str, data: Any, id: int | None = None) -> bytes:
    """An event whose data is one line of JSON."""
    # JSON of the standard library has no line ends but those asked for.
    line = json.dumps(data, separators=(",", ":"), ensure_ascii=False)
    head = f"id: {id}\n" if id is not None else ""
    # What is no Unicode, as a path may be, is replaced.
    return f"{head}event: {name}\ndata: {line}\n\n".encode("utf-8", "replace")
