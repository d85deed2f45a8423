"""Several clients on one kernel: each sees all output and gets what is its own, also at its end."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.connect import KernelConnectionInfo

from gra_provisioner.profiles import load_config
from gra_provisioner.provisioner import GraProvisioner
from gra_provisioner.service import RunnerService
from tests.support.cells import TIMEOUT, Cell, control, finish, run, until_output
from tests.support.cli import gra_json
from tests.support.cutter import Cutter
from tests.support.kernels import START_TIMEOUT, StartedKernel
from tests.support.kernelspecs import KernelSpecs
from tests.support.runners import Runners
from tests.support.scripted_kernel import ARGV
from tests.support.waiting import until

pytestmark = pytest.mark.gra_only

T = TypeVar("T")

_WAITS = "import time; print('going', flush=True); time.sleep(1000)"


@contextmanager
def _client(info: KernelConnectionInfo | dict[str, Any]) -> Iterator[BlockingKernelClient]:
    """A client with a session of its own."""
    client = BlockingKernelClient()
    client.load_connection_info(cast(KernelConnectionInfo, info))
    client.start_channels()
    try:
        client.wait_for_ready(timeout=START_TIMEOUT)
        yield client
    finally:
        client.stop_channels()


@contextmanager
def _attached_elsewhere(name: str) -> Iterator[dict[str, Any]]:
    """Serve a runner's kernel by another tunnel, as another process does; its connection info."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="elsewhere")
    thread.start()
    service = RunnerService.from_config(load_config(os.environ))

    def run_there(work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, loop).result(START_TIMEOUT)

    try:
        attachment = run_there(service.attach(name))
        try:
            yield attachment.connection_info
        finally:
            run_there(attachment.close())
    finally:
        run_there(service.close())
        loop.call_soon_threadsafe(loop.stop)
        thread.join(START_TIMEOUT)
        loop.close()


@pytest.fixture(
    params=[
        pytest.param("same tunnel", marks=pytest.mark.same_with_pods("the relay is the same")),
        "another tunnel",
    ]
)
def second(
    request: pytest.FixtureRequest, kernel: StartedKernel, runners: Runners
) -> Iterator[BlockingKernelClient]:
    """A second client of the kernel, on the ports of the first or on those of an attachment."""
    if request.param == "same tunnel":
        with _client(kernel.manager.get_connection_info()) as client:
            yield client
    else:
        with _attached_elsewhere(runners.only()) as info, _client(info) as client:
            yield client


def _under_way(kernel: StartedKernel) -> list[dict[str, Any]]:
    """The headers of the requests that the tunnel of the kernel's manager has seen unanswered."""
    provisioner = kernel.manager.provisioner
    assert isinstance(provisioner, GraProvisioner)
    assert provisioner._kernel is not None
    return provisioner._kernel.channels.pending


def _no_more(client: BlockingKernelClient) -> None:
    """Nothing is left to be read that answers anything of this client's."""
    own = client.session.session
    while client.iopub_channel.msg_ready():
        message = client.get_iopub_msg(timeout=1)
        assert message["parent_header"].get("session") != own, message
    assert not client.shell_channel.msg_ready()


def _until_idle(client: BlockingKernelClient, msg_id: str) -> Cell:
    """What a client sees on iopub of a cell, be it another's."""
    cell = Cell(msg_id)
    while not cell.idle:
        cell.take(client.get_iopub_msg(timeout=TIMEOUT))
    return cell


def test_each_client_sees_the_others_output_and_gets_its_own_replies_only(
    kernel: StartedKernel, second: BlockingKernelClient
) -> None:
    for asks, looks in ((kernel.client, second), (second, kernel.client)):
        asked = asks.execute("print('hello'); 6 * 7")
        seen = _until_idle(looks, asked)
        own = finish(asks, asked)

        assert (own.status, own.text) == ("ok", "hello\n")
        kinds = ["status", "execute_input", "stream", "execute_result", "status"]
        assert seen.kinds() == own.kinds() == kinds
        for message in seen.outputs:
            assert message["parent_header"]["session"] == asks.session.session
        assert control(asks, "kernel_info_request", {})["status"] == "ok"
        assert not looks.shell_channel.msg_ready()
        assert not looks.control_channel.msg_ready()


def test_a_question_is_put_to_the_client_that_ran_the_cell_only(
    kernel: StartedKernel, second: BlockingKernelClient
) -> None:
    for asks, looks in ((kernel.client, second), (second, kernel.client)):
        asked = asks.execute("print('hello', input('who? '))", allow_stdin=True)
        assert asks.get_stdin_msg(timeout=TIMEOUT)["content"]["prompt"] == "who? "
        asks.input("world")

        assert finish(asks, asked).text == "hello world\n"
        assert _until_idle(looks, asked).text == "hello world\n"
        assert not looks.stdin_channel.msg_ready()
        assert not looks.shell_channel.msg_ready()


_PRINT = """
import time
for i in range({lines}):
    print({name!r}, i, flush=True)
    if i % 100 == 99: time.sleep(0.05)
"""


@pytest.fixture
def far_kernel(
    network: list[Cutter], start_kernel: Callable[..., StartedKernel], kernel_name: str
) -> Iterator[StartedKernel]:
    """A kernel behind a bad network, which is shut down before that is."""
    started = start_kernel(kernel_name)
    yield started
    started.stop()


def test_both_clients_miss_nothing_while_the_link_of_either_is_cut(
    far_kernel: StartedKernel, network: list[Cutter], runners: Runners
) -> None:
    lines = 3000
    first = far_kernel.client
    with _attached_elsewhere(runners.only()) as info, _client(info) as second:
        clients = (first, second)
        asked = [
            client.execute(_PRINT.format(lines=lines, name=name))
            for client, name in zip(clients, "ab", strict=True)
        ]
        with ThreadPoolExecutor() as threads:
            # What the other sees of a cell is read by the thread that reads its iopub.
            seen = [threads.submit(_cells, client, asked) for client in clients]
            for _ in range(3):
                time.sleep(0.3)
                _cut_one_by_one(network[0])
            of_first, of_second = (future.result() for future in seen)
        for cells in (of_first, of_second):
            for cell, name in zip(cells, "ab", strict=True):
                assert cell.text == "".join(f"{name} {number}\n" for number in range(lines))
                assert cell.stream("stderr") == ""
        for client, msg_id in zip(clients, asked, strict=True):
            reply = client.get_shell_msg(timeout=TIMEOUT)
            assert reply["parent_header"]["msg_id"] == msg_id
            assert not client.shell_channel.msg_ready()


def _cells(client: BlockingKernelClient, asked: list[str]) -> list[Cell]:
    cells = [Cell(msg_id) for msg_id in asked]
    while not all(cell.idle for cell in cells):
        message = client.get_iopub_msg(timeout=TIMEOUT)
        for cell in cells:
            cell.take(message)
    return cells


def _cut_one_by_one(network: Cutter) -> None:
    for pair in list(network._pairs):
        network._call(pair.cut)
        time.sleep(0.1)


def test_each_client_gets_the_end_of_its_own_cell(
    kernel: StartedKernel, second: BlockingKernelClient, runners: Runners
) -> None:
    pid = kernel.pid()
    running = kernel.client.execute(_WAITS)
    until_output(kernel.client, "going")
    queued = second.execute("print('never')")
    # The second client's request is on its way by a tunnel of its own.
    until_output(second, "going")

    runners.kill(pid)

    cell = finish(kernel.client, running)
    assert cell.error["ename"] == "KernelDied"
    assert cell.reply is not None
    assert cell.reply["content"]["ename"] == "KernelDied"
    waited = finish(second, queued)
    assert (waited.status, waited.kinds()) == ("aborted", ["status"])
    _no_more(kernel.client)
    _no_more(second)


def test_late_requests_run_in_the_new_kernel_for_whoever_sent_them(
    kernel: StartedKernel, second: BlockingKernelClient, runners: Runners
) -> None:
    pid = kernel.pid()
    runners.kill(pid)
    until(lambda: not kernel.manager.is_alive(), "the manager to know of the death")

    of_first = kernel.client.execute("print('first')")
    of_second = second.execute("print('second')")
    kernel.manager.restart_kernel(now=True)

    # Both at once: libzmq subscribes anew only when somebody reads from the socket.
    with ThreadPoolExecutor() as threads:
        cells = threads.map(finish, (kernel.client, second), (of_first, of_second))
        assert [(c.status, c.text) for c in cells] == [("ok", "first\n"), ("ok", "second\n")]
    for client in (kernel.client, second):
        client.wait_for_ready(timeout=START_TIMEOUT)
    assert run(kernel.client, "print('on')").text == "on\n"
    assert run(second, "print('on')").text == "on\n"


@pytest.mark.same_with_pods("the restart is the agent's")
def test_a_restart_while_the_reason_is_told_leaves_both_clients_working(
    kernel: StartedKernel, second: BlockingKernelClient, runners: Runners
) -> None:
    pid = kernel.pid()
    running = kernel.client.execute(_WAITS)
    until_output(kernel.client, "going")
    runners.kill(pid)
    assert finish(kernel.client, running).status == "error"

    kernel.manager.restart_kernel(now=True)
    kernel.reconnect()

    assert run(kernel.client, "print('on')").text == "on\n"
    second.wait_for_ready(timeout=START_TIMEOUT)
    assert run(second, "print('on')").text == "on\n"


@pytest.mark.local_only("the kernel is a program of this machine; the relay is the same")
@pytest.mark.parametrize("half", ["half stream 100", "half reply"])
def test_of_a_half_message_each_client_is_told_what_is_its_own(
    kernelspecs: KernelSpecs, start_kernel: Callable[..., StartedKernel], half: str
) -> None:
    kernel = start_kernel(kernelspecs.write("scripted", kernel_argv=ARGV))
    with _client(kernel.manager.get_connection_info()) as second:
        running = kernel.client.execute(f"stream going\n{half}\nwait 1000")
        # Two clients' requests have no order but that in which each is known to have gone.
        until_output(second, "going")
        queued = second.execute("stream never")
        until(lambda: len(_under_way(kernel)) == 2, "both requests to have left their clients")
        kernel.manager.signal_kernel(signal.SIGKILL)

        assert finish(kernel.client, running).error["ename"] == "KernelDied"
        assert finish(second, queued).status == "aborted"
        until(lambda: not kernel.manager.is_alive(), "the manager to know of the death")
        _no_more(kernel.client)
        _no_more(second)


@pytest.mark.same_with_pods("the agent and the relay tell it")
def test_the_death_of_an_idle_kernel_is_told_in_no_cell(
    kernel: StartedKernel, second: BlockingKernelClient, runners: Runners
) -> None:
    run(kernel.client, "print('done')")
    run(second, "print('done')")
    pid = kernel.pid()
    # A kernel's subscribers, the agent one of them, are not all told at the same moment.
    until(lambda: gra_json("list")[0]["kernel"] == "idle", "the agent to know of the cell's end")

    runners.kill(pid)
    runners.until_ended(pid, "the killed kernel")
    until(lambda: not kernel.manager.is_alive(), "the manager to know of the death")

    for client in (kernel.client, second):
        while client.iopub_channel.msg_ready():
            message = client.get_iopub_msg(timeout=1)
            assert "[gra]" not in message["content"].get("text", ""), message
            assert message["header"]["msg_type"] != "error", message
        assert not client.shell_channel.msg_ready()
