"""Processes run at a client's request, with real processes and a channel held in memory."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from gra_provisioner.agent.exec import ExecProcess
from gra_provisioner.agent.failure import AgentError
from gra_provisioner.agent.pipes import READ_SIZE
from gra_provisioner.agent.spawn import ExitStatus
from gra_provisioner.agent.stream import StreamHandler
from tests.support.waiting import until_async

ENV = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
BOUND = 60.0


class MemoryChannel:
    """A channel whose peer is the test: it acknowledges at once, or when the test says so."""

    HIGH_WATER = 1 << 20
    LOW_WATER = 1 << 18
    WINDOW = 1 << 18

    handler: StreamHandler

    def __init__(self, *, acknowledges: bool = True) -> None:
        self.backlog = 0
        self.most_backlog = 0
        self.most_unconsumed = 0
        self.output = bytearray()
        self.finished = False
        self.was_reset = False
        self._acknowledges = acknowledges
        self._above = False
        self._unconsumed = 0
        self._changed = asyncio.Event()

    def write(self, data: bytes) -> None:
        assert not self.finished
        assert not self.was_reset
        self.output += data
        self.backlog += len(data)
        self.most_backlog = max(self.most_backlog, self.backlog)
        self._above = self._above or self.backlog > self.HIGH_WATER
        if self._acknowledges:
            self.acknowledge(len(data))
        self._changed.set()

    def finish(self) -> None:
        assert not self.finished
        assert not self.was_reset
        self.finished = True
        self._changed.set()

    def reset(self, reason: str, message: str) -> None:
        raise AssertionError(f"the channel was reset: {reason}: {message}")

    def consumed(self, count: int) -> None:
        assert not self.was_reset
        self._unconsumed -= count
        assert self._unconsumed >= 0
        self._changed.set()

    def acknowledge(self, count: int) -> None:
        self.backlog -= count
        if self._above and self.backlog < self.LOW_WATER:
            self._above = False
            self.handler.on_drain()

    async def send(self, data: bytes) -> None:
        """Send as a peer does that keeps to its window."""
        view = memoryview(data)
        while view:
            await self.until(lambda: self._unconsumed < self.WINDOW, "the window to open")
            room = self.WINDOW - self._unconsumed
            piece, view = bytearray(view[:room]), view[room:]
            self._unconsumed += len(piece)
            self.most_unconsumed = max(self.most_unconsumed, self._unconsumed)
            self.handler.on_data(memoryview(piece))
            # Whoever kept the view instead of a copy sees garbage now.
            piece[:] = bytes(len(piece))
            await asyncio.sleep(0)

    def finish_sending(self) -> None:
        self.handler.on_finish()

    def cut(self) -> None:
        self.was_reset = True
        self.handler.on_reset("ClientGone", "the client is gone")

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        async def wait() -> None:
            while not condition():
                self._changed.clear()
                await self._changed.wait()

        await bounded(wait(), f"{what}; so far came {bytes(self.output[-200:])!r}")

    async def text(self, expected: bytes) -> None:
        await self.until(lambda: expected in self.output, f"{expected!r} in the output")


async def bounded(awaitable: Awaitable[Any], what: str) -> Any:
    try:
        return await asyncio.wait_for(awaitable, BOUND)
    except asyncio.TimeoutError:
        pytest.fail(f"waited {BOUND} s for {what}")


class Agent:
    """What the agent does for its processes: it starts them, and reaps them by their pid."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._running: dict[int, ExecProcess] = {}

    def start(
        self,
        *argv: str,
        env: Mapping[str, str] = ENV,
        cwd: str | None = None,
        tty: tuple[int, int] | None = None,
    ) -> ExecProcess:
        process = ExecProcess.start(argv, env, cwd, tty, self._loop)
        self._running[process.pid] = process
        return process

    def reap(self) -> None:
        for pid, process in list(self._running.items()):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                del self._running[pid]
                process.on_child_exit(status)

    async def close(self) -> None:
        for process in list(self._running.values()):
            process.signal(signal.SIGKILL)
            process.close()
            await bounded(process.finished, "a killed process to be reaped")


@pytest.fixture
async def agent() -> AsyncIterator[Agent]:
    """An agent, which must have no more descriptors open at the end than at the start."""
    loop = asyncio.get_running_loop()
    agent = Agent()
    loop.add_signal_handler(signal.SIGCHLD, agent.reap)
    before = open_descriptors()
    try:
        yield agent
    finally:
        await agent.close()
        loop.remove_signal_handler(signal.SIGCHLD)
    assert open_descriptors() == before


def open_descriptors() -> set[str]:
    return {entry.name for entry in Path("/dev/fd").iterdir()}


def attach(process: ExecProcess) -> tuple[MemoryChannel, MemoryChannel]:
    stdio, stderr = MemoryChannel(), MemoryChannel()
    process.attach_stdio(stdio)
    process.attach_stderr(stderr)
    return stdio, stderr


async def finished(process: ExecProcess) -> ExitStatus:
    status = await bounded(process.finished, f"process {process.pid} to finish")
    assert isinstance(status, ExitStatus)
    return status


def refused(agent: Agent, *argv: str, **options: Any) -> AgentError:
    with pytest.raises(AgentError) as caught:
        agent.start(*argv, **options)
    return caught.value


async def test_stdout_and_stderr_arrive_apart(agent: Agent) -> None:
    process = agent.start("sh", "-c", "echo out; echo err >&2; echo out again")
    stdio, stderr = attach(process)
    assert await finished(process) == ExitStatus(0, None)
    assert stdio.output == b"out\nout again\n"
    assert stderr.output == b"err\n"
    assert stdio.finished
    assert stderr.finished


async def test_50_mb_to_a_slow_reader_arrive_in_order_in_bounded_memory(agent: Agent) -> None:
    size = 50_000_000
    program = (
        "import sys, hashlib\n"
        "digest = hashlib.sha256()\n"
        "for number in range(500):\n"
        "    block = (b'%09d\\n' % number) * 10_000\n"
        "    digest.update(block)\n"
        "    sys.stdout.buffer.write(block)\n"
        "sys.stderr.write(digest.hexdigest())\n"
    )
    process = agent.start(sys.executable, "-c", program)
    stdio, stderr = MemoryChannel(acknowledges=False), MemoryChannel()
    process.attach_stdio(stdio)
    process.attach_stderr(stderr)
    digest = hashlib.sha256()
    taken = 0
    while taken < size:
        await stdio.until(lambda: len(stdio.output) > 0 or stdio.finished, "more output")
        assert not stdio.finished or stdio.output
        piece = bytes(stdio.output[:300_000])
        del stdio.output[: len(piece)]
        digest.update(piece)
        taken += len(piece)
        stdio.acknowledge(len(piece))
        await asyncio.sleep(0.0005)
    assert await finished(process) == ExitStatus(0, None)
    assert not stdio.output
    assert stderr.output.decode() == digest.hexdigest()
    assert stdio.most_backlog <= stdio.HIGH_WATER + READ_SIZE


async def test_a_stalled_reader_of_stdout_does_not_hold_up_stderr(agent: Agent) -> None:
    process = agent.start("sh", "-c", "echo err >&2; yes | head -c 5000000")
    stdio, stderr = MemoryChannel(acknowledges=False), MemoryChannel()
    process.attach_stdio(stdio)
    process.attach_stderr(stderr)
    await stderr.text(b"err\n")
    await stdio.until(lambda: stdio.backlog > stdio.HIGH_WATER, "the stalled reader's backlog")
    while not stdio.finished:
        stdio.acknowledge(stdio.backlog)
        await asyncio.sleep(0)
    assert len(stdio.output) == 5_000_000
    assert await finished(process) == ExitStatus(0, None)


async def test_10_mb_of_stdin_come_back_through_cat(agent: Agent) -> None:
    data = b"".join(b"%09d\n" % number for number in range(1_000_000))
    process = agent.start("cat")
    stdio, _ = attach(process)
    await stdio.send(data)
    stdio.finish_sending()
    assert await finished(process) == ExitStatus(0, None)
    assert stdio.output == data
    assert stdio.most_unconsumed <= stdio.WINDOW
    assert stdio._unconsumed == 0


async def test_stdin_is_acknowledged_only_as_the_process_takes_it(agent: Agent) -> None:
    process = agent.start("sh", "-c", "exec sleep 1000")
    stdio, _ = attach(process)
    piece = bytearray(MemoryChannel.WINDOW)
    stdio._unconsumed = len(piece)
    stdio.handler.on_data(memoryview(piece))
    # What a pipe holds has been taken, the rest has not.
    assert 0 < stdio._unconsumed < len(piece)
    process.signal(signal.SIGKILL)
    assert await finished(process) == ExitStatus(None, signal.SIGKILL)
    assert stdio._unconsumed == 0


async def test_a_process_that_closes_its_stdin_early_is_no_error(agent: Agent) -> None:
    process = agent.start("sh", "-c", "head -c 3; exec <&-; echo; sleep 1000")
    stdio, _ = attach(process)
    await stdio.send(b"abcdef")
    await stdio.text(b"abc\n")
    await stdio.send(bytes(3_000_000))
    stdio.finish_sending()
    process.signal(signal.SIGKILL)
    await finished(process)
    assert stdio._unconsumed == 0


async def test_a_finished_stdin_is_an_end_of_file_and_output_still_comes(agent: Agent) -> None:
    process = agent.start("sh", "-c", "cat > /dev/null; echo after the end")
    stdio, _ = attach(process)
    stdio.finish_sending()
    await finished(process)
    assert stdio.output == b"after the end\n"


async def test_the_exit_code_is_reported(agent: Agent) -> None:
    process = agent.start("sh", "-c", "exit 37")
    attach(process)
    assert await bounded(process.exited, "the exit") == ExitStatus(37, None)
    assert await finished(process) == ExitStatus(37, None)


async def test_a_signal_ends_the_whole_process_group_and_is_reported(agent: Agent) -> None:
    process = agent.start("sh", "-c", "sleep 1000 & echo $!; wait")
    stdio, _ = attach(process)
    await stdio.text(b"\n")
    process.signal(signal.SIGTERM)
    # The grandchild held the pipe: the output ends with it, well before any grace is over.
    assert await finished(process) == ExitStatus(None, signal.SIGTERM)
    # It closes what it has open a moment before it is gone.
    await until_async(lambda: not is_running(int(stdio.output)), "the grandchild's end")


async def test_a_process_that_handles_a_signal_reports_its_own_code(agent: Agent) -> None:
    # No shell: dash loses a signal that comes while it starts a process.
    code = "import signal, sys; signal.signal(signal.SIGINT, lambda *_: sys.exit(5))"
    code += "; print('ready', flush=True); signal.pause()"
    process = agent.start(sys.executable, "-c", code)
    stdio, _ = attach(process)
    await stdio.text(b"ready")
    process.signal(signal.SIGINT)
    assert await finished(process) == ExitStatus(5, None)


async def test_a_signal_to_a_process_that_has_ended_is_no_error(agent: Agent) -> None:
    process = agent.start("true")
    attach(process)
    await finished(process)
    process.signal(signal.SIGTERM)
    with pytest.raises(AgentError, match="signal: 4711"):
        process.signal(4711)


async def test_a_terminal_echoes_has_its_size_and_one_stream(agent: Agent) -> None:
    process = agent.start("sh", "-c", "tty; stty size; read line; echo got $line >&2", tty=(41, 97))
    stdio = MemoryChannel()
    process.attach_stdio(stdio)
    await stdio.text(b"41 97\r\n")
    await stdio.send(b"word\r")
    assert await finished(process) == ExitStatus(0, None)
    lines = stdio.output.decode().split("\r\n")
    assert lines[0].startswith("/dev/")
    assert lines[2:] == ["word", "got word", ""]


async def test_a_resized_terminal_tells_its_process(agent: Agent) -> None:
    code = "import os, signal; signal.signal(signal.SIGWINCH, lambda *_: os.system('stty size'))"
    code += "; print('ready', flush=True)\nwhile True: signal.pause()"
    process = agent.start(sys.executable, "-c", code, tty=(24, 80))
    stdio = MemoryChannel()
    process.attach_stdio(stdio)
    await stdio.text(b"ready")
    process.resize(50, 132)
    await stdio.text(b"50 132\r\n")
    process.signal(signal.SIGKILL)
    await finished(process)
    process.resize(20, 20)


async def test_control_c_typed_at_a_terminal_interrupts(agent: Agent) -> None:
    process = agent.start("sh", "-c", "echo ready; exec sleep 1000", tty=(24, 80))
    stdio = MemoryChannel()
    process.attach_stdio(stdio)
    await stdio.text(b"ready")
    await stdio.send(b"\x03")
    assert await finished(process) == ExitStatus(None, signal.SIGINT)


@pytest.mark.parametrize("typed", [b"", b"line\n", b"no end of line"])
async def test_the_end_of_typing_is_an_end_of_file_on_a_terminal(
    agent: Agent, typed: bytes
) -> None:
    process = agent.start("sh", "-c", "cat > /dev/null; echo after the end", tty=(24, 80))
    stdio = MemoryChannel()
    process.attach_stdio(stdio)
    await stdio.send(typed)
    stdio.finish_sending()
    assert await finished(process) == ExitStatus(0, None)
    assert stdio.output.endswith(b"after the end\r\n")
    assert stdio.finished


async def test_a_terminal_passes_on_all_output_before_its_end(agent: Agent) -> None:
    process = agent.start("sh", "-c", "yes 0123456789 | head -n 200000", tty=(24, 80))
    stdio = MemoryChannel()
    process.attach_stdio(stdio)
    await finished(process)
    assert stdio.output == b"0123456789\r\n" * 200_000


async def test_a_terminal_has_a_term_that_the_client_can_choose(agent: Agent) -> None:
    for env, expected in ((ENV, b"xterm\r\n"), ({**ENV, "TERM": "vt100"}, b"vt100\r\n")):
        process = agent.start("sh", "-c", "echo $TERM", env=env, tty=(24, 80))
        stdio = MemoryChannel()
        process.attach_stdio(stdio)
        await finished(process)
        assert stdio.output == expected


async def test_what_only_one_kind_of_process_has_is_refused_for_the_other(agent: Agent) -> None:
    on_pipes = agent.start("cat")
    on_terminal = agent.start("cat", tty=(24, 80))
    with pytest.raises(AgentError) as caught:
        on_pipes.resize(24, 80)
    assert caught.value.reason == "NotATerminal"
    with pytest.raises(AgentError) as caught:
        on_terminal.attach_stderr(MemoryChannel())
    assert caught.value.reason == "NoSuchStream"
    with pytest.raises(AgentError) as caught:
        on_terminal.resize(-1, 80)
    assert caught.value.reason == "InvalidRequest"
    on_pipes.attach_stdio(MemoryChannel())
    with pytest.raises(AgentError) as caught:
        on_pipes.attach_stdio(MemoryChannel())
    assert caught.value.reason == "AlreadyAttached"


async def test_output_from_before_the_channels_came_is_not_lost(agent: Agent) -> None:
    process = agent.start("sh", "-c", "echo out; echo err >&2")
    await bounded(process.exited, "the exit")
    await asyncio.sleep(0.05)
    assert not process.finished.done()
    stdio, stderr = attach(process)
    assert await finished(process) == ExitStatus(0, None)
    assert stdio.output == b"out\n"
    assert stderr.output == b"err\n"


async def test_a_grandchild_that_keeps_the_pipe_does_not_keep_the_channel(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gra_provisioner.agent.exec.EXIT_GRACE", 0.2)
    process = agent.start("sh", "-c", "sleep 1000 & echo $!; exit 3")
    stdio, stderr = attach(process)
    try:
        assert await finished(process) == ExitStatus(3, None)
        assert stdio.finished
        assert stderr.finished
        assert is_running(int(stdio.output))
    finally:
        os.kill(int(stdio.output), signal.SIGKILL)


async def test_a_grandchild_that_never_stops_writing_does_not_keep_the_channel(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gra_provisioner.agent.exec.EXIT_GRACE", 0.2)
    process = agent.start("sh", "-c", "yes & exit 3")
    attach(process)
    # It then dies of SIGPIPE by itself.
    assert await finished(process) == ExitStatus(3, None)


async def test_a_reader_slower_than_the_grace_still_gets_all_that_was_written(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gra_provisioner.agent.exec.EXIT_GRACE", 0.05)
    size = MemoryChannel.HIGH_WATER + READ_SIZE
    process = agent.start("sh", "-c", f"yes | head -c {size}; echo the end; sleep 1000 & echo $!")
    stdio, stderr = MemoryChannel(acknowledges=False), MemoryChannel()
    process.attach_stdio(stdio)
    process.attach_stderr(stderr)
    await bounded(process.exited, "the exit")
    await asyncio.sleep(0.2)
    assert not stdio.finished
    stdio.acknowledge(stdio.backlog)
    await finished(process)
    _, _, grandchild = stdio.output[size:].partition(b"the end\n")
    os.kill(int(grandchild), signal.SIGKILL)


async def test_a_client_that_goes_away_hangs_up_on_the_process_group(agent: Agent) -> None:
    for tty in (None, (24, 80)):
        process = agent.start("sh", "-c", "sleep 1000 & echo $!; wait", tty=tty)
        stdio = MemoryChannel()
        process.attach_stdio(stdio)
        if tty is None:
            process.attach_stderr(MemoryChannel())
        await stdio.text(b"\n")
        stdio.cut()
        assert await finished(process) == ExitStatus(None, signal.SIGHUP)


async def test_a_process_that_ignores_the_hangup_loses_its_output_only(agent: Agent) -> None:
    process = agent.start("sh", "-c", "trap '' HUP PIPE; echo ready; read go; echo lost; exit 6")
    stdio, stderr = attach(process)
    await stdio.text(b"ready")
    stdio.cut()
    assert await finished(process) == ExitStatus(6, None)
    assert stderr.finished


async def test_a_process_that_nobody_attached_to_can_be_given_up(agent: Agent) -> None:
    process = agent.start("sh", "-c", "echo never read; exec sleep 1000")
    process.close()
    assert await finished(process) == ExitStatus(None, signal.SIGHUP)


async def test_the_process_has_the_given_environment_and_folder_and_no_more(
    agent: Agent, tmp_path: Path
) -> None:
    env = {**ENV, "WORD": "a b"}
    program = "pwd; echo $WORD; env | grep -c GRA_TEST_SENTINEL; ls /dev/fd/"
    os.environ["GRA_TEST_SENTINEL"] = "1"
    try:
        process = agent.start("sh", "-c", program, env=env, cwd=str(tmp_path))
    finally:
        del os.environ["GRA_TEST_SENTINEL"]
    stdio, _ = attach(process)
    await finished(process)
    folder, word, count, *descriptors = stdio.output.decode().split("\n")
    assert (folder, word, count) == (os.path.realpath(tmp_path), "a b", "0")
    # ls has one more, the folder that it lists.
    assert descriptors == ["0", "1", "2", "3", ""]


async def test_fifty_processes_leave_no_descriptor_open(agent: Agent) -> None:
    before = open_descriptors()
    for number in range(50):
        process = agent.start("echo", "word", tty=(24, 80) if number % 2 else None)
        process.attach_stdio(MemoryChannel())
        if not process.on_terminal:
            process.attach_stderr(MemoryChannel())
        assert await finished(process) == ExitStatus(0, None)
        assert open_descriptors() == before


@pytest.mark.parametrize("tty", [None, (24, 80)])
async def test_a_missing_executable_is_named(agent: Agent, tty: tuple[int, int] | None) -> None:
    error = refused(agent, "no-such-program", "secret-argument", tty=tty)
    assert error.reason == "ExecutableNotFound"
    assert "no-such-program was not found" in error.message
    assert "secret-argument" not in f"{error.to_wire()}"


async def test_a_missing_path_is_named(agent: Agent, tmp_path: Path) -> None:
    error = refused(agent, "./tool", cwd=str(tmp_path))
    assert error.reason == "ExecutableNotFound"
    assert error.details["errno"] == errno.ENOENT


async def test_a_missing_interpreter_is_told_from_a_missing_executable(
    agent: Agent, tmp_path: Path
) -> None:
    script = tmp_path / "tool"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    error = refused(agent, "./tool", cwd=str(tmp_path))
    assert error.reason == "ExecutableNotFound"
    assert "interpreter" in error.message


async def test_a_file_that_is_not_executable_is_a_matter_of_permission(
    agent: Agent, tmp_path: Path
) -> None:
    (tmp_path / "tool").write_text("#!/bin/sh\n")
    error = refused(agent, str(tmp_path / "tool"))
    assert error.reason == "PermissionDenied"
    assert "chmod" in error.hint


async def test_a_file_that_is_no_program_is_told_so(agent: Agent, tmp_path: Path) -> None:
    (tmp_path / "tool").write_text("no program\n")
    (tmp_path / "tool").chmod(0o755)
    assert refused(agent, str(tmp_path / "tool")).reason == "ExecutableInvalid"


@pytest.mark.parametrize("tty", [None, (24, 80)])
async def test_a_missing_working_directory_is_named(
    agent: Agent, tmp_path: Path, tty: tuple[int, int] | None
) -> None:
    missing = str(tmp_path / "gone")
    error = refused(agent, "true", cwd=missing, tty=tty)
    assert error.reason == "WorkingDirectoryMissing"
    assert missing in error.message


async def test_a_file_as_working_directory_is_named(agent: Agent, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    error = refused(agent, "true", cwd=str(tmp_path / "file"))
    assert error.reason == "WorkingDirectoryMissing"
    assert "is not a directory" in error.message


@pytest.mark.parametrize(
    ("argv", "options", "field"),
    [
        ((), {}, "argv"),
        (("",), {}, "argv"),
        (("echo", "a\0b"), {}, "argv[1]"),
        (("true",), {"env": {"A=B": "1"}}, "env"),
        (("true",), {"env": {"SECRET": "hush\0"}}, "env['SECRET']"),
        (("true",), {"env": {"SECRET": "hush\ud800"}}, "env['SECRET']"),
        (("true",), {"cwd": "/\0"}, "cwd"),
        (("true",), {"tty": (24, 70_000)}, "tty"),
    ],
)
async def test_a_bad_request_names_its_field(
    agent: Agent, argv: tuple[str, ...], options: dict[str, Any], field: str
) -> None:
    error = refused(agent, *argv, **options)
    assert error.reason == "InvalidRequest"
    assert error.message.startswith(f"{field}:")
    assert "hush" not in f"{error.to_wire()}"


def is_running(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"
