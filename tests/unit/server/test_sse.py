"""Events as browsers read them."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from gra_provisioner.server import sse
from gra_provisioner.server.calls import encoded
from tests.support.sse import EventReader

# Any code point, halves of surrogate pairs too, of which a path may have some.
_TEXT = st.text(st.characters(exclude_categories=()))


@given(_TEXT, st.sampled_from(["output", "exit"]), st.none() | st.integers(0, 10**6))
def test_whatever_an_events_text_is_it_is_read_back(text: str, name: str, id: int | None) -> None:
    expected = text.encode("utf-8", "replace").decode()
    reader = EventReader()
    (event,) = reader.feed(sse.event(name, {"text": text}, id))
    assert (event.name, json.loads(event.data)) == (name, {"text": expected})
    assert event.id == ("" if id is None else str(id))


@given(_TEXT)
def test_whatever_a_documents_text_is_it_is_read_back(text: str) -> None:
    expected = text.encode("utf-8", "replace").decode()
    assert json.loads(encoded({"text": text})) == {"text": expected}


def test_comments_are_no_events() -> None:
    reader = EventReader()
    assert reader.feed(sse.comment("hello") + sse.KEEP_ALIVE) == []
    assert reader.comments == ["hello", "keep-alive"]
