"""``jupyter console`` in a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pexpect
import pytest

from tests.support.places import Places

_TIMEOUT = 60


@pytest.fixture
def console(kernel_name: str, places: Places) -> Iterator[pexpect.spawn]:
    """``jupyter console`` at its first prompt, in a pseudo-terminal."""
    # The simple prompt of jupyter_console's own tests: lines without cursor movements.
    environment = {**os.environ, "JUPYTER_CONSOLE_TEST": "1", "PROMPT_TOOLKIT_NO_CPR": "1"}
    terminal = pexpect.spawn(
        sys.executable,
        ["-m", "jupyter_console", "--colors=NoColor", "--kernel", kernel_name],
        env=environment,
        cwd=str(places.work),
        encoding="utf-8",
        timeout=_TIMEOUT,
        dimensions=(40, 200),
    )
    try:
        terminal.expect(r"In \[\d+\]")
        yield terminal
    finally:
        terminal.close(force=True)


def _leave(terminal: pexpect.spawn) -> None:
    # One end of input asks whether to leave, the second says so.
    terminal.sendeof()
    terminal.sendeof()
    terminal.expect(pexpect.EOF)


def test_the_console_runs_code_and_ends_with_its_kernel(console: pexpect.spawn) -> None:
    console.sendline("6 * 7")
    console.expect(r"Out\[\d+\]: 42")
    console.expect(r"In \[\d+\]")
    console.sendline("print('one' + 'line')")
    console.expect("oneline")
    console.expect(r"In \[\d+\]")
    _leave(console)


def test_the_console_interrupts_a_running_cell_by_control_c(console: pexpect.spawn) -> None:
    console.sendline("print('go' + 'ing', flush=True); import time; time.sleep(1000)")
    console.expect("going")
    console.sendintr()
    console.expect("KeyboardInterrupt")
    console.expect(r"In \[\d+\]")
    console.sendline("6 * 7")
    console.expect(r"Out\[\d+\]: 42")
    _leave(console)


@pytest.mark.same_with_pods("input is a message as any other")
def test_the_console_answers_input(console: pexpect.spawn) -> None:
    console.sendline("'hello ' + input('who? ')")
    console.expect(r"who\? ")
    console.sendline("world")
    console.expect("'hello world'")
    _leave(console)
