"""More output than the runner may keep while its client is away: bounded, and said aloud."""

from __future__ import annotations

import asyncio
import re
import resource
import time
from collections.abc import Callable, Iterator

import pytest

from tests.support.cells import Cell, control, finish, until_output
from tests.support.cutter import Cutter
from tests.support.kernels import StartedKernel
from tests.support.kernelspecs import KernelSpecs
from tests.support.runners import Runners

pytestmark = pytest.mark.gra_only

_TINY = {"buffers": {"memory": "64Ki", "spill": "256Ki"}}
LINES = 20_000
_PRINT = """
import pathlib, sys, time
here = pathlib.Path({here!r})
(here / "begun").touch()
while not (here / "go").exists(): time.sleep(0.01)
for i in range({lines}):
    # One write is one message, where print makes two of them now and then.
    sys.stdout.write(f"{{i:06d}}" + "x" * 1000 + "\\n")
    sys.stdout.flush()
    # A PUB socket drops what nobody takes from it within 1000 messages, and tells nobody.
    if i % 200 == 199: time.sleep(0.02)
(here / "done").touch()
"""

# The files, of no name any more, that the agent ($1) keeps messages in: the mode of each.
_SPILLED = 'find -L "/proc/$1/fd" -type f -links 0 -size +0 -exec stat -L -c %a {} +'


@pytest.fixture
def kernel(
    network: list[Cutter],
    kernelspecs: KernelSpecs,
    start_kernel: Callable[..., StartedKernel],
) -> Iterator[StartedKernel]:
    """A kernel whose runner keeps little."""
    started = start_kernel(kernelspecs.write("tiny", config=_TINY))
    yield started
    started.stop()


def _print_while_away(
    kernel: StartedKernel,
    network: Cutter,
    runners: Runners,
    look: Callable[[], None] = lambda: None,
) -> Cell:
    """Print more than is kept with nobody listening; ``look`` is called before anybody does."""
    asked = kernel.client.execute(_PRINT.format(lines=LINES, here=str(runners.work)))
    runners.until_exists("begun", "the cell to begin", 60)
    network.refuse()
    runners.touch("go")
    runners.until_exists("done", "the kernel to print 20 MB with nobody listening", 110)
    look()
    network.heal()
    return finish(kernel.client, asked)


def _check(cell: Cell) -> re.Match[str]:
    assert cell.status == "ok"
    for message in cell.of_type("stream"):
        if message["content"]["name"] == "stdout":
            assert re.fullmatch(r"(\d{6}x{1000}\n)+", message["content"]["text"])
    numbers = [int(line[:6]) for line in cell.text.splitlines()]
    assert numbers == sorted(set(numbers)), "lines out of order or twice"
    found = re.search(r"\[gra\] ([\d,]+) messages were dropped here", cell.stream("stderr"))
    assert found is not None, cell.stream("stderr")
    dropped = sum(
        int(count.replace(",", ""))
        for count in re.findall(r"\[gra\] ([\d,]+) messages? w", cell.stream("stderr"))
    )
    assert len(numbers) + dropped == LINES
    return found


@pytest.mark.timeout(300)
def test_what_does_not_fit_is_dropped_by_whole_messages_and_counted(
    kernel: StartedKernel, network: list[Cutter], runners: Runners
) -> None:
    before = runners.agent_memory()
    pid = kernel.pid()
    cell = _print_while_away(kernel, network[0], runners)

    _check(cell)
    assert runners.agent_memory() - before < 24 << 20
    assert kernel.pid() == pid
    assert re.search(r"[1-9]\d* messages of iopub dropped, [1-9]\d* bytes", runners.log())


@pytest.mark.timeout(300)
def test_what_waits_on_the_disk_is_the_owners_has_no_name_and_is_gone_once_it_was_read(
    kernel: StartedKernel, network: list[Cutter], runners: Runners
) -> None:
    modes: list[str] = []
    agent = runners.agent_pid

    def look() -> None:
        modes.extend(runners.shell(_SPILLED, agent).split())

    _print_while_away(kernel, network[0], runners, look)

    assert modes == ["600"]
    assert runners.shell(_SPILLED, agent) == "", "the disk is still taken"


@pytest.mark.timeout(300)
def test_a_kernel_whose_output_is_dropped_answers_other_requests_meanwhile(
    kernel: StartedKernel, network: list[Cutter], runners: Runners
) -> None:
    running: list[str] = []

    async def ask_past_the_bad_network() -> None:
        async with runners.tunnel(runners.only()) as tunnel:
            kernel_info = (await tunnel.request("info"))["kernel"]
            running.append(kernel_info["running"]["msg_type"])

    code = _PRINT.format(lines=LINES, here=str(runners.work)) + "input()"
    asked = kernel.client.execute(code, allow_stdin=True)
    runners.until_exists("begun", "the cell to begin", 60)
    network[0].refuse()
    runners.touch("go")
    runners.until_exists("done", "the kernel to print 20 MB with nobody listening", 110)
    asyncio.run(ask_past_the_bad_network())
    network[0].heal()

    assert running == ["execute_request"]
    assert control(kernel.client, "kernel_info_request", {})["status"] == "ok"
    kernel.client.get_stdin_msg(timeout=60)
    kernel.client.input("on")
    _check(finish(kernel.client, asked))


@pytest.mark.same_with_pods("the buffer is the agent's")
def test_nothing_is_dropped_while_the_client_reads_however_small_the_buffer(
    kernel: StartedKernel,
) -> None:
    # One cell's output fits the buffer, that of two does not.
    for letter in "abcdefghij":
        cell = kernel.run(f"print({letter!r} * 200_000)")
        assert (cell.text, cell.stream("stderr")) == (letter * 200_000 + "\n", "")


@pytest.mark.timeout(300)
@pytest.mark.local_only("the limit is set on the agent's process")
def test_a_full_disk_is_given_as_the_reason(
    kernel: StartedKernel, network: list[Cutter], runners: Runners
) -> None:
    # The agent may write no file beyond this, as on a full disk.
    resource.prlimit(runners.agent_pid, resource.RLIMIT_FSIZE, (100_000, 100_000))
    cell = _print_while_away(kernel, network[0], runners)

    _check(cell)
    assert "disk for it is full" in cell.stream("stderr")
    assert kernel.run("print('on')").text == "on\n"
    (folder,) = runners.places.runner_folders()
    assert [path.name for path in folder.iterdir() if "spill" in path.name] == []


@pytest.mark.timeout(300)
def test_replies_are_kept_while_the_client_is_away(
    kernel: StartedKernel, network: list[Cutter], runners: Runners
) -> None:
    go, done = str(runners.work / "go"), str(runners.work / "done")
    wait = f"import pathlib, time\nwhile not pathlib.Path({go!r}).exists(): time.sleep(0.01)"
    asked = [kernel.client.execute(wait)]
    asked += [kernel.client.execute(f"print({n})") for n in range(300)]
    asked.append(kernel.client.execute(f"pathlib.Path({done!r}).touch()"))
    # Long enough for the requests to have left; if they had not, none would ever be done.
    time.sleep(1)
    network[0].refuse()
    runners.touch("go")
    runners.until_exists("done", "the cells to be done without a client", 110)
    network[0].heal()

    replies = [kernel.client.get_shell_msg(timeout=60)["parent_header"]["msg_id"] for _ in asked]
    assert replies == asked


@pytest.mark.timeout(300)
@pytest.mark.parametrize("silent", [True, False], ids=["silent", "refused"])
def test_15_seconds_without_network_in_40000_prints_lose_nothing(
    network: list[Cutter],
    start_kernel: Callable[..., StartedKernel],
    kernel_name: str,
    silent: bool,
) -> None:
    lines = 40_000
    kernel = start_kernel(kernel_name)
    # With pauses as above, and so many that the network comes back before the end.
    code = f"""
import time
for i in range({lines}):
    print(i, flush=True)
    if i % 100 == 99: time.sleep(0.04)
"""
    asked = kernel.client.execute(code)
    until_output(kernel.client, "0\n")
    cell = Cell(asked)
    network[0].stall() if silent else network[0].refuse()
    time.sleep(15)
    network[0].resume() if silent else network[0].heal()
    while not cell.idle:
        cell.take(kernel.client.get_iopub_msg(timeout=60))
    kernel.stop()

    first = int(cell.text.split()[0])
    assert cell.text.split() == [str(number) for number in range(first, lines)]
    assert first < 1000
    assert cell.stream("stderr") == ""
