"""What the command line prints and accepts, without any runner."""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.console import Console
from rich.table import Table
from typer.testing import CliRunner

from gra_provisioner import __version__
from gra_provisioner.cli.app import COMMANDS, app
from gra_provisioner.cli.connection_file import connection_file, read_connection_file
from gra_provisioner.cli.output import (
    backend_line,
    print_error,
    runner_details,
)
from gra_provisioner.cli.stopping import Stop, Stopper
from gra_provisioner.cli.usage import wants_json
from gra_provisioner.errors import ConfigError, GraError, RunnerNotFound
from tests.support.sample_runners import BARE, FULL, NOW


def _lines(table: Table, width: int = 200) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width).print(table)
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_details_leave_out_what_is_not_known() -> None:
    assert _lines(runner_details(BARE, NOW)) == [
        "Name     runner-22",
        "UID      u2",
        "Backend  local",
        "Profile  large",
        "Status   lost",
        "Message  The process is gone.",
        "Kernel   unknown",
        "Owner    me",
        "Age      2d",
        "CPU      -",
        "Memory   -",
    ]


def test_details_say_why_the_backend_was_chosen() -> None:
    lines = _lines(runner_details(FULL, NOW, "no cluster is configured."))
    assert "Backend       local (no cluster is configured)" in lines


def test_the_local_backend_says_that_it_isolates_nothing() -> None:
    line = backend_line("local", "No cluster is configured.")
    assert line.startswith("Backend: local (No cluster is configured).")
    assert "isolates nothing" in line
    assert "isolates" not in backend_line("kubernetes", "")


def test_an_error_is_for_people_or_for_programs(capfd: pytest.CaptureFixture[str]) -> None:
    error = RunnerNotFound("There is no runner-9.", hint="gra list shows all.", details={"a": 1})

    print_error(error, as_json=False)
    assert capfd.readouterr().err.splitlines() == [
        "Error: There is no runner-9.",
        "Reason: RunnerNotFound",
        "Hint: gra list shows all.",
    ]
    print_error(error, as_json=True)
    assert json.loads(capfd.readouterr().err) == {
        "reason": "RunnerNotFound",
        "message": "There is no runner-9.",
        "hint": "gra list shows all.",
        "details": {"a": 1},
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["delete"], "Name the runners to delete, or use --all."),
        (["delete", "runner-1", "--all"], "Name the runners to delete, or use --all."),
        (["delete", "--all"], "--all needs --yes"),
        (["delete", "runner-1", "--grace", "-1"], "--grace"),
        (["kernel"], "--file"),
        (["kernelspec", "install", "--user", "--sys-prefix"], "Choose one of"),
        (["lst"], "lst"),
    ],
)
def test_wrong_usage_is_explained_with_exit_code_2(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200", "NO_COLOR": "1"})

    assert result.exit_code == 2
    assert message in result.stderr


def test_help_ends_with_the_exit_codes() -> None:
    result = CliRunner().invoke(app, ["--help"])
    codes = {kind.exit_code for kind in _all_kinds(GraError)} | {0, 130, 143}

    table = result.stdout.split("Exit codes:")[1]
    assert codes <= {int(word) for word in table.split() if word.isdigit()}


def test_the_short_help_of_a_command_is_the_beginning_of_its_own() -> None:
    group: Any = typer.main.get_command(app)
    assert list(group.commands) == list(COMMANDS)
    for name, (_, short_help) in COMMANDS.items():
        own = group.commands[name].load()
        assert short_help == own.help.partition("\n\n")[0].replace("\n", " "), name


def test_a_commands_help_is_in_paragraphs_and_panels() -> None:
    result = CliRunner().invoke(app, ["create", "--help"], env={"COLUMNS": "80"})

    assert (
        "  Phases are shown on stderr as they begin. Ctrl-C gives up, and leaves nothing\n"
        "  behind." in result.stdout
    )
    options, launch = result.stdout.split("\nLaunch:\n")
    assert "  --profile PROFILE " in options.split("\nOptions:\n")[1]
    assert launch.startswith("  --image IMAGE ")


MAIN = """
import sys
from gra_provisioner.cli.app import main
from tests.support.sample_runners import BARE, FULL, NOW
try:
    main()
finally:
    print("\\nimported:", *sys.modules)
"""


def test_help_and_the_version_need_not_import_much() -> None:
    heavy = {"pydantic", "jupyter_client", "aiohttp", "kubernetes", "rich", "asyncio"}
    modules = {f"gra_provisioner.cli.{place.partition(':')[0]}" for place, _ in COMMANDS.values()}
    # The names that a shell completes are part of the options that many commands have.
    own = {"gra_provisioner.cli.version", "gra_provisioner.cli.completion"}
    for arguments, wanted in ((["--help"], set()), (["version"], own)):
        done = subprocess.run(
            [sys.executable, "-c", MAIN, *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        imported = set(done.stdout.rpartition("imported:")[2].split())
        assert "gra_provisioner.cli.app" in imported
        assert imported & (heavy | modules) == wanted


def _all_kinds(root: type[GraError]) -> list[type[GraError]]:
    return [root, *(kind for child in root.__subclasses__() for kind in _all_kinds(child))]


def test_the_version_is_shown() -> None:
    assert CliRunner().invoke(app, ["--version"]).stdout == f"gra {__version__}\n"
    assert (
        json.loads(CliRunner().invoke(app, ["version", "--json"]).stdout)["version"] == __version__
    )


# Connection files.

INFO = {
    "transport": "tcp",
    "ip": "127.0.0.1",
    "key": "s3cret",
    "shell_port": 1,
    "iopub_port": 2,
    "stdin_port": 3,
    "control_port": 4,
    "hb_port": 5,
}


def test_a_connection_file_is_the_owners_and_gone_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "runtime" / "kernel-runner-1.json"

    with connection_file(path, INFO):
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700
        assert read_connection_file(path) == INFO
    assert list(path.parent.iterdir()) == []


def test_a_connection_file_that_another_has_replaced_stays(tmp_path: Path) -> None:
    path = tmp_path / "kernel.json"

    with connection_file(path, INFO):
        with connection_file(path, {**INFO, "hb_port": 6}):
            pass
        assert not path.exists()
        path.write_text("other")
    assert path.read_text() == "other"


def test_a_connection_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(GraError, match="cannot be written") as caught,
        connection_file(tmp_path / "file" / "kernel.json", INFO),
    ):
        pytest.fail("there is no such folder")
    assert caught.value.code == "ConnectionFileNotWritable"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "is not a JSON object"),
        (json.dumps({**INFO, "transport": "ipc"}), "transport 'ipc'"),
        (json.dumps({**INFO, "curve_publickey": "x"}), "CURVE"),
        (json.dumps({**INFO, "hb_port": 0}), "hb_port 0, must be a port"),
        (json.dumps({**INFO, "hb_port": True}), "hb_port True, must be a port"),
        (json.dumps({**INFO, "ip": None}), "no ip"),
        (json.dumps({name: value for name, value in INFO.items() if name != "key"}), "no key"),
    ],
)
def test_a_clients_wrong_connection_file_is_named_without_its_key(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "kernel.json"
    path.write_text(text)

    with pytest.raises(ConfigError) as caught:
        read_connection_file(path)

    assert message in caught.value.message
    assert str(path) in caught.value.message
    assert "s3cret" not in str(caught.value)
    assert caught.value.__context__ is None


# Work that is asked to end.

STOP = Stop("SIGTERM", 143)


async def test_work_that_ends_by_itself_gives_its_result() -> None:
    assert await Stopper().until(asyncio.sleep(0, "done")) == "done"


async def test_work_is_cancelled_and_waited_for_when_the_end_is_asked_for() -> None:
    stopper = Stopper()
    steps: list[str] = []

    async def work() -> None:
        stopper.request(STOP)
        stopper.request(Stop("too late", 1))
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            steps.append("cleaned up")

    assert await stopper.until(work()) is STOP
    assert steps == ["cleaned up"]


async def test_work_that_gets_done_in_spite_of_being_cancelled_counts() -> None:
    stopper = Stopper()

    async def work() -> str:
        stopper.request(STOP)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "done"
        return "never"

    assert await stopper.until(work()) == "done"


async def test_what_goes_wrong_while_cleaning_up_is_raised() -> None:
    stopper = Stopper()

    async def work() -> None:
        stopper.request(STOP)
        try:
            await asyncio.Event().wait()
        finally:
            raise RunnerNotFound("gone")

    with pytest.raises(RunnerNotFound):
        await stopper.until(work())


# -- wrong usage, for programs ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "is_json"),
    [
        (["list", "--json"], True),
        (["list", "-o", "json"], True),
        (["list", "-ojson"], True),
        (["list", "--output", "json"], True),
        (["list", "--output=json"], True),
        (["exec", "--stream", "runner-1"], True),
        (["exec", "runner-1", "--", "gra", "list", "--json"], False),
        (["list", "-o", "yaml"], False),
        (["json"], False),
        ([], False),
    ],
)
def test_a_command_line_tells_whether_it_asks_for_json(words: list[str], is_json: bool) -> None:
    assert wants_json(words) is is_json


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["get", "--json"], "NAME"),
        (["lst", "--json"], "lst"),
        (["list", "--json", "--colour"], "--colour"),
        (["create", "--json", "--gpu", "x"], "--gpu"),
        (["delete", "--json"], "--all"),
        (["exec", "--stream", "--json", "runner-1", "--", "x"], "--stream"),
    ],
)
def test_wrong_usage_is_json_for_who_asks_for_json(words: list[str], said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gra_provisioner", *words],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert (done.returncode, done.stdout) == (2, "")
    error = json.loads(done.stderr)
    assert set(error) == {"reason", "message", "hint", "details"}
    assert error["reason"] == "WrongUsage"
    assert said in error["message"]
    assert "--help" in error["hint"]
