"""``gra attach``: a running kernel for other clients on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pexpect
import pytest
from jupyter_client.blocking.client import BlockingKernelClient

from tests.support.cells import finish, run, until_output
from tests.support.cli import GRA, attached, gra, gra_json, read_line, stop
from tests.support.kernels import START_TIMEOUT, StartedKernel
from tests.support.places import Places

pytestmark = pytest.mark.gra_only

_TIMEOUT = 60


@contextmanager
def _client(connection_file: str | Path) -> Iterator[BlockingKernelClient]:
    client = BlockingKernelClient(connection_file=str(connection_file))
    client.load_connection_file()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=START_TIMEOUT)
        yield client
    finally:
        client.stop_channels()


@dataclass
class Attached:
    """``gra attach`` as people run it."""

    process: subprocess.Popen[bytes]
    path: Path
    command: str


@contextmanager
def _attached(*options: str) -> Iterator[Attached]:
    with subprocess.Popen(
        [*GRA, "attach", "runner-1", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
    ) as process:
        try:
            assert process.stdout is not None
            path = read_line(process.stdout, "the connection file's path").rstrip("\n")
            command = read_line(process.stdout, "the command for a console").rstrip("\n")
            yield Attached(process, Path(path), command)
        finally:
            stop(process, signal.SIGINT, "gra attach")


def test_another_client_finds_the_variables(kernel: StartedKernel) -> None:
    kernel.run("answer = 42")

    with attached("runner-1") as said, _client(said["connection_file"]) as client:
        assert said["runner"] == "runner-1"
        assert run(client, "print(answer)").text == "42\n"
        assert run(client, "answer += 1").status == "ok"
    assert kernel.run("print(answer)").text == "43\n"


@pytest.mark.same_with_pods("a file of this machine")
def test_the_connection_file_is_the_owners_and_gone_after_control_c(
    kernel: StartedKernel, places: Places
) -> None:
    with _attached() as attach:
        assert attach.path == places.runtime / "kernel-runner-1.json"
        assert attach.path.stat().st_mode & 0o777 == 0o600
        assert attach.command == f"jupyter console --existing {attach.path}"

        assert stop(attach.process, signal.SIGINT, "gra attach") == 0
        assert not attach.path.exists()
    assert kernel.run("print('alive')").text == "alive\n"
    assert gra_json("get", "runner-1")["status"] == "running"


@pytest.mark.same_with_pods("it ends as by Control-C")
def test_sigterm_ends_it_without_a_trace(kernel: StartedKernel) -> None:
    with _attached() as attach:
        assert stop(attach.process, signal.SIGTERM, "gra attach") == 143
        assert not attach.path.exists()
    assert kernel.run("print('alive')").text == "alive\n"


@pytest.mark.same_with_pods("a file of this machine")
def test_the_connection_file_can_be_named(kernel: StartedKernel, places: Places) -> None:
    path = places.work / "own file.json"

    with _attached("-f", str(path)) as attach, _client(path) as client:
        assert attach.path == path
        assert attach.command == f"jupyter console --existing '{path}'"
        assert run(client, "print('here')").text == "here\n"
    assert not path.exists()


@pytest.mark.same_with_pods("each has a tunnel of its own")
def test_two_can_be_attached_at_once(kernel: StartedKernel, places: Places) -> None:
    with (
        _attached("-f", str(places.work / "1.json")) as first,
        _attached("-f", str(places.work / "2.json")) as second,
        _client(first.path) as one,
        _client(second.path) as two,
    ):
        run(one, "shared = 'by one'")
        assert run(two, "print(shared)").text == "by one\n"


@pytest.mark.same_with_pods("the kernel tells all its clients")
def test_an_attached_client_sees_what_others_run(kernel: StartedKernel) -> None:
    with attached("runner-1") as said, _client(said["connection_file"]) as client:
        msg_id = kernel.client.execute("print('for all')")
        until_output(client, "for all")
        assert finish(kernel.client, msg_id).text == "for all\n"


@pytest.mark.same_with_pods("a client as the others")
def test_a_console_attaches_with_the_printed_command(kernel: StartedKernel) -> None:
    kernel.run("answer = 42")
    with _attached() as attach:
        terminal = pexpect.spawn(
            sys.executable,
            ["-m", "jupyter_console", "--colors=NoColor", *attach.command.split()[2:]],
            env={**os.environ, "JUPYTER_CONSOLE_TEST": "1", "PROMPT_TOOLKIT_NO_CPR": "1"},
            encoding="utf-8",
            timeout=_TIMEOUT,
            dimensions=(40, 200),
        )
        try:
            terminal.expect(r"In \[\d+\]")
            terminal.sendline("answer + 1")
            terminal.expect(r"Out\[\d+\]: 43")
        finally:
            terminal.close(force=True)
    assert kernel.run("print(answer)").text == "42\n"


def test_it_ends_and_says_so_when_the_runner_is_deleted(kernel: StartedKernel) -> None:
    with _attached() as attach:
        assert gra("delete", "runner-1").returncode == 0

        _, errors = attach.process.communicate(timeout=_TIMEOUT)

        assert attach.process.returncode == 6
        assert "Error: " in errors.decode()
        assert "Traceback" not in errors.decode()
        assert not attach.path.exists()


@pytest.mark.same_with_pods("a file of this machine")
def test_a_connection_file_that_cannot_be_written_is_an_error(
    kernel: StartedKernel, places: Places
) -> None:
    (places.work / "file").touch()

    result = gra("attach", "runner-1", "-f", str(places.work / "file" / "x.json"))

    assert result.returncode == 1
    assert result.stderr.startswith("Error: the connection file ")
    assert kernel.run("print('alive')").text == "alive\n"
