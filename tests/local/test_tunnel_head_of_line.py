"""One channel that is full or not read holds up no other: interrupts and control stay quick."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
import zmq

from tests.support.cells import Cell, control, finish, until_output
from tests.support.cutter import AddressCutter, Cutter, SocketCutter, working
from tests.support.kernels import StartedKernel
from tests.support.kernelspecs import KernelSpecs
from tests.support.toxiproxy import toxiproxy
from tests.support.waiting import WaitTimeout

pytestmark = pytest.mark.gra_only

BOUND = 60.0
# What an interrupt and an answer on the control channel may take, and a busy machine besides.
AT_ONCE = 1.0 + 2.0

_REPLIES = 30
_REPLY_SIZE = 2_000_000
# More than the window, the agent's memory and its spill file for shell hold, twice.
assert _REPLIES * _REPLY_SIZE > 2 * (4 + 8 + 16) << 20

_TINY = {"buffers": {"memory": "256Ki", "spill": "1Mi"}}

# When it is interrupted, the kernel looks at the clock, which is that of this machine.
_UNTIL_INTERRUPTED = """
import base64, os, sys, time
try:
    print('going', flush=True)
    {work}
except KeyboardInterrupt:
    at = time.time()
"""
_SLEEP = "time.sleep(1000)"
# What compresses little, so that a slow link is slow.  With pauses: a PUB socket drops what nobody
# takes from it within 1000 messages.
_PRINT = """
    line = base64.b64encode(os.urandom(48_000)).decode() + '\\n'
    for number in range(1_000_000):
        sys.stdout.write(line)
        sys.stdout.flush()
        if number % 16 == 15: time.sleep(0.005)
"""


def _start_until_interrupted(kernel: StartedKernel, work: str) -> str:
    code = _UNTIL_INTERRUPTED.format(work=work)
    asked: str = kernel.client.execute(code, user_expressions={"at": "at"})
    until_output(kernel.client, "going")
    return asked


def _interrupt(kernel: StartedKernel) -> float:
    """Interrupt the kernel; when that was, by this machine's clock."""
    now = time.time()
    kernel.manager.interrupt_kernel()
    return now


def _interrupted_at(cell: Cell) -> float:
    assert cell.status == "ok"
    assert cell.reply is not None
    found = cell.reply["content"]["user_expressions"]["at"]
    assert found["status"] == "ok", "the cell was never interrupted"
    return float(found["data"]["text/plain"])


def _answers_on_control(kernel: StartedKernel) -> None:
    assert control(kernel.client, "kernel_info_request", {}, timeout=AT_ONCE)["status"] == "ok"


class _Sleeper:
    """A client that sends requests on shell and does not read the replies."""

    def __init__(self, kernel: StartedKernel, socket: zmq.Socket[bytes]) -> None:
        self._session = kernel.client.session
        self._socket = socket

    def ask(self) -> str:
        content = {
            "code": "",
            "silent": True,
            "store_history": False,
            "user_expressions": {"big": f"'x' * {_REPLY_SIZE}"},
            "allow_stdin": False,
        }
        sent = self._session.send(self._socket, "execute_request", content)
        return str(sent["header"]["msg_id"])

    def read(self) -> dict[str, Any]:
        if not self._socket.poll(BOUND * 1000):
            raise WaitTimeout("a reply that was kept", BOUND)
        _, reply = self._session.recv(self._socket, mode=0)
        assert reply is not None
        return reply


@contextmanager
def _sleeping_client(kernel: StartedKernel) -> Iterator[_Sleeper]:
    info = kernel.manager.get_connection_info()
    # A context of its own, so that it has an I/O thread of its own.
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.linger = 0
        # What a client's library reads ahead is the client's own affair.
        socket.rcvhwm = 1
        socket.rcvbuf = 1 << 16
        socket.connect(f"tcp://{info['ip']}:{info['shell_port']}")
        yield _Sleeper(kernel, socket)


def test_a_client_that_reads_no_replies_holds_up_neither_iopub_nor_control_nor_other_clients(
    kernel: StartedKernel,
) -> None:
    with _sleeping_client(kernel) as sleeper:
        asked = [sleeper.ask() for _ in range(_REPLIES)]
        # Behind those, so all of the replies have been made.
        assert kernel.run("print('on')").text == "on\n"

        _answers_on_control(kernel)
        running = _start_until_interrupted(kernel, _SLEEP)
        _answers_on_control(kernel)
        before = _interrupt(kernel)
        assert _interrupted_at(finish(kernel.client, running)) - before < AT_ONCE
        assert kernel.run("print('x' * 5_000_000)").text == "x" * 5_000_000 + "\n"

        for msg_id in asked:
            reply = sleeper.read()
            assert reply["parent_header"]["msg_id"] == msg_id
            big = reply["content"]["user_expressions"]["big"]["data"]["text/plain"]
            assert len(big) == _REPLY_SIZE + 2


def _interrupt_the_output(kernel: StartedKernel, size: int, timeout: float) -> None:
    """Interrupt a cell that prints without end, after so many bytes have come."""
    running = _start_until_interrupted(kernel, _PRINT.strip())
    received = 0
    deadline = time.monotonic() + timeout
    while received < size:
        message = kernel.client.get_iopub_msg(timeout=BOUND)
        if message["header"]["msg_type"] == "stream":
            received += len(message["content"]["text"])
        if time.monotonic() > deadline:
            raise WaitTimeout(f"{size:,} bytes of output (got {received:,})", timeout)
    with ThreadPoolExecutor(1) as threads:
        # Somebody goes on reading: iopub and shell; this thread has control.
        cell = threads.submit(finish, kernel.client, running, timeout=timeout)
        _answers_on_control(kernel)
        before = _interrupt(kernel)
        at = _interrupted_at(cell.result())
    assert at - before < AT_ONCE
    assert kernel.run("print('on')").text == "on\n"


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "size", [100_000_000, pytest.param(1_000_000_000, marks=pytest.mark.soak)], ids=["100MB", "1GB"]
)
def test_a_cell_that_prints_without_end_is_interrupted_at_once(
    kernel: StartedKernel, size: int
) -> None:
    _interrupt_the_output(kernel, size, timeout=400)


class _SocketAtAddress(AddressCutter):
    """Leads from a TCP address to a unix socket."""

    def __init__(self, cutter: SocketCutter) -> None:
        super().__init__("", 0)
        # What it would dial itself.
        self._dial = cutter._dial  # type: ignore[method-assign]


@contextmanager
def _upstream(network: Cutter) -> Iterator[str]:
    """What a network leads to, as an address."""
    if isinstance(network, SocketCutter):
        with working(_SocketAtAddress(network)) as relay:
            yield f"127.0.0.1:{relay.port}"
    else:
        assert isinstance(network, AddressCutter)
        yield f"{network._host}:{network._other_port}"


@contextmanager
def _slow(network: Cutter, megabits: float) -> Iterator[None]:
    """All that is dialled from now on goes by way of a slow link, while the block runs."""
    dial = network._dial
    with _upstream(network) as upstream, toxiproxy() as server:
        proxy = server.proxy(upstream)

        async def dial_slowly() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            return await asyncio.open_connection("127.0.0.1", proxy.port)

        network._dial = dial_slowly  # type: ignore[method-assign]
        try:
            with proxy.slow_link(megabits=megabits, latency=20):
                network.cut()
                yield
        finally:
            network._dial = dial  # type: ignore[method-assign]
            network.cut()


# After the network, so that it is shut down first.
@pytest.fixture
def far_kernel(
    network: list[Cutter],
    kernelspecs: KernelSpecs,
    start_kernel: Callable[..., StartedKernel],
) -> Iterator[StartedKernel]:
    """A kernel whose runner keeps little, so that a slow link has soon carried it."""
    started = start_kernel(kernelspecs.write("tiny", config=_TINY))
    yield started
    started.stop()


@pytest.mark.timeout(600)
def test_a_cell_that_prints_more_than_the_link_carries_is_interrupted_at_once(
    far_kernel: StartedKernel, network: list[Cutter]
) -> None:
    with _slow(network[0], megabits=10):
        _interrupt_the_output(far_kernel, 5_000_000, timeout=300)
