"""Busy or idle, from what a kernel says on iopub."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gra_provisioner.agent.iopub import Activity


def _message(
    parent: str,
    state: str | None = None,
    msg_type: str = "status",
    parent_type: str = "execute_request",
    identities: int = 1,
) -> list[bytes]:
    content: dict[str, Any] = {} if state is None else {"execution_state": state}
    parts: list[dict[str, Any]] = [
        {"msg_type": msg_type},
        {"msg_id": parent, "msg_type": parent_type},
        {},
        content,
    ]
    topics = [b"kernel.0.status"] * identities
    return [*topics, b"<IDS|MSG>", b"signature", *(json.dumps(part).encode() for part in parts)]


def test_a_kernel_is_busy_from_busy_to_idle_of_one_request() -> None:
    activity = Activity()
    assert not activity.busy

    assert activity.on_message(_message("a", "busy"))
    assert activity.busy
    assert activity.running == {"msg_id": "a", "msg_type": "execute_request"}
    assert activity.on_message(_message("a", "idle"))
    assert not activity.busy
    assert activity.running is None


def test_requests_that_interleave_each_count() -> None:
    activity = Activity()
    for parent, state, busy in [
        ("a", "busy", True),
        ("b", "busy", True),
        ("a", "idle", True),
        ("c", "busy", True),
        ("b", "idle", True),
        ("c", "idle", False),
    ]:
        activity.on_message(_message(parent, state))
        assert activity.busy is busy


def test_what_runs_is_the_cell_and_not_the_question_in_between() -> None:
    activity = Activity()
    activity.on_message(_message("cell", "busy"))
    activity.on_message(_message("info", "busy", parent_type="kernel_info_request"))

    assert activity.running is not None
    assert activity.running["msg_id"] == "cell"


def test_a_kernel_that_starts_is_not_busy() -> None:
    activity = Activity()

    assert activity.on_message(_message("a", "starting"))
    assert not activity.busy


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["busy", "idle"])), max_size=40))
def test_busy_is_whether_any_request_is_open(events: list[tuple[int, str]]) -> None:
    activity = Activity()
    open_requests: set[int] = set()
    for parent, state in events:
        activity.on_message(_message(str(parent), state))
        if state == "busy":
            open_requests.add(parent)
        else:
            open_requests.discard(parent)
        assert activity.busy == bool(open_requests)
        assert (activity.running is not None) == bool(open_requests)


def test_a_kernel_that_is_never_idle_fills_no_memory() -> None:
    activity = Activity()
    for number in range(5000):
        activity.on_message(_message(str(number), "busy"))

    assert len(activity._parents) <= 1000
    assert activity.running is not None
    assert activity.running["msg_id"] == "4999"


@pytest.mark.parametrize(
    "frames",
    [
        [],
        [b""],
        [b"<IDS|MSG>"],
        [b"<IDS|MSG>", b"", b"{", b"{}", b"{}", b"{}"],
        [b"<IDS|MSG>", b"", b"[]", b"{}", b"{}", b"{}"],
        [b"<IDS|MSG>", b"", b"5", b"{}", b"{}", b"{}"],
        [b"<IDS|MSG>", b"", b"\xff", b"{}", b"{}", b"{}"],
        [b"<IDS|MSG>", b"", b'{"msg_type": "status"}', b"[]", b"{}", b"{}"],
        [b"<IDS|MSG>", b"", b'{"msg_type": "status"}', b"{}", b"{}"],
        [b"<IDS|MSG>", b"", b'{"msg_type": "status"}', b"{}", b"{}", b"[]"],
        [b"<IDS|MSG>", b"", b"[" * 100_000, b"{}", b"{}", b"{}"],
        [b"<IDS|MSG>", b"", b'{"msg_type": "status"}', b'{"msg_id": []}', b"{}", b"{}"],
        _message("a", msg_type="stream"),
    ],
    ids=range(13),
)
def test_anything_else_changes_nothing(frames: list[bytes]) -> None:
    activity = Activity()
    activity.on_message(frames)

    assert not activity.busy


@given(st.lists(st.one_of(st.binary(max_size=20), st.just(b"<IDS|MSG>")), max_size=9))
def test_any_frames_are_taken(frames: list[bytes]) -> None:
    activity = Activity()
    activity.on_message(frames)

    assert not activity.busy


def test_a_topic_of_several_frames_is_passed_over() -> None:
    activity = Activity()
    activity.on_message(_message("a", "busy", identities=3))

    assert activity.busy
