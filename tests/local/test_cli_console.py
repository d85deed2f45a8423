"""``gra console`` in a terminal."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import pytest

from tests.support.cli import GRA, gra, gra_json
from tests.support.places import Places
from tests.support.runners import Runners

_TIMEOUT = 60
# With the simple prompt of jupyter_console's own tests.
_PROMPT = r"In \[\d+\]: "
_FULL_PROMPT = r"In \[.*\d+.*\]: "

Open = Callable[..., pexpect.spawn]


@pytest.fixture
def runner() -> Iterator[str]:
    """The name of a runner with a kernel."""
    name: str = gra_json("create")["name"]
    yield name
    gra("delete", name)


@pytest.fixture
def spawn(places: Places) -> Iterator[Open]:
    """Start ``gra console …`` in a pseudo-terminal of its own."""
    terminals: list[pexpect.spawn] = []

    def start(*arguments: str, simple_prompt: bool = True, **environment: str) -> pexpect.spawn:
        if simple_prompt:
            environment["JUPYTER_CONSOLE_TEST"] = "1"
        terminal = pexpect.spawn(
            sys.executable,
            [*GRA[1:], "console", *arguments],
            env={
                **os.environ,
                "PROMPT_TOOLKIT_NO_CPR": "1",
                "TERM": "xterm",
                "NO_COLOR": "1",
                **environment,
            },
            cwd=str(places.work),
            encoding="utf-8",
            timeout=_TIMEOUT,
            dimensions=(40, 200),
        )
        terminals.append(terminal)
        return terminal

    yield start
    for terminal in terminals:
        terminal.close(force=True)


def _ended(terminal: pexpect.spawn) -> int:
    """The exit code, once it is there."""
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus is not None, f"it died of signal {terminal.signalstatus}"
    return int(terminal.exitstatus)


def _connection_files(places: Places) -> list[Path]:
    return list(places.runtime.glob("kernel-*.json"))


def test_a_console_is_left_and_the_runner_goes_on(runner: str, spawn: Open, places: Places) -> None:
    terminal = spawn(runner)
    terminal.expect(_PROMPT)
    (file,) = _connection_files(places)
    assert file.stat().st_mode & 0o777 == 0o600
    terminal.sendline("answer = 6 * 7")
    terminal.expect(_PROMPT)
    terminal.sendline("exit")
    terminal.expect_exact(f"{runner} goes on.")
    assert _ended(terminal) == 0
    assert _connection_files(places) == []

    again = spawn(runner)
    again.expect(_PROMPT)
    again.sendline("answer")
    again.expect(r"Out\[\d+\]: 42")
    again.expect(_PROMPT)
    # One end of input asks whether to leave, the second says so.
    again.sendeof()
    again.sendeof()
    assert _ended(again) == 0
    assert gra_json("get", runner)["kernel"] == "idle"


def test_control_c_interrupts_a_running_cell_and_nothing_else(runner: str, spawn: Open) -> None:
    terminal = spawn(runner)
    terminal.expect(_PROMPT)
    terminal.sendline("answer = 42; print('go' + 'ing', flush=True); import time; time.sleep(1000)")
    terminal.expect("going")
    terminal.sendintr()
    terminal.expect("KeyboardInterrupt")
    assert "Cannot interrupt" not in terminal.before
    terminal.expect(_PROMPT)
    terminal.sendline("answer")
    terminal.expect(r"Out\[\d+\]: 42")
    terminal.expect(_PROMPT)
    terminal.sendline("exit")
    assert _ended(terminal) == 0


@pytest.mark.same_with_pods("a key for the console")
def test_control_c_at_the_prompt_is_the_consoles(runner: str, spawn: Open) -> None:
    # The prompt that people have.
    terminal = spawn(runner, simple_prompt=False)
    terminal.expect(_FULL_PROMPT)
    terminal.send("unfinished")
    terminal.expect("unfinished")
    terminal.sendintr()
    terminal.send("6 * 7\r")
    terminal.expect("42")
    terminal.expect(_FULL_PROMPT)
    terminal.send("exit\r")
    terminal.expect_exact(f"{runner} goes on.")
    assert _ended(terminal) == 0


def test_the_end_of_the_kernel_ends_the_console_with_its_reason(
    runner: str, spawn: Open, places: Places
) -> None:
    terminal = spawn(runner)
    terminal.expect(_PROMPT)
    terminal.sendline("import os; os._exit(3)")
    terminal.expect("Error: The kernel exited with code 3")
    terminal.expect("Reason: KernelDied")
    assert _ended(terminal) == 6
    assert _connection_files(places) == []


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.same_with_pods("signals are those of this machine")
def test_a_signal_ends_the_console_and_leaves_the_runner(
    runner: str, spawn: Open, places: Places, signum: signal.Signals
) -> None:
    terminal = spawn(runner)
    terminal.expect(_PROMPT)
    os.kill(terminal.pid, signum)
    assert _ended(terminal) == 128 + signum
    assert _connection_files(places) == []
    assert gra_json("get", runner)["kernel"] == "idle"


def test_a_runner_without_a_kernel_has_no_console(spawn: Open, runners: Runners) -> None:
    name: str = gra_json("create", "--no-kernel")["name"]
    terminal = spawn(name)
    terminal.expect(re.escape("Error: "))
    terminal.expect("Reason: NoKernel")
    assert _ended(terminal) == 1
    gra("delete", name)


@pytest.mark.same_with_pods("no runner is asked for")
def test_a_runner_that_is_not_there_is_said_so(spawn: Open) -> None:
    terminal = spawn("runner-99")
    terminal.expect("Reason: RunnerNotFound")
    assert _ended(terminal) == 3


@pytest.mark.same_with_pods("no runner is asked for")
def test_without_a_terminal_there_is_no_console() -> None:
    done = gra("console", "runner-1")
    assert done.returncode == 2
    assert "needs a terminal" in done.stderr


@pytest.mark.same_with_pods("no runner is asked for")
def test_a_missing_console_is_named_with_the_package(spawn: Open, places: Places) -> None:
    # An import of it fails as where it is not installed.
    (places.work / "sitecustomize.py").write_text(
        "import importlib.util\n"
        "find_spec = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *more: (\n"
        "    None if name == 'jupyter_console' else find_spec(name, *more)\n"
        ")\n"
    )
    terminal = spawn("runner-1", PYTHONPATH=str(places.work))
    terminal.expect("Reason: ConsoleMissing")
    terminal.expect(r"Hint: Install it: .*pip install jupyter-console")
    assert _ended(terminal) == 1
