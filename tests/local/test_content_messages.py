"""Messages beyond plain output: input, comms with buffers, displays that change."""

from __future__ import annotations

import queue
from typing import Any

import pytest

from tests.support.cells import TIMEOUT, Message, finish
from tests.support.kernels import StartedKernel
from tests.support.waiting import WaitTimeout

# A comm target that answers each message with its buffers reversed.
_ECHO_TARGET = """
def opened(comm, message):
    def answer(message):
        buffers = [bytes(buffer)[::-1] for buffer in message["buffers"]]
        comm.send({"got": message["content"]["data"]}, buffers=buffers)
    comm.on_msg(answer)
get_ipython().kernel.comm_manager.register_target("echo", opened)
"""

_SAME = pytest.mark.same_with_pods("a message as any other")


def _stdin_request(kernel: StartedKernel) -> dict[str, Any]:
    try:
        request = kernel.client.get_stdin_msg(timeout=TIMEOUT)
    except queue.Empty:
        raise WaitTimeout("an input_request on the stdin channel", TIMEOUT) from None
    assert request["header"]["msg_type"] == "input_request"
    content: dict[str, Any] = request["content"]
    return content


def _comm_message(kernel: StartedKernel) -> Message:
    while True:
        try:
            message: Message = kernel.client.get_iopub_msg(timeout=TIMEOUT)
        except queue.Empty:
            raise WaitTimeout("a comm_msg on iopub", TIMEOUT) from None
        if message["header"]["msg_type"] == "comm_msg":
            return message


def _send_comm(
    kernel: StartedKernel, kind: str, content: dict[str, Any], buffers: list[bytes] | None = None
) -> None:
    socket = kernel.client.shell_channel.socket
    kernel.client.session.send(socket, kind, content, buffers=buffers)


@pytest.mark.parametrize(
    ("call", "is_password"),
    [
        pytest.param("input", False, id="input"),
        pytest.param("__import__('getpass').getpass", True, id="getpass", marks=_SAME),
    ],
)
def test_input_asks_the_client(kernel: StartedKernel, call: str, is_password: bool) -> None:
    msg_id = kernel.client.execute(f"print({call}('who? '))", allow_stdin=True)

    assert _stdin_request(kernel) == {"prompt": "who? ", "password": is_password}
    kernel.client.input("wörld")

    assert "wörld\n" in finish(kernel.client, msg_id).text


@_SAME
def test_input_can_be_asked_for_twice_in_one_cell(kernel: StartedKernel) -> None:
    msg_id = kernel.client.execute("print(input('1') + input('2'))", allow_stdin=True)

    for answer in ("a", "b"):
        _stdin_request(kernel)
        kernel.client.input(answer)

    assert "ab\n" in finish(kernel.client, msg_id).text


def test_comms_carry_binary_buffers_both_ways(kernel: StartedKernel) -> None:
    kernel.run(_ECHO_TARGET)
    # Empty, every byte value, bytes that look like frame lengths, and more than one read takes.
    buffers = [b"", bytes(range(256)), b"\xff" * 9, bytes(range(251)) * 20_000]
    comm = {"comm_id": "0123456789abcdef"}

    _send_comm(kernel, "comm_open", {**comm, "target_name": "echo", "data": {}})
    _send_comm(kernel, "comm_msg", {**comm, "data": {"n": 1}}, buffers)

    message = _comm_message(kernel)
    assert message["content"] == {**comm, "data": {"got": {"n": 1}}}
    assert [bytes(buffer) for buffer in message["buffers"]] == [b[::-1] for b in buffers]


@pytest.mark.same_with_pods("messages as any others")
def test_a_comm_answers_many_messages_in_order(kernel: StartedKernel) -> None:
    kernel.run(_ECHO_TARGET)
    comm = {"comm_id": "fedcba9876543210"}
    _send_comm(kernel, "comm_open", {**comm, "target_name": "echo", "data": {}})

    for number in range(200):
        _send_comm(kernel, "comm_msg", {**comm, "data": number}, [number.to_bytes(2, "big")])

    for number in range(200):
        message = _comm_message(kernel)
        assert message["content"]["data"] == {"got": number}
        assert bytes(message["buffers"][0]) == number.to_bytes(2, "little")


@_SAME
def test_a_display_is_updated_in_place(kernel: StartedKernel) -> None:
    kernel.run("from IPython.display import display")

    first = kernel.run("handle = display('old', display_id='shown')")
    second = kernel.run("handle.update('new')")

    (shown,) = first.of_type("display_data")
    (changed,) = second.of_type("update_display_data")
    assert shown["content"]["transient"] == changed["content"]["transient"]
    assert shown["content"]["data"]["text/plain"] == "'old'"
    assert changed["content"]["data"]["text/plain"] == "'new'"


@_SAME
def test_output_is_cleared_between_two_prints(kernel: StartedKernel) -> None:
    cell = kernel.run("""
from IPython.display import clear_output
print(1, flush=True)
clear_output(wait=True)
print(2, flush=True)
""")

    kinds = [kind for kind in cell.kinds() if kind in {"stream", "clear_output"}]
    assert kinds == ["stream", "clear_output", "stream"]


@_SAME
def test_stdout_and_stderr_stay_apart(kernel: StartedKernel) -> None:
    cell = kernel.run("import sys; print('out'); print('err', file=sys.stderr)")

    assert cell.text == "out\n"
    assert cell.stream("stderr") == "err\n"


@pytest.mark.same_with_pods("messages as any others")
def test_text_of_every_script_arrives_as_it_was(kernel: StartedKernel) -> None:
    text = "é 漢字 🎉 \u202e \x00 \x1b[31m"

    assert kernel.run(f"print({text!r}, end='')").text == text
