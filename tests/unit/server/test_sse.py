"""Events as browsers read them."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from gra_provisioner.server import sse
from tests.support.sse import EventReader


@given(st.text(), st.sampled_from(["output", "exit"]), st.none() | st.integers(0, 10**6))
def test_whatever_an_events_text_is_it_is_read_back(text: str, name: str, id: int | None) -> None:
    text = text.encode("utf-8", "replace").decode()
    reader = EventReader()
    (event,) = reader.feed(sse.event(name, {"text": text}, id))
    assert (event.name, json.loads(event.data)) == (name, {"text": text})
    assert event.id == ("" if id is None else str(id))


def test_comments_are_no_events() -> None:
    reader = EventReader()
    assert reader.feed(sse.comment("hello") + sse.KEEP_ALIVE) == []
    assert reader.comments == ["hello", "keep-alive"]
