"""The ports of a kernel: nobody else gets them, whoever serves them in turn."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

import pytest

from gra_provisioner.agent.ports import HeldPorts, says_taken

_NAMES = ("shell", "iopub")


@pytest.fixture
def ports() -> Iterator[HeldPorts]:
    ports = HeldPorts(_NAMES)
    yield ports
    ports.close()


def _listener(port: int, *, reuse: bool) -> socket.socket:
    sock = socket.socket()
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(reuse))
        sock.bind(("127.0.0.1", port))
        sock.listen()
    except OSError:
        sock.close()
        raise
    return sock


def test_each_name_has_a_port_of_its_own(ports: HeldPorts) -> None:
    assert tuple(ports.numbers) == _NAMES
    assert len(set(ports.numbers.values())) == len(_NAMES)


def test_one_kernel_after_the_other_listens_on_a_held_port(ports: HeldPorts) -> None:
    for _ in range(3):
        with (
            _listener(ports.numbers["shell"], reuse=True) as listener,
            socket.create_connection(listener.getsockname()),
        ):
            listener.accept()[0].close()


def test_a_program_without_reuse_is_refused_a_held_port(ports: HeldPorts) -> None:
    with pytest.raises(OSError, match="in use") as raised:
        _listener(ports.numbers["shell"], reuse=False)
    assert raised.value.errno == errno.EADDRINUSE


def test_nobody_listens_on_a_held_port_before_the_kernel(ports: HeldPorts) -> None:
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", ports.numbers["iopub"]))


@pytest.mark.parametrize("closed", [True, False], ids=["closed", "not held"])
def test_ports_that_are_not_held_are_free_for_all(closed: bool) -> None:
    ports = HeldPorts(_NAMES, held=closed)
    if closed:
        ports.close()
    for port in ports.numbers.values():
        _listener(port, reuse=False).close()


@pytest.mark.parametrize(
    ("line", "taken"),
    [
        ("zmq.error.ZMQError: Address already in use (addr='tcp://127.0.0.1:33397')", True),
        ("Error: listen EADDRINUSE: address already in use 127.0.0.1:33397", True),
        ("ModuleNotFoundError: No module named 'ipykernel_launcher'", False),
    ],
)
def test_a_kernel_that_found_a_port_taken_is_recognised(line: str, taken: bool) -> None:
    assert says_taken(["Traceback (most recent call last):", line, "bye"]) is taken
    assert not says_taken([])
