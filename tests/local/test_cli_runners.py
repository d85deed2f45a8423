"""``gra list``, ``gra get`` and ``gra delete`` with real runners."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pexpect
import pytest

from tests.support.cli import GRA, gra, gra_json
from tests.support.kernels import StartedKernel
from tests.support.places import Places
from tests.support.runners import Runners

pytestmark = pytest.mark.gra_only

_TIMEOUT = 60

_SAME = pytest.mark.same_with_pods("all commands look for it in one way")


@pytest.mark.local_only("that it isolates nothing is said of the local backend only")
def test_without_runners_the_list_says_so_and_where_they_would_be() -> None:
    result = gra("list")

    assert result.returncode == 0
    first, second = result.stdout.splitlines()
    assert first.startswith("no runners of ")
    assert gra("list", "--all").stdout.splitlines()[0] == "no runners"
    assert second.startswith("Backend: local")
    assert "isolates nothing" in second
    assert gra_json("list") == []


def test_a_kernel_is_listed_as_a_runner(
    start_kernel: Callable[..., StartedKernel], runners: Runners
) -> None:
    start_kernel(env={**os.environ, "JPY_SESSION_NAME": "work/penguins.ipynb"})

    header, line, _ = gra("list").stdout.splitlines()

    columns = ["NAME", "PROFILE", "STATUS", "KERNEL", "AGE", "CPU", "MEMORY", "NOTEBOOK"]
    assert header.split() == columns
    assert line.split()[:3] == ["runner-1", "small", "running"]
    assert line.split()[-1] == "work/penguins.ipynb"
    (runner,) = gra_json("list")
    assert runner["name"] == "runner-1"
    assert runner["status"] == "running"
    assert runner["notebook"] == "work/penguins.ipynb"
    assert runner["uid"] == runners.uids()["runner-1"]


def test_one_runner_is_shown_with_all_that_is_known(
    kernel: StartedKernel, runners: Runners
) -> None:
    runner = gra_json("get", "runner-1")

    backend_reason = runner.pop("backend_reason")
    assert runner == {**gra_json("list")[0], **{name: runner[name] for name in ("usage", "kernel")}}
    assert runner["kernel_id"] == kernel.manager.kernel_id
    assert runner["profile"] == "small"
    text = gra("get", "runner-1").stdout
    for known in ("runner-1", runner["uid"], kernel.manager.kernel_id, "small", "running"):
        assert known in text
    assert f"{runners.backend} ({backend_reason}" in text


@pytest.mark.same_with_pods("the deletion of all lists several too")
def test_runners_are_listed_by_number(start_kernel: Callable[..., StartedKernel]) -> None:
    for _ in range(3):
        start_kernel()
    assert [runner["name"] for runner in gra_json("list")] == ["runner-1", "runner-2", "runner-3"]


def test_a_deleted_runner_is_gone_with_its_kernel(kernel: StartedKernel, runners: Runners) -> None:
    pid = kernel.pid()

    result = gra("delete", "runner-1")

    assert (result.returncode, result.stdout) == (0, "runner-1 deleted\n")
    assert gra_json("list") == []
    runners.until_ended(pid, "the kernel of the deleted runner")
    assert runners.uids() == {}


@pytest.mark.same_with_pods("the command looks at each runner by itself")
def test_what_can_be_deleted_is_and_the_rest_is_an_error(kernel: StartedKernel) -> None:
    result = gra("delete", "runner-1", "runner-77", "--json")

    assert result.returncode == 3
    assert json.loads(result.stdout) == {"deleted": ["runner-1"]}
    error = json.loads(result.stderr)
    assert error["reason"] == "RunnerNotFound"
    assert "runner-77" in error["message"]


def test_all_runners_are_deleted_at_once(start_kernel: Callable[..., StartedKernel]) -> None:
    start_kernel()
    start_kernel()

    result = gra("delete", "--all", "--yes")

    assert result.returncode == 0
    assert result.stdout.splitlines() == ["runner-1 deleted", "runner-2 deleted"]
    assert gra_json("list") == []


@pytest.mark.same_with_pods("nothing is done")
def test_deleting_all_of_none_is_no_error() -> None:
    result = gra("delete", "--all", "--yes")
    assert (result.returncode, result.stdout) == (0, "nothing deleted\n")


def _ask_to_delete_all(answer: str) -> int:
    terminal = pexpect.spawn(
        sys.executable, [*GRA[1:], "delete", "--all"], encoding="utf-8", timeout=_TIMEOUT
    )
    try:
        terminal.expect_exact("Delete runner-1?")
        terminal.sendline(answer)
        terminal.expect(pexpect.EOF)
        terminal.wait()
    finally:
        terminal.close(force=True)
    return int(terminal.exitstatus)


@pytest.mark.same_with_pods("the question is the same")
def test_deleting_all_asks_on_a_terminal(kernel: StartedKernel) -> None:
    assert _ask_to_delete_all("n") == 1
    assert kernel.run("print('alive')").text == "alive\n"
    assert _ask_to_delete_all("y") == 0
    assert gra_json("list") == []


@pytest.mark.parametrize(
    "command", ["get", pytest.param("delete", marks=_SAME), pytest.param("attach", marks=_SAME)]
)
def test_an_unknown_runner_is_an_error_that_says_what_to_do(command: str) -> None:
    result = gra(command, "runner-77")

    assert result.returncode == 3
    assert result.stderr.startswith("Error: ")
    assert "runner-77" in result.stderr
    assert "Traceback" not in result.stderr

    result = gra(command, "runner-77", "--json")
    assert result.returncode == 3
    assert json.loads(result.stderr)["reason"] == "RunnerNotFound"


@pytest.mark.same_with_pods("no runner is made")
def test_a_wrong_configuration_is_named_with_its_file(places: Places) -> None:
    places.write_profiles('[profiles.quick.ttl]\norphan = "soon"\n')

    result = gra("list", "--json")

    assert result.returncode == 2
    error = json.loads(result.stderr)
    assert error["reason"] == "InvalidConfiguration"
    file = Path(places.config, "gra", "config.toml")
    assert error["message"].startswith(f'{file}: profiles.quick.ttl.orphan is "soon", must be ')
