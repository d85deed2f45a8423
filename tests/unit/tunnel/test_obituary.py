"""What a kernel's clients read of its death, in Jupyter's own messages."""

from __future__ import annotations

from typing import Any

import pytest
from jupyter_client.session import Session

from gra_provisioner.agent import zmtp
from gra_provisioner.tunnel.obituary import (
    Obituary,
    Requests,
    iopub_messages,
    kernel_info_message,
    notice_message,
    shell_messages,
)

KERNEL = Session(key=b"key", signature_scheme="hmac-sha256")
RAN = {"msg_id": "ran", "msg_type": "execute_request", "session": "s"}
WAITED = {"msg_id": "waited", "msg_type": "execute_request", "session": "s"}


def _messages(data: bytes) -> list[dict[str, Any]]:
    """As a client reads them, signatures checked."""
    client = Session(key=b"key", signature_scheme="hmac-sha256")
    splitter = zmtp.Splitter()
    splitter.feed(zmtp.GREETING)
    found = splitter.feed(data)
    assert splitter.at_boundary
    return [client.deserialize(client.feed_identities(each.frames)[1]) for each in found]


def _request(header: dict[str, Any], kind: str = "execute_request") -> list[bytes]:
    message = KERNEL.msg(kind, header={**KERNEL.msg_header(kind), **header, "msg_type": kind})
    return [bytes(frame) for frame in KERNEL.serialize(message)]


def _reply(parent: dict[str, Any], kind: str = "execute_reply", **content: Any) -> list[bytes]:
    message = KERNEL.msg(kind, content=content, parent={"header": parent})
    return [bytes(frame) for frame in KERNEL.serialize(message)]


def test_the_cell_that_ran_gets_the_reason_an_error_and_idle() -> None:
    obituary = Obituary("It died.", "Do this.", ("last line",), RAN)
    stream, error, status = _messages(iopub_messages(obituary, KERNEL))

    assert stream["content"]["name"] == "stderr"
    for words in ("[gra] It died.", "last line", "Do this."):
        assert words in stream["content"]["text"]
    assert (error["content"]["ename"], error["content"]["evalue"]) == ("KernelDied", "It died.")
    assert status["content"] == {"execution_state": "idle"}
    assert {each["parent_header"]["msg_id"] for each in (stream, error, status)} == {"ran"}


def test_cells_that_waited_get_their_idle() -> None:
    obituary = Obituary("It died.", running=RAN, aborted=(WAITED,))
    *_, last = _messages(iopub_messages(obituary, KERNEL))

    assert last["content"] == {"execution_state": "idle"}
    assert last["parent_header"]["msg_id"] == "waited"


def test_where_nothing_ran_nothing_is_said() -> None:
    assert iopub_messages(Obituary("It died."), KERNEL) == b""


def test_what_ran_is_told_by_the_kernel_or_else_was_the_oldest() -> None:
    obituary = Obituary("It died.")

    assert obituary.with_pending([]).running is None
    assert obituary.with_pending([RAN, WAITED]).running == RAN
    assert obituary.with_pending([RAN, WAITED]).aborted == (WAITED,)
    known = Obituary("It died.", running=WAITED).with_pending([RAN, WAITED])
    assert (known.running, known.aborted) == (WAITED, (RAN,))


def test_replies_are_an_error_for_what_ran_and_aborts_for_the_rest() -> None:
    requests = Requests()
    requests.on_request(_request(RAN), KERNEL)
    requests.on_request(_request(WAITED), KERNEL)
    error, aborted = _messages(shell_messages(Obituary("It died.", running=RAN), requests, KERNEL))

    assert error["content"]["status"] == "error"
    assert error["content"]["evalue"] == "It died."
    assert error["parent_header"]["msg_id"] == "ran"
    assert aborted["content"]["status"] == "aborted"
    assert aborted["parent_header"]["msg_id"] == "waited"


def test_a_request_that_has_its_reply_is_forgotten() -> None:
    requests = Requests()
    requests.on_request(_request(RAN), KERNEL)
    requests.on_request(_request(WAITED), KERNEL)
    requests.on_reply(_reply(RAN), KERNEL)

    assert list(requests.pending) == ["waited"]


def test_a_shutdown_is_noticed_and_other_requests_are_not_kept() -> None:
    requests = Requests()
    requests.on_request(_request({"msg_id": "i"}, "kernel_info_request"), KERNEL)
    assert not requests.shutdown_requested
    requests.on_request(_request({"msg_id": "d"}, "shutdown_request"), KERNEL)

    assert requests.shutdown_requested
    assert requests.pending == {}


def test_what_the_kernel_says_of_itself_is_kept() -> None:
    requests = Requests()
    requests.on_reply(_reply(RAN, "kernel_info_reply", implementation="ipython"), KERNEL)

    assert requests.kernel_info["implementation"] == "ipython"


@pytest.mark.parametrize(
    "frames",
    [
        [],
        [b"<IDS|MSG>"],
        [b"no", b"delimiter"],
        [b"<IDS|MSG>", b"", b"{", b"{", b"{", b"{"],
        [b"<IDS|MSG>", b"", b"[]", b"[]", b"[]", b"[]"],
        [b"<IDS|MSG>", b"", b"\xff", b"\xff", b"\xff", b"\xff"],
    ],
    ids=range(6),
)
def test_what_is_no_message_changes_nothing(frames: list[bytes]) -> None:
    requests = Requests()
    requests.on_request(frames, KERNEL)
    requests.on_reply(frames, KERNEL)

    assert requests.pending == {}
    assert not requests.shutdown_requested


def test_an_agents_report_becomes_an_obituary() -> None:
    report = {"message": "Killed.", "hint": "H", "stderr": ["a", 5], "running": RAN, "code": None}

    assert Obituary.from_report(report) == Obituary("Killed.", "H", ("a", "5"), RAN)
    assert Obituary.from_report({}).message


def test_a_notice_is_a_line_in_the_cells_output() -> None:
    (message,) = _messages(notice_message("Output was lost.", RAN, KERNEL))

    assert message["content"] == {"name": "stderr", "text": "\n[gra] Output was lost.\n"}
    assert message["parent_header"]["msg_id"] == "ran"


def test_messages_are_signed_with_the_kernels_key() -> None:
    obituary = Obituary("It died.", running=RAN)
    stranger = Session(key=b"another", signature_scheme="hmac-sha256")
    splitter = zmtp.Splitter()
    splitter.feed(zmtp.GREETING)

    for message in splitter.feed(iopub_messages(obituary, KERNEL)):
        _, parts = stranger.feed_identities(message.frames)
        with pytest.raises(ValueError, match="Invalid Signature"):
            stranger.deserialize(parts)


def test_each_message_has_the_topic_and_the_parts_of_the_wire_protocol() -> None:
    splitter = zmtp.Splitter()
    splitter.feed(zmtp.GREETING)
    found = splitter.feed(iopub_messages(Obituary("It died.", running=RAN), KERNEL))

    topics = [b"stream.stderr", b"error", b"kernel.gra.status"]
    assert [message.frames[0] for message in found] == topics
    assert all(message.frames[1] == b"<IDS|MSG>" for message in found)
    assert {len(message.frames) for message in found} == {7}


def test_a_reply_carries_the_whole_header_of_its_request() -> None:
    requests = Requests()
    requests.on_request(_request({**RAN, "username": "somebody"}), KERNEL)
    (header,) = requests.pending.values()
    (reply,) = _messages(shell_messages(Obituary("It died."), requests, KERNEL))

    assert reply["parent_header"]["username"] == "somebody"
    assert set(reply["parent_header"]) == set(header)


def test_without_requests_nothing_is_replied() -> None:
    assert shell_messages(Obituary("It died.", running=RAN), Requests(), KERNEL) == b""


def test_what_else_is_known_of_a_death_stays_when_the_pending_are_added() -> None:
    obituary = Obituary("It died.", "Do this.", ("last line",))
    known = obituary.with_pending([RAN])

    assert (known.message, known.hint, known.stderr) == ("It died.", "Do this.", ("last line",))
    assert known.aborted == ()


def test_a_dead_kernels_information_is_given_to_whoever_asks() -> None:
    request = _request({"msg_id": "asked"}, "kernel_info_request")
    (reply,) = _messages(kernel_info_message(request, {"implementation": "ipython"}, KERNEL))

    assert reply["msg_type"] == "kernel_info_reply"
    assert reply["content"] == {"implementation": "ipython"}
    assert reply["parent_header"]["msg_id"] == "asked"


def test_other_requests_are_not_answered_with_the_kernels_information() -> None:
    assert kernel_info_message(_request(RAN), {"implementation": "ipython"}, KERNEL) == b""
    assert kernel_info_message([], {"implementation": "ipython"}, KERNEL) == b""
