"""The agent's own messages are such as jupyter_client takes for the kernel's."""

from __future__ import annotations

from typing import Any

import pytest
from jupyter_client.session import Session

from gra_provisioner.agent.messages import dropped_text, parent_header, stream_message

PARENT = {"msg_id": "cell", "session": "the-kernel", "msg_type": "execute_request"}


def _read(frames: list[bytes], key: bytes) -> dict[str, Any]:
    session = Session(key=key, signature_scheme="hmac-sha256")
    _, rest = session.feed_identities(frames)
    message: dict[str, Any] = session.deserialize(rest)
    return message


@pytest.mark.parametrize("key", ["", "secret"])
def test_a_client_takes_the_message_into_the_cells_output(key: str) -> None:
    connection = {"key": key, "signature_scheme": "hmac-sha256"}
    frames = stream_message(connection, PARENT, "hello\n")

    message = _read(frames, key.encode())
    assert frames[0] == b"stream.stderr"
    assert message["msg_type"] == "stream"
    assert message["content"] == {"name": "stderr", "text": "hello\n"}
    assert message["parent_header"]["msg_id"] == "cell"
    assert message["header"]["session"] == "the-kernel"


def test_other_digests_are_used_as_the_kernel_was_told() -> None:
    connection = {"key": "k", "signature_scheme": "hmac-sha512"}
    frames = stream_message(connection, None, "hello")

    session = Session(key=b"k", signature_scheme="hmac-sha512")
    assert session.deserialize(session.feed_identities(frames)[1])["content"]["text"] == "hello"


def test_a_wrong_key_is_noticed() -> None:
    frames = stream_message({"key": "right", "signature_scheme": "hmac-sha256"}, PARENT, "x")

    with pytest.raises(ValueError, match="Signature"):
        _read(frames, b"wrong")


def test_two_messages_have_two_ids() -> None:
    first, second = (stream_message({}, PARENT, "x") for _ in range(2))

    assert _read(first, b"")["msg_id"] != _read(second, b"")["msg_id"]


@pytest.mark.parametrize(
    ("count", "size", "why", "text"),
    [
        (1, 500_000, "", "[gra] 1 message was dropped here (0.5 MB): the runner's output buffer"),
        (12345, 2e9, "", "[gra] 12,345 messages were dropped here (2,000.0 MB)"),
        (2, 100, "No space left on device", "the disk for it is full (No space left on device)"),
    ],
)
def test_the_user_reads_how_much_was_dropped_and_why(
    count: int, size: int, why: str, text: str
) -> None:
    assert text in dropped_text(count, int(size), why)


def test_the_parent_of_a_message_is_found() -> None:
    assert parent_header(stream_message({}, PARENT, "x")) == PARENT


@pytest.mark.parametrize(
    "frames",
    [
        [],
        [b"<IDS|MSG>", b"", b"{}"],
        [b"<IDS|MSG>", b"", b"{}", b"{"],
        [b"<IDS|MSG>", b"", b"{}", b"[]"],
        [b"<IDS|MSG>", b"", b"{}", b"{}"],
    ],
    ids=range(5),
)
def test_a_message_without_a_parent_has_none(frames: list[bytes]) -> None:
    assert parent_header(frames) is None
