"""What a client heard of a kernel, so that two runs of the same script can be compared.

Left out is what differs from run to run whatever the network does: ids, dates, execution counts,
and where ipykernel's timer cuts a stream (adjacent messages of a stream are one here).  Messages
are compared in their order, channel by channel and request by request: between two requests that
are worked on at the same time, Jupyter promises none.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

CHANNELS = ("iopub", "shell", "control", "stdin")

Message = dict[str, Any]

# Kernels make these anew: ids, times, a count that a client's probes raise too, a tip of the day.
_VOLATILE = frozenset({"execution_count", "started", "engine_info", "comm_id", "banner"})
# Longer texts are kept as their digest.
_LONGEST = 2000
_SHOWN = 6
_SHOWN_WIDTH = 300


@dataclass
class Transcript:
    """``messages``: by channel, in the order of their arrival and normalised.

    ``arrivals``: when a message came, by the monotonic clock, which all processes share.
    ``deaths``: what the client took for a sign of its kernel's death, in words.
    """

    messages: dict[str, list[Message]]
    arrivals: list[float] = field(default_factory=list)
    deaths: list[str] = field(default_factory=list)

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def load(cls, path: Path) -> Transcript:
        return cls(**json.loads(path.read_text()))

    def first_after(self, moment: float) -> float | None:
        """How long after a moment the first message came; None if none did."""
        later = [arrival - moment for arrival in self.arrivals if arrival >= moment]
        return min(later, default=None)


def normalised(heard: Iterable[Mapping[str, Any]], requests: Mapping[str, str]) -> list[Message]:
    """One channel's messages without what differs from run to run.

    ``requests`` names the client's requests by their ids.
    """
    messages: list[Message] = []
    # For each request, the streams' texts since its last other message.
    streams: dict[str, dict[str, str]] = {}

    def flush(of: str) -> None:
        for name, text in sorted(streams.pop(of, {}).items()):
            messages.append(_message(of, "stream", {"name": name, "text": text}))

    for message in heard:
        of = requests.get(message["parent_header"].get("msg_id", ""), "somebody else")
        kind, content = message["header"]["msg_type"], message["content"]
        if kind == "stream":
            texts = streams.setdefault(of, {})
            texts[content["name"]] = texts.get(content["name"], "") + content["text"]
            continue
        flush(of)
        messages.append(_message(of, kind, content, message.get("buffers") or ()))
    for of in list(streams):
        flush(of)
    return messages


def _message(
    of: str, kind: str, content: Mapping[str, Any], buffers: Iterable[bytes | memoryview] = ()
) -> Message:
    return {
        "of": of,
        "type": kind,
        "content": _plain(content),
        "buffers": [_digest(bytes(buffer)) for buffer in buffers],
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items() if key not in _VOLATILE}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, str) and len(value) > _LONGEST:
        return f"{value[:20]}… {_digest(value.encode())}"
    return value


def _digest(data: bytes) -> str:
    return f"{len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()[:16]}"


def difference(undisturbed: Transcript, disturbed: Transcript) -> str:
    """What is different, for a person; empty if nothing is."""
    found = []
    for channel in CHANNELS:
        expected = _by_request(undisturbed.messages[channel])
        got = _by_request(disturbed.messages[channel])
        for of in [*expected, *(of for of in got if of not in expected)]:
            told = _first_difference(expected.get(of, []), got.get(of, []))
            if told:
                found.append(f"{channel}, of {of}:\n{told}")
    return "\n".join(found)


def _by_request(messages: Iterable[Message]) -> dict[str, list[Message]]:
    found: dict[str, list[Message]] = {}
    for message in messages:
        found.setdefault(message["of"], []).append(message)
    return found


def _first_difference(expected: list[Message], got: list[Message]) -> str:
    if expected == got:
        return ""
    pairs = zip(expected, got, strict=False)
    shorter = min(len(expected), len(got))
    at = next((at for at, (one, other) in enumerate(pairs) if one != other), shorter)
    lines = [f"  {len(got)} messages for {len(expected)}; the first that differs is number {at}"]
    lines += [f"    = {_line(message)}" for message in expected[max(0, at - 2) : at]]
    lines += [f"    - {_line(message)}" for message in expected[at : at + _SHOWN]]
    lines += [f"    + {_line(message)}" for message in got[at : at + _SHOWN]]
    return "\n".join(lines)


def _line(message: Message) -> str:
    content = json.dumps(message["content"], ensure_ascii=False)
    if len(content) > _SHOWN_WIDTH:
        content = f"{content[: _SHOWN_WIDTH // 2]} … {content[-_SHOWN_WIDTH // 2 :]}"
    buffers = f" {message['buffers']}" if message["buffers"] else ""
    return f"{message['type']} {content}{buffers}"
