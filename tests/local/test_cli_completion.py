"""``gra completion``: what a real shell makes of Tab."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from tests.support.cli import gra
from tests.support.places import Places
from tests.support.runners import Runners

_TIMEOUT = 30
# What shells say where there is nothing to complete.
_BELL = "\a*"

# The shell without the user's own settings, and how it takes up the script.
_SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], 'eval "$(gra completion bash)"'),
    "zsh": (
        ["zsh", "-f", "-i"],
        'autoload -Uz compinit && compinit -D -u && eval "$(gra completion zsh)"',
    ),
    "fish": (["fish", "--no-config", "-i"], "gra completion fish | source"),
}


@pytest.fixture(params=_SHELLS)
def shell(request: pytest.FixtureRequest, places: Places) -> Iterator[pexpect.spawn]:
    """An interactive shell in an empty folder that has taken up the script."""
    command, take_up = _SHELLS[request.param]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    terminal = pexpect.spawn(
        command[0],
        command[1:],
        env={**os.environ, "PATH": path, "TERM": "dumb"},
        cwd=str(places.work),
        encoding="utf-8",
        timeout=_TIMEOUT,
        dimensions=(40, 200),
    )
    try:
        terminal.sendline(f"{take_up} && echo re''ady")
        terminal.expect("ready")
        yield terminal
    finally:
        terminal.close(force=True)


@pytest.mark.same_with_pods("no runner is asked for")
@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("gra del", "gra delete "),
        ("gra create --no-k", "gra create --no-kernel "),
        ("gra create --profile me", "gra create --profile medium "),
        ("gra kernelspec rem", "gra kernelspec remove "),
        ("gra kernelspec remove gra-l", "gra kernelspec remove gra-large "),
        ("gra completion f", "gra completion fish "),
    ],
)
def test_commands_options_and_names_are_completed(
    shell: pexpect.spawn, typed: str, completed: str
) -> None:
    shell.send(f"{typed}\t")
    shell.expect_exact(completed)


def test_the_names_of_runners_are_completed(shell: pexpect.spawn, runners: Runners) -> None:
    assert gra("create", "--no-kernel").returncode == 0
    name = runners.only()
    try:
        shell.send("gra get run\t")
        shell.expect_exact(f"gra get {name} ")
        shell.sendline()
        shell.expect(rf"Name +{name}")
        shell.send("gra delete run\t")
        shell.expect_exact(f"gra delete {name} ")
        # One that stands there is not proposed once more.
        shell.send("run\t--yes")
        shell.expect(f"run{_BELL}--yes")
    finally:
        assert gra("delete", name).returncode == 0


@pytest.mark.same_with_pods("the configuration is read before a backend is chosen")
def test_nothing_is_written_into_the_line_where_names_cannot_be_had(
    shell: pexpect.spawn, places: Places
) -> None:
    places.write_profiles("[profiles.small]\ncpu = 'many'\n")
    for typed in ("gra get run", "gra create --profile sm"):
        shell.send(f"{typed}\t--json")
        shell.expect(f"{typed}{_BELL}--json")
        shell.sendintr()


@pytest.mark.same_with_pods("no runner is asked for")
def test_the_script_is_all_that_is_printed() -> None:
    done = gra("completion", "bash")
    assert (done.returncode, done.stderr) == (0, "")
    assert "complete" in done.stdout
    assert gra("completion", "nosh").returncode == 2
