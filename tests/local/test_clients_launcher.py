"""Clients that ignore provisioners: they spawn a kernelspec's argv with a connection file."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.connect import write_connection_file
from jupyter_client.kernelspec import KernelSpecManager

from tests.support.cells import finish, run, until_output
from tests.support.cli import gra, read_line, stop
from tests.support.kernels import connected
from tests.support.kernelspecs import KernelSpecs
from tests.support.places import Places
from tests.support.processes import until_ended
from tests.support.runners import Runners

# Starts the command in its arguments, says the command's pid, then waits to be killed.
_CLIENT_THAT_WAITS = """
import os, subprocess, sys, time
environment = {**os.environ, "JPY_PARENT_PID": str(os.getpid())}
print(subprocess.Popen(sys.argv[1:], env=environment).pid, flush=True)
time.sleep(1000)
"""


def _command(kernel_name: str, connection_file: Path) -> list[str]:
    """The kernelspec's argv, filled in as spawn scripts do."""
    argv: list[str] = KernelSpecManager().get_kernel_spec(kernel_name).argv
    filled = [word.replace("{connection_file}", str(connection_file)) for word in argv]
    return [sys.executable if word == "python" else word for word in filled]


@dataclass
class Launched:
    """The launcher and a client on the connection file that the client itself wrote."""

    process: subprocess.Popen[bytes]
    client: BlockingKernelClient
    log: Path


@contextmanager
def _launched(kernel_name: str, places: Places) -> Iterator[Launched]:
    connection_file = places.work / "own.json"
    write_connection_file(str(connection_file), ip="127.0.0.1", key=b"0123456789abcdef" * 4)
    log = places.root / "launcher.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            _command(kernel_name, connection_file), stdout=output, stderr=output, cwd=places.work
        )
    try:
        with connected(connection_file) as client:
            yield Launched(process, client, log)
    finally:
        stop(process, signal.SIGTERM, f"the launcher\n{log.read_text()}")


@pytest.fixture
def launched(kernel_name: str, places: Places) -> Iterator[Launched]:
    with _launched(kernel_name, places) as launcher:
        yield launcher


@pytest.mark.same_with_pods("the next test runs code too")
def test_a_spawned_kernelspec_runs_code(launched: Launched) -> None:
    assert run(launched.client, "print(6 * 7)").text == "42\n"


def test_sigint_to_the_spawned_process_interrupts_the_cell(launched: Launched) -> None:
    msg_id = launched.client.execute("print('going', flush=True)\nwhile True: pass")
    until_output(launched.client, "going")

    launched.process.send_signal(signal.SIGINT)

    assert finish(launched.client, msg_id).error["ename"] == "KeyboardInterrupt"
    assert run(launched.client, "print('alive')").text == "alive\n"


def test_a_shutdown_request_ends_the_spawned_process(launched: Launched, runners: Runners) -> None:
    launched.client.shutdown()

    assert launched.process.wait(timeout=30) == 0
    runners.until_none("the spawned kernel's runner")


def test_sigterm_ends_the_spawned_process_and_its_kernel(
    launched: Launched, runners: Runners
) -> None:
    launched.process.send_signal(signal.SIGTERM)

    assert launched.process.wait(timeout=30) != 0
    runners.until_none("the spawned kernel's runner")


@pytest.mark.gra_only
@pytest.mark.same_with_pods("else the other tests would fail")
def test_a_spawned_kernel_is_a_runner(launched: Launched, runners: Runners) -> None:
    parent = int(run(launched.client, "import os; print(os.getppid())").text)

    assert parent == runners.agent_pid
    assert runners.has(parent)


@pytest.mark.gra_only
@pytest.mark.same_with_pods("the agent tells the code")
def test_the_spawned_process_ends_with_the_kernels_exit_code(launched: Launched) -> None:
    launched.client.execute("import os; os._exit(7)")

    assert launched.process.wait(timeout=30) == 7


def test_a_kernel_ends_when_the_client_that_spawned_it_is_killed(
    kernel_name: str, places: Places, runners: Runners
) -> None:
    connection_file = places.work / "own.json"
    write_connection_file(str(connection_file), ip="127.0.0.1", key=b"0123456789abcdef" * 4)
    with subprocess.Popen(
        [sys.executable, "-c", _CLIENT_THAT_WAITS, *_command(kernel_name, connection_file)],
        stdout=subprocess.PIPE,
        bufsize=0,
    ) as spawner:
        assert spawner.stdout is not None
        launcher = int(read_line(spawner.stdout, "the pid of the launcher"))
        try:
            with connected(connection_file) as client:
                assert run(client, "print('up')").text == "up\n"
        finally:
            spawner.kill()

        until_ended(launcher, "the launcher of a killed client")
    runners.until_none("the runner of a killed client")


@pytest.mark.gra_only
@pytest.mark.same_with_pods("a TTL is the agent's")
def test_a_killed_launcher_leaves_a_runner_that_ends_by_its_orphan_ttl(
    places: Places, kernelspecs: KernelSpecs, runners: Runners
) -> None:
    places.write_profiles('[profiles.quick]\nextends = "small"\n[profiles.quick.ttl]\norphan = 2\n')
    kernelspecs.write("quick", config={"profile": "quick"})
    with _launched("quick", places) as launcher:
        name, agent = runners.only(), runners.agent_pid
        kernel = int(run(launcher.client, "import os; print(os.getpid())").text)

        launcher.process.kill()
        launcher.process.wait()

        runners.until_ended(agent, "the agent, by its orphan TTL,")
        runners.until_ended(kernel, "the kernel of an ended runner")
    assert gra("delete", name).returncode == 0


@pytest.mark.gra_only
@pytest.mark.same_with_pods("no runner is made")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--profile", "smal"), ("smal", "small")),
        (("--profile", "small", "-f", "/nowhere/at/all.json"), ("/nowhere/at/all.json",)),
    ],
    ids=["unknown profile", "missing connection file"],
)
def test_a_wrong_argument_of_the_launcher_is_explained(
    arguments: tuple[str, ...], words: tuple[str, ...], places: Places
) -> None:
    connection_file = places.work / "own.json"
    info: dict[str, Any] = {"ip": "127.0.0.1", "key": b"k" * 64}
    write_connection_file(str(connection_file), **info)
    given = arguments if "-f" in arguments else (*arguments, "-f", str(connection_file))

    result = subprocess.run(
        [sys.executable, "-m", "gra_provisioner", "kernel", *given],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "NO_COLOR": "1"},
    )

    assert result.returncode != 0
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in result.stderr
    assert json.loads(connection_file.read_text())["key"] not in result.stderr
