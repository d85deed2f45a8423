"""A network that drops connections while a kernel works: its client notices nothing."""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.support.cells import Cell, control, finish, until_output
from tests.support.cutter import Cutter
from tests.support.kernels import StartedKernel
from tests.support.runners import Runners

pytestmark = pytest.mark.gra_only

BOUND = 60.0

_SAME = pytest.mark.same_with_pods("asked or forced, the requests are the same")


# After the network, so that it is shut down first.
@pytest.fixture
def kernel(
    network: list[Cutter], start_kernel: Callable[..., StartedKernel], kernel_name: str
) -> Iterator[StartedKernel]:
    started = start_kernel(kernel_name)
    yield started
    started.stop()


# A PUB socket drops what nobody takes from it within 1000 messages: the kernel gives the agent time
# to take them, on a machine that has too much to do as well.
_PRINT = """
import time
for i in range({lines}):
    print(i, flush=True)
    if i % 500 == 499: time.sleep(0.02)
"""


def _print_through_cuts(
    kernel: StartedKernel, network: Cutter, *, lines: int, cuts: int, timeout: float
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    # A message has more than 450 bytes, of which more than 100 are left where the link is slow
    # enough to be compressed.  All cuts are to fall within the output.
    rng = random.Random(seed)
    network.cut_after(*(rng.randrange(1, lines * 150 // cuts) for _ in range(cuts)))
    code = _PRINT.format(lines=lines)
    cell = kernel.run(code, timeout=timeout)

    assert cell.status == "ok", f"seed {seed}"
    received = cell.text.split()
    expected = [str(number) for number in range(lines)]
    assert received == expected, f"seed {seed}: {_difference(received, expected)}"
    assert cell.stream("stderr") == "", f"seed {seed}"
    assert cell.kinds().count("status") == 2, f"seed {seed}"
    assert network.cuts_left == 0, f"seed {seed}"
    assert network.dialled > cuts, f"seed {seed}"


def _difference(received: list[str], expected: list[str]) -> str:
    pairs = enumerate(zip(received, expected, strict=False))
    first = next((at for at, (one, other) in pairs if one != other), None)
    return f"{len(received)} lines of {len(expected)}, the first other one is {first}"


@pytest.mark.timeout(300)
def test_40000_prints_survive_ten_cuts(kernel: StartedKernel, network: list[Cutter]) -> None:
    _print_through_cuts(kernel, network[0], lines=40_000, cuts=10, timeout=240)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_400000_prints_survive_a_hundred_cuts(kernel: StartedKernel, network: list[Cutter]) -> None:
    _print_through_cuts(kernel, network[0], lines=400_000, cuts=100, timeout=1500)


def _outage(network: Cutter, seconds: float) -> threading.Timer:
    """Nobody gets through from now on, for so long."""
    network.refuse()
    timer = threading.Timer(seconds, network.heal)
    timer.start()
    return timer


@pytest.mark.same_with_pods("messages as any others")
def test_a_question_is_answered_over_a_cut(kernel: StartedKernel, network: list[Cutter]) -> None:
    client = kernel.client
    asked = client.execute("answer = input('who? '); print('hello', answer)", allow_stdin=True)
    assert client.get_stdin_msg(timeout=BOUND)["content"]["prompt"] == "who? "
    outage = _outage(network[0], 0.5)
    client.input("world")
    cell = finish(client, asked)
    outage.join()

    assert cell.text == "hello world\n"


@pytest.mark.same_with_pods("messages as any others")
def test_a_question_is_asked_over_a_cut(kernel: StartedKernel, network: list[Cutter]) -> None:
    client = kernel.client
    code = "import time; time.sleep(0.5); answer = input('who? '); print('hello', answer)"
    asked = client.execute(code, allow_stdin=True)
    outage = _outage(network[0], 1.0)
    assert client.get_stdin_msg(timeout=BOUND)["content"]["prompt"] == "who? "
    client.input("world")
    outage.join()

    assert finish(client, asked).text == "hello world\n"


@pytest.mark.same_with_pods("a request as the restart")
def test_an_interrupt_arrives_over_a_cut(kernel: StartedKernel, network: list[Cutter]) -> None:
    asked = kernel.client.execute("import time; print('on', flush=True); time.sleep(1000)")
    until_output(kernel.client, "on")
    outage = _outage(network[0], 1.0)
    kernel.manager.interrupt_kernel()
    outage.join()

    assert finish(kernel.client, asked).error["ename"] == "KeyboardInterrupt"


@pytest.mark.parametrize(
    "now", [pytest.param(False, id="asked"), pytest.param(True, id="forced", marks=_SAME)]
)
def test_a_restart_works_over_a_cut(
    kernel: StartedKernel, network: list[Cutter], runners: Runners, now: bool
) -> None:
    uids = runners.uids()
    kernel.run("kept = 1")
    before = kernel.pid()
    outage = _outage(network[0], 1.0)
    kernel.manager.restart_kernel(now=now)
    outage.join()
    kernel.reconnect()

    assert kernel.pid() != before
    assert kernel.run("print('kept' in globals())").text == "False\n"
    assert runners.uids() == uids, "the restart made a new runner"


@pytest.mark.parametrize(
    "now", [pytest.param(False, id="asked", marks=_SAME), pytest.param(True, id="forced")]
)
def test_a_shutdown_works_over_a_cut(
    kernel: StartedKernel, network: list[Cutter], now: bool
) -> None:
    outage = _outage(network[0], 1.0)
    kernel.stop(now=now)
    outage.join()

    assert not kernel.manager.has_kernel


_SEND = """
import hashlib
from comm import create_comm
data = bytes(range(256)) * (8 << 12)
create_comm(target_name='test').send({}, buffers=[data])
print(hashlib.sha256(data).hexdigest())
"""


def test_a_large_buffer_comes_whole_over_a_cut(
    kernel: StartedKernel, network: list[Cutter]
) -> None:
    network[0].cut_after(1 << 20, 3 << 20, 1 << 20)
    cell = Cell(kernel.client.execute(_SEND))
    while not cell.idle:
        cell.take(kernel.client.get_iopub_msg(timeout=BOUND))

    (message,) = cell.of_type("comm_msg")
    assert hashlib.sha256(message["buffers"][0]).hexdigest() == cell.text.strip()
    assert network[0].cuts_left == 0


_RECEIVE = """
import hashlib
from ipykernel.comm import Comm
def opened(comm, message):
    data = message['buffers'][0]
    print(len(data), hashlib.sha256(data).hexdigest(), flush=True)
get_ipython().kernel.comm_manager.register_target('sink', opened)
"""


def test_a_large_buffer_goes_whole_over_a_cut(kernel: StartedKernel, network: list[Cutter]) -> None:
    kernel.run(_RECEIVE)
    data = bytes(range(256)) * (20 << 12)
    client = kernel.client
    content = {"comm_id": "c", "target_name": "sink", "data": {}}
    client.session.send(
        client.shell_channel.socket, "comm_open", content, buffers=[data], track=False
    )
    for _ in range(3):
        time.sleep(0.02)
        network[0].cut()

    until_output(client, f"{len(data)} {hashlib.sha256(data).hexdigest()}")


def test_a_silent_stall_is_waited_out(kernel: StartedKernel, network: list[Cutter]) -> None:
    code = "import time\nfor i in range(50): print(i, flush=True); time.sleep(0.1)"
    asked = kernel.client.execute(code)
    until_output(kernel.client, "3\n")
    before = network[0].dialled
    network[0].stall()
    time.sleep(5)
    network[0].resume()
    cell = finish(kernel.client, asked)

    assert cell.text.split()[-40:] == [str(number) for number in range(10, 50)]
    assert network[0].dialled == before, "a stall of 5 s is no reason to hang up"


@pytest.mark.same_with_pods("messages as any others")
def test_control_requests_are_answered_over_a_cut(
    kernel: StartedKernel, network: list[Cutter]
) -> None:
    outage = _outage(network[0], 0.5)
    assert control(kernel.client, "kernel_info_request", {})["status"] == "ok"
    outage.join()


def test_a_link_that_always_breaks_is_not_dialled_without_pause(
    kernel: StartedKernel, network: list[Cutter], runners: Runners
) -> None:
    broken = threading.Event()

    def break_it() -> None:
        while not broken.wait(0.005):
            network[0].cut()

    thread = threading.Thread(target=break_it)
    thread.start()
    try:
        before = network[0].dialled
        time.sleep(3)
        dialled = network[0].dialled - before
    finally:
        broken.set()
        thread.join()

    assert 2 <= dialled < 40 * runners.diallers
    assert kernel.run("print(1)").text == "1\n"


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("silent", [True, False], ids=["silent", "refused"])
def test_a_minute_without_network_loses_nothing(
    kernel: StartedKernel, network: list[Cutter], silent: bool
) -> None:
    lines = 40_000
    code = f"import time\nfor i in range({lines}): print(i, flush=True); time.sleep(0.0005)"
    asked = kernel.client.execute(code)
    cell = Cell(asked)
    while "100\n" not in cell.text:
        cell.take(kernel.client.get_iopub_msg(timeout=BOUND))
    network[0].stall() if silent else network[0].refuse()
    time.sleep(60)
    network[0].resume() if silent else network[0].heal()
    while not cell.idle:
        cell.take(kernel.client.get_iopub_msg(timeout=BOUND))

    assert cell.text.split() == [str(number) for number in range(lines)]
