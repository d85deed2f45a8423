"""A peer that breaks the rules is refused by name, and the session goes on with the next link."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gra_provisioner.agent import wire
from gra_provisioner.agent.session import CONTROL, Session
from gra_provisioner.agent.stream import Stream, StreamHandler


class Sink:
    """Keeps what a stream gets, and is done with it at once if ``eager``."""

    def __init__(self, stream: Stream, eager: bool = True) -> None:
        self.stream = stream
        self.eager = eager
        self.data = b""
        self.ended = ""

    def on_data(self, data: memoryview) -> None:
        self.data += data
        if self.eager:
            self.stream.consumed(len(data))

    def on_finish(self) -> None:
        self.ended = "finished"

    def on_reset(self, reason: str, message: str) -> None:
        self.ended = reason

    def on_drain(self) -> None:
        """Nothing is held back here."""


def _session(*, agent: bool, window: int = 1000) -> Session:
    def accept(stream: Stream) -> StreamHandler:
        return Sink(stream)

    return Session("s", Sink, lambda: None, accept if agent else None, window)


def _hello(**changes: Any) -> dict[str, Any]:
    hello = {"version": 1, "session": "s", "epoch": 1, "window": 1000, "highest": 1}
    return {**hello, "streams": {"1": 0}, **changes}


def _sent(session: Session) -> bytes:
    return b"".join(bytes(piece) for piece in session.pull(1 << 20))


def _assert_usable(session: Session) -> None:
    """The next link, with a peer that behaves, carries bytes both ways."""
    session.link_down()
    control = session.streams[CONTROL]
    has = {str(id): stream.out.start for id, stream in session.streams.items()}
    session.link_up(_hello(streams=has, highest=1 << 20))
    _sent(session)
    before = control.handler.data  # type: ignore[attr-defined]
    session.receive(wire.pack(wire.DATA, CONTROL, control._received, b"hello"))
    assert control.handler.data == before + b"hello"  # type: ignore[attr-defined]
    control.write(b"answer")
    assert b"answer" in _sent(session)


@pytest.mark.parametrize("agent", [True, False], ids=["agent", "client"])
@pytest.mark.parametrize(
    "changes",
    [
        {"streams": None},
        {"streams": []},
        {"streams": {"x": 0}},
        {"streams": {"1": "x"}},
        {"streams": {"1": None}},
        {"streams": {"1": float("inf")}},
        {"streams": {"1": float("nan")}},
        {"streams": {"1": -1}},
        {"streams": {"1": 1}},
        {"streams": {"1": 2**70}},
        {"streams": {"1": 0, "-1": 0}},
        {"streams": {"1": 0, "0": 0}},
        {"streams": {"1": 0, "4294967296": 0}},
        {"highest": "many"},
        {"highest": None},
        {"highest": float("inf")},
        {"window": 0},
        {"window": -5},
        {"window": 2**40},
        {"window": "big"},
    ],
    ids=repr,
)
def test_an_impossible_hello_is_refused(agent: bool, changes: dict[str, Any]) -> None:
    session = _session(agent=agent)

    with pytest.raises(wire.WireError):
        session.link_up(_hello(**changes))
    _assert_usable(session)


@pytest.mark.parametrize("field", ["streams", "highest", "window"])
@pytest.mark.parametrize("agent", [True, False], ids=["agent", "client"])
def test_a_hello_without_a_field_is_refused(field: str, agent: bool) -> None:
    session = _session(agent=agent)
    hello = _hello()
    del hello[field]

    with pytest.raises(wire.WireError, match=field):
        session.link_up(hello)
    _assert_usable(session)


def test_an_agent_that_forgot_what_it_has_acknowledged_is_refused() -> None:
    session = _session(agent=False)
    session.link_up(_hello())
    stream = session.open({}, Sink)
    stream.write(b"x" * 100)
    _sent(session)
    session.receive(wire.pack(wire.ACK, stream.id, 50))
    session.link_down()

    with pytest.raises(wire.WireError, match=f"stream {stream.id}"):
        session.link_up(_hello(highest=1))
    with pytest.raises(wire.WireError, match="stream 1"):
        session.link_up(_hello(highest=0, streams={}))
    _assert_usable(session)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.sampled_from(["streams", "highest", "window"]),
        st.one_of(
            json_values,
            st.dictionaries(st.integers(-3, 2**33).map(str), st.integers(), max_size=5),
        ),
    ),
    st.booleans(),
)
def test_any_hello_is_taken_or_refused(changes: dict[str, Any], agent: bool) -> None:
    session = _session(agent=agent)
    try:
        session.link_up(json.loads(json.dumps(_hello(**changes))))
    except wire.WireError:
        _assert_usable(session)
        return
    _sent(session)


def _linked(*, agent: bool) -> tuple[Session, Stream]:
    """A session with a link, and a stream 2 on which 100 bytes were sent."""
    session = _session(agent=agent)
    session.link_up(_hello())
    if agent:
        session.receive(wire.pack_json(wire.OPEN, {}, 2))
    else:
        session.open({}, Sink)
    stream = session.streams[2]
    stream.write(b"x" * 100)
    _sent(session)
    return session, stream


@pytest.mark.parametrize("agent", [True, False], ids=["agent", "client"])
@pytest.mark.parametrize(
    ("frame", "word"),
    [
        (wire.pack(wire.ACK, 2, 101), "acknowledges"),
        (wire.pack(wire.ACK, 2, 2**64 - 1), "acknowledges"),
        (wire.pack(wire.ACK, 2, 50) + wire.pack(wire.ACK, 2, 49), "acknowledges"),
        (wire.pack(wire.DATA, 2, 1, b"late"), "data at 1"),
        (wire.pack(wire.DATA, 2, 2**64 - 100, b"late"), "data at"),
        (wire.pack(wire.CLOSE, 2, 1), "data is missing"),
        (wire.pack(wire.CLOSE, 2, 0) + wire.pack(wire.DATA, 2, 0, b"more"), "stream 2"),
        (wire.pack(wire.CLOSE, 2, 0) + wire.pack(wire.DATA, 2, 1, b"more"), "stream 2"),
        (wire.pack(wire.RESET, 2, 0, b"{"), "JSON"),
        (wire.pack(wire.RESET, 2, 0, b"[]"), "JSON"),
        (wire.pack(wire.OPEN, 3, 0, b"{"), "JSON"),
        (wire.pack_json(wire.HELLO, {}), "kind 1"),
        (wire.pack_json(wire.REJECT, {}), "kind 10"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_impossible_frame_is_refused(agent: bool, frame: bytes, word: str) -> None:
    session, _ = _linked(agent=agent)

    with pytest.raises(wire.WireError, match=word):
        session.receive(frame)
    _assert_usable(session)


def test_data_beyond_the_window_is_refused() -> None:
    session = _session(agent=True)
    session.link_up(_hello())
    session._accept = lambda stream: Sink(stream, eager=False)
    session.receive(wire.pack_json(wire.OPEN, {}, 2))
    session.receive(wire.pack(wire.DATA, 2, 0, bytes(1000)))

    with pytest.raises(wire.WireError, match="window"):
        session.receive(wire.pack(wire.DATA, 2, 1000, b"x"))
    _assert_usable(session)


def test_data_that_comes_again_is_taken_once() -> None:
    session, stream = _linked(agent=True)
    session.receive(wire.pack(wire.DATA, 2, 0, b"hello"))
    session.receive(wire.pack(wire.DATA, 2, 0, b"hello") + wire.pack(wire.DATA, 2, 3, b"lo world"))

    assert stream.handler.data == b"hello world"  # type: ignore[attr-defined]


def test_an_agent_opens_no_streams() -> None:
    session, _ = _linked(agent=False)

    with pytest.raises(wire.WireError, match="opened"):
        session.receive(wire.pack_json(wire.OPEN, {}, 3))
    _assert_usable(session)


@pytest.mark.parametrize("id", [0, 2])
def test_a_stream_is_not_opened_again(id: int) -> None:
    session, stream = _linked(agent=True)
    stream.reset("Tested")

    with pytest.raises(wire.WireError, match="before"):
        session.receive(wire.pack_json(wire.OPEN, {}, id))
    _assert_usable(session)


def test_an_open_that_comes_twice_is_taken_once() -> None:
    session, stream = _linked(agent=True)
    session.receive(wire.pack_json(wire.OPEN, {}, 2))

    assert session.streams[2] is stream


@pytest.mark.parametrize("kind", [wire.DATA, wire.ACK, wire.CLOSE, wire.RESET])
def test_frames_for_a_stream_that_is_gone_are_passed_over(kind: int) -> None:
    session, stream = _linked(agent=True)
    stream.reset("Tested")
    session.receive(wire.pack(kind, 2, 5, b"{}") + wire.pack(kind, 77, 5, b"{}"))

    _assert_usable(session)


def test_nothing_is_opened_after_goodbye() -> None:
    opened: list[Stream] = []

    def accept(stream: Stream) -> StreamHandler:
        opened.append(stream)
        return Sink(stream)

    session = Session("s", Sink, lambda: None, accept)
    session.on_bye = lambda: session.end("ClientLeft", "it said goodbye")
    session.link_up(_hello())
    session.receive(wire.pack(wire.BYE) + wire.pack_json(wire.OPEN, {}, 2))

    assert opened == []
    assert session.streams == {}


def test_who_asks_and_never_reads_the_answers_is_not_read_further() -> None:
    session = _session(agent=True)
    session.link_up(_hello())
    assert not session.congested
    session.receive(wire.pack(wire.PING, 0, 7) * 2000)

    assert session.congested
    assert _sent(session).count(wire.pack(wire.PONG, 0, 7)) == 2000
    assert not session.congested


def test_a_stream_without_backlog_asks_for_a_drain_and_gets_it_with_the_next_one() -> None:
    session, stream = _linked(agent=True)
    drained: list[int] = []
    stream.handler.on_drain = lambda: drained.append(1)  # type: ignore[method-assign]
    session.receive(wire.pack(wire.ACK, 2, 50))
    assert drained == []
    stream.hold()
    session.receive(wire.pack(wire.ACK, 2, 100))

    assert drained == [1]
