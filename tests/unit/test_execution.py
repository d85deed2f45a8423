"""What is kept of an output that is too long, and how that is told."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gra_provisioner.execution import (
    Bounded,
    Captured,
    Ended,
    Execution,
    PieceEncoder,
    ProcessExit,
)


def _captured(pieces: list[bytes], limit: int) -> Captured:
    bounded = Bounded(limit)
    for piece in pieces:
        bounded.add(piece)
    return bounded.captured()


@given(pieces=st.lists(st.binary(max_size=200)), limit=st.integers(0, 300))
def test_an_output_is_kept_whole_or_by_its_two_ends(pieces: list[bytes], limit: int) -> None:
    whole = b"".join(pieces)

    kept = _captured(pieces, limit)

    assert kept.size == len(whole)
    if len(whole) <= limit:
        assert (kept.head, kept.tail, kept.dropped) == (whole, b"", 0)
    else:
        assert len(kept.head) + len(kept.tail) == limit
        assert whole.startswith(kept.head)
        assert whole.endswith(kept.tail)
        assert kept.dropped == len(whole) - limit


def test_the_ends_of_a_long_output_take_no_more_memory_than_asked_for() -> None:
    bounded = Bounded(1000)
    for _ in range(10_000):
        bounded.add(b"x" * 1000)
    assert len(bounded._head) + len(bounded._tail) < 10_000


@given(
    text=st.text(st.characters(min_codepoint=0x20, codec="utf-8"), min_size=1),
    limit=st.integers(0, 50),
)
def test_no_character_is_cut_in_two(text: str, limit: int) -> None:
    data = text.encode()

    shown = _captured([data], limit).public()

    assert shown["bytes"] == len(data)
    head, mark, tail = shown["text"].partition(f"\n[… {shown['dropped']:,} bytes left out …]\n")
    assert bool(mark) == (len(data) > limit)
    assert text.startswith(head)
    assert text.endswith(tail)
    assert len(head.encode()) + len(tail.encode()) + shown["dropped"] == len(data)
    assert shown["dropped"] <= max(0, len(data) - limit) + 6


@given(data=st.binary(), limit=st.integers(0, 50))
def test_whatever_bytes_there_are_it_is_json(data: bytes, limit: int) -> None:
    shown = _captured([data], limit).public()

    assert json.loads(json.dumps(shown)) == shown
    if "base64" in shown:
        kept = base64.b64decode(shown["base64"])
        assert data.startswith(kept)
        assert len(kept) + shown["dropped"] == len(data) == shown["bytes"]


@pytest.mark.parametrize(
    ("code", "signal", "timed_out", "exit_code"),
    [(0, None, False, 0), (7, None, False, 7), (None, 9, False, 137), (None, 15, True, 124)],
)
def test_the_exit_code_is_what_a_shell_would_give(
    code: int | None, signal: int | None, timed_out: bool, exit_code: int
) -> None:
    nothing = Captured(b"", b"", 0)
    done = Execution(
        Ended("runner-1", ProcessExit(code, signal), 0.12345, timed_out), nothing, nothing
    )

    assert done.ended.exit_code == exit_code
    assert done.public() == {
        "runner": "runner-1",
        "exit_code": exit_code,
        "signal": signal,
        "timed_out": timed_out,
        "duration": 0.123,
        "stdout": {"text": "", "bytes": 0, "dropped": 0},
        "stderr": {"text": "", "bytes": 0, "dropped": 0},
    }


def _put_together(objects: list[dict[str, str]]) -> bytes:
    return b"".join(
        piece["text"].encode() if "text" in piece else base64.b64decode(piece["base64"])
        for piece in objects
    )


@given(st.text(), st.data())
def test_a_text_comes_as_text_however_it_is_cut(text: str, data: st.DataObject) -> None:
    raw = text.encode("utf-8", "replace")
    encoder = PieceEncoder("stdout")
    objects = []
    for piece in _cut(raw, data):
        objects += encoder.encode(piece)
    objects += encoder.finish()
    assert all(piece.keys() == {"stream", "text"} for piece in objects)
    assert "".join(piece["text"] for piece in objects) == raw.decode()


@given(st.binary(), st.data())
def test_bytes_come_whole_however_they_are_cut(raw: bytes, data: st.DataObject) -> None:
    encoder = PieceEncoder("stderr")
    objects, taken = [], 0
    for piece in _cut(raw, data):
        objects += encoder.encode(piece)
        taken += len(piece)
        assert taken - len(_put_together(objects)) <= 3, "only a character's beginning waits"
    objects += encoder.finish()
    assert _put_together(objects) == raw
    binary = ["base64" in piece for piece in objects]
    assert binary == sorted(binary), "no text after the first base64"


def _cut(raw: bytes, data: st.DataObject) -> list[bytes]:
    at = data.draw(st.lists(st.integers(0, len(raw)), max_size=5).map(sorted))
    return [raw[a:b] for a, b in zip([0, *at], [*at, len(raw)], strict=True)]
