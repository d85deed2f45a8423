"""``gra exec``: commands and code in a runner, as a person, a script or a tool runs them."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pexpect
import pytest

from tests.support.cli import GRA, gra, read_line, stop
from tests.support.runners import Runners
from tests.support.waiting import until

pytestmark = pytest.mark.gra_only

_BOUND = 60.0
_CODE = pytest.mark.same_with_pods("what is made of the output is done here")
_AGENT = pytest.mark.same_with_pods("the agent does the same there")


@pytest.fixture
def runner(runners: Runners) -> Iterator[str]:
    """A runner without a kernel."""
    created = gra("create", "--no-kernel")
    assert created.returncode == 0, created.stderr
    name = created.stdout.strip()
    yield name
    assert gra("delete", name).returncode == 0


def _exec(
    *arguments: str, stdin: bytes | None = None, timeout: float = _BOUND
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*GRA, "exec", *arguments],
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        timeout=timeout,
        check=False,
    )


def _exec_json(*arguments: str, stdin: bytes | None = None) -> dict[str, Any]:
    done = _exec("--json", *arguments, stdin=stdin)
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["exit_code"] == done.returncode
    return found


def test_stdout_stderr_and_exit_code_are_the_commands_own(runner: str) -> None:
    done = _exec(runner, "--", "sh", "-c", "printf 'out\\n'; printf 'err\\n' >&2; exit 3")

    assert (done.returncode, done.stdout, done.stderr) == (3, b"out\n", b"err\n")


@_CODE
def test_a_command_that_is_killed_has_the_shells_exit_code(runner: str) -> None:
    assert _exec(runner, "--", "sh", "-c", "kill -9 $$").returncode == 137


def test_stdin_is_passed_on_only_when_asked_for(runner: str) -> None:
    assert _exec("-i", runner, "--", "cat", stdin=b"to the cat").stdout == b"to the cat"
    assert _exec(runner, "--", "cat", stdin=b"to nobody").stdout == b""


def test_code_comes_from_stdin_or_a_file_and_runs_with_the_runners_python(
    runner: str, tmp_path: Path
) -> None:
    said = _exec(runner, stdin=b"import sys; print(sys.argv[1:], 6 * 7)")
    assert (said.returncode, said.stdout) == (0, b"[] 42\n")

    script = tmp_path / "script.py"
    script.write_text("import sys; print('grüß', sys.argv[1:], file=sys.stderr); sys.exit(4)\n")
    said = _exec("--file", str(script), runner, "--", "one", "--two")
    assert said.returncode == 4
    assert said.stderr.decode() == "grüß ['one', '--two']\n"

    script.write_text("print(input() + input())")
    said = _exec("--file", str(script), "-i", runner, stdin=b"a\nb\n")
    assert said.stdout == b"ab\n"


@_AGENT
def test_variables_and_folder_are_set_for_the_command(
    runner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLOUR", "green")
    arguments = ["-e", "COLOUR", "-e", "SIZE=a=b", "--cwd", "/tmp", runner]

    said = _exec(*arguments, "--", "sh", "-c", "echo $COLOUR $SIZE $PWD")

    assert said.stdout == b"green a=b /tmp\n"


def test_json_has_all_that_came_of_it(runner: str) -> None:
    done = _exec_json(runner, "--", "sh", "-c", "printf 'grün\\n'; printf '\\377' >&2; exit 3")

    duration = done.pop("duration")
    assert 0 < duration < _BOUND
    assert done == {
        "runner": runner,
        "exit_code": 3,
        "signal": None,
        "timed_out": False,
        "stdout": {"text": "grün\n", "bytes": 6, "dropped": 0},
        "stderr": {"base64": "/w==", "bytes": 1, "dropped": 0},
    }


@_CODE
def test_json_keeps_both_ends_of_a_long_output(runner: str) -> None:
    done = _exec_json("--limit", "1Ki", runner, "--", "seq", "100000")

    text = done["stdout"]["text"]
    assert text.startswith("1\n2\n3\n")
    assert text.endswith("\n99999\n100000\n")
    assert f"[… {588_895 - 1024:,} bytes left out …]" in text
    assert (done["stdout"]["bytes"], done["stdout"]["dropped"]) == (588_895, 588_895 - 1024)


@_CODE
def test_errors_are_objects_for_those_who_want_json(runner: str) -> None:
    missing = _exec("--json", runner, "--", "no-such-program")
    assert missing.returncode == 1
    assert json.loads(missing.stderr)["reason"] == "ExecutableNotFound"

    nobody = _exec("--json", "runner-99", "--", "true")
    assert nobody.returncode == 3
    assert json.loads(nobody.stderr)["reason"] == "RunnerNotFound"


_MUCH = """
import random, sys
for block in range(100):
    sys.stdout.buffer.write(random.Random(block).randbytes(1 << 20))
"""


def test_a_hundred_megabytes_arrive_byte_by_byte(runner: str) -> None:
    process = subprocess.Popen(
        [*GRA, "exec", "--file", "-", runner], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(_MUCH.encode())
        process.stdin.close()
        received = hashlib.sha256()
        while block := process.stdout.read(1 << 20):
            received.update(block)
    assert process.returncode == 0
    expected = hashlib.sha256()
    for block_number in range(100):
        expected.update(random.Random(block_number).randbytes(1 << 20))
    assert received.digest() == expected.digest()


def test_a_large_stdin_goes_through_a_command_and_back(runner: str) -> None:
    data = random.Random(1).randbytes(20 << 20)
    assert _exec("-i", runner, "--", "cat", stdin=data).stdout == data


@_CODE
def test_a_reader_that_has_enough_ends_the_command(runner: str) -> None:
    """``gra exec runner-1 -- yes | head -1``."""
    process = subprocess.Popen(
        [*GRA, "exec", runner, "--", "sh", "-c", "trap '' PIPE; echo $$; exec yes"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    pid = int(read_line(process.stdout, "the command's pid"))
    process.stdout.close()

    assert process.wait(_BOUND) == 128 + signal.SIGPIPE
    until(lambda: not _runs(runner, pid), "the command to be hung up on")


def _runs(runner: str, pid: int) -> bool:
    """Whether the process with this id in the runner, which may have ids of its own, is there."""
    return _exec(runner, "--", "sh", "-c", f"kill -0 {pid}").returncode == 0


def _waiting(runner: str, on_interrupt: str) -> subprocess.Popen[bytes]:
    """A command that is ready, and waits for signals.

    In Python, because a shell may lose one that comes while it starts a process.
    """
    code = f"import signal, sys\nsignal.signal(signal.SIGINT, lambda *_: {on_interrupt})\n"
    code += "print('ready', flush=True)\nwhile True: signal.pause()"
    process = subprocess.Popen(
        [*GRA, "exec", runner, "--", "python3", "-c", code],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
    )
    assert process.stdout is not None
    assert read_line(process.stdout, "the command to be ready") == "ready\n"
    return process


def test_ctrl_c_goes_to_the_command(runner: str) -> None:
    with _waiting(runner, "(print('got it'), sys.exit(5))") as process:
        assert stop(process, signal.SIGINT, "the command to end") == 5
        assert process.stdout is not None
        assert process.stdout.read() == b"got it\n"


@_CODE
def test_the_third_ctrl_c_kills_a_command_that_ignores_it(runner: str) -> None:
    with _waiting(runner, "print('no', flush=True)") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.send_signal(signal.SIGINT)
        assert read_line(process.stdout, "the command's answer") == "no\n"
        process.send_signal(signal.SIGINT)
        assert read_line(process.stderr, "what one more does") == "Ctrl-C once more kills it.\n"
        assert stop(process, signal.SIGINT, "the command to be killed") == 137


@_AGENT
@pytest.mark.parametrize("as_json", [False, True], ids=["live", "json"])
def test_a_command_whose_time_is_over_is_ended_even_if_it_ignores_that(
    runner: str, as_json: bool
) -> None:
    script = "trap '' TERM; echo begun; while :; do sleep 0.1; done"
    arguments = ["--json"] if as_json else []

    done = _exec(*arguments, "--timeout", "1s", runner, "--", "sh", "-c", script)

    assert done.returncode == 124
    if as_json:
        found = json.loads(done.stdout)
        assert found["timed_out"]
        assert found["stdout"]["text"] == "begun\n"
    else:
        assert done.stdout == b"begun\n"


@_AGENT
def test_a_command_that_leaves_something_in_the_background_ends(runner: str) -> None:
    done = _exec(runner, "--", "sh", "-c", "sleep 1000 & echo $!")

    assert done.returncode == 0
    kill = f"kill {done.stdout.decode()}"
    assert _exec(runner, "--", "sh", "-c", kill).returncode == 0


def test_a_terminal_is_passed_through(runner: str) -> None:
    terminal = pexpect.spawn(
        sys.executable,
        [
            *GRA[1:],
            "exec",
            "-t",
            runner,
            "--",
            "sh",
            "-c",
            "stty size; read x; echo got $x; exit 6",
        ],
        encoding="utf-8",
        timeout=_BOUND,
        dimensions=(31, 97),
    )
    try:
        terminal.expect_exact("31 97")
        terminal.sendline("one line")
        terminal.expect_exact("got one line")
        terminal.expect(pexpect.EOF)
        terminal.wait()
    finally:
        terminal.close(force=True)
    assert terminal.exitstatus == 6


@_AGENT
def test_keys_such_as_ctrl_c_are_for_the_programs_terminal(runner: str) -> None:
    code = "import signal, sys\nprint('ready', flush=True)\ntry: signal.pause()\n"
    code += "except KeyboardInterrupt: sys.exit(7)"
    terminal = pexpect.spawn(
        sys.executable,
        [*GRA[1:], "exec", "-t", runner, "--", "python3", "-c", code],
        encoding="utf-8",
        timeout=_BOUND,
    )
    try:
        terminal.expect_exact("ready")
        terminal.sendcontrol("c")
        terminal.expect(pexpect.EOF)
        terminal.wait()
    finally:
        terminal.close(force=True)
    assert terminal.exitstatus == 7


@_AGENT
def test_many_commands_run_in_one_runner_at_once(runner: str) -> None:
    def one(number: int) -> bytes:
        return _exec(runner, "--", "sh", "-c", f"sleep 0.5; echo {number}").stdout

    with ThreadPoolExecutor(12) as pool:
        assert list(pool.map(one, range(12))) == [b"%d\n" % number for number in range(12)]


def test_a_command_whose_runner_is_deleted_says_so(runners: Runners) -> None:
    assert gra("create", "--no-kernel").stdout == "runner-1\n"
    with _waiting("runner-1", "None") as process:
        assert gra("delete", "runner-1").returncode == 0
        assert process.stderr is not None
        said = process.stderr.read().decode()
        # It was told of the end, or found nothing when it connected again.
        reasons = {"Reason: RunnerNotFound": 3, "Reason: RunnerEnded": 6}
        assert [code for reason, code in reasons.items() if reason in said] == [
            process.wait(_BOUND)
        ]
        assert "runner-1" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--timeout", "soon", "runner-1", "--", "true"], "--timeout"),
        (["--limit", "much", "runner-1", "--", "true"], "--limit"),
        (["-e", "=x", "runner-1", "--", "true"], "names no variable"),
        (["-e", "NOT_SET_HERE", "runner-1", "--", "true"], "NAME=VALUE"),
        (["-t", "runner-1", "--", "true"], "needs a terminal"),
        (["-t", "--json", "runner-1", "--", "true"], "--tty, --json or --stream"),
        (["-f", "-", "-i", "runner-1"], "either the code"),
        (["-f", "/no/such/file.py", "runner-1"], "/no/such/file.py: No such file"),
    ],
)
@pytest.mark.same_with_pods("nothing is asked of a runner")
def test_wrong_usage_is_told_by_the_option(arguments: list[str], said: str) -> None:
    done = _exec(*arguments)

    assert done.returncode == 2
    assert said in " ".join(done.stderr.decode().replace("│", " ").split())


# -- JSON lines --------------------------------------------------------------------------------


def _lines(output: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def test_a_stream_is_json_lines_with_the_end_in_the_last(runner: str) -> None:
    script = "echo h\u00e4; echo oops >&2; exit 4"
    done = _exec("--stream", runner, "--", "sh", "-c", script)
    *pieces, end = _lines(done.stdout)
    said = {
        name: "".join(piece["text"] for piece in pieces if piece["stream"] == name)
        for name in ("stdout", "stderr")
    }
    assert said == {"stdout": "h\u00e4\n", "stderr": "oops\n"}
    assert (done.returncode, end["exit_code"], end["signal"]) == (4, 4, None)
    assert (end["runner"], end["timed_out"], done.stderr) == (runner, False, b"")


def test_lines_of_a_stream_come_while_the_command_runs(runner: str) -> None:
    command = [*GRA, "exec", "--stream", runner, "--", "sh", "-c", "echo 1; exec sleep 1000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0) as process:
        assert process.stdout is not None
        first = json.loads(read_line(process.stdout, "the first piece"))
        assert first == {"stream": "stdout", "text": "1\n"}
        assert stop(process, signal.SIGTERM, "gra exec --stream") == 128 + signal.SIGTERM
        assert json.loads(process.stdout.read())["signal"] == signal.SIGTERM


@_CODE
def test_a_stream_of_bytes_is_whole(runner: str) -> None:
    data = random.Random(6).randbytes(3_000_000)
    done = _exec("--stream", "-i", runner, "--", "cat", stdin=data)
    *pieces, end = _lines(done.stdout)
    found = b"".join(
        piece["text"].encode() if "text" in piece else base64.b64decode(piece["base64"])
        for piece in pieces
    )
    assert hashlib.sha256(found).digest() == hashlib.sha256(data).digest()
    assert end["exit_code"] == 0


@_CODE
def test_a_stream_that_cannot_begin_says_why_in_json(runner: str) -> None:
    done = _exec("--stream", "runner-999", "--", "true")
    assert (done.returncode, done.stdout) == (3, b"")
    assert json.loads(done.stderr)["reason"] == "RunnerNotFound"


@_CODE
def test_stream_json_and_a_terminal_exclude_each_other(runner: str) -> None:
    assert _exec("--stream", "--json", runner, "--", "true").returncode == 2
    assert _exec("--stream", "--tty", runner, "--", "true").returncode == 2


# -- a command that is kept ---------------------------------------------------------------------


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_command_that_is_kept_goes_on_when_gra_ends(runner: str, how: signal.Signals) -> None:
    # More than any pipe holds, so that it would stop if nobody read it.
    script = "echo $$; read go; yes | head -c 1000000; yes | head -c 1000000 >&2; exec sleep 1000"
    command = [*GRA, "exec", "--keep", "-i", runner, "--", "sh", "-c", script]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        pid = read_line(process.stdout, "the command's pid").strip()
        process.send_signal(how)
        process.wait(_BOUND)
    sleeping = ("sh", "-c", f"tr '\\0' ' ' < /proc/{pid}/cmdline")
    if how is not signal.SIGKILL:
        # Its stdin ended with gra, so it has gone on, and was not held up by its output.
        until(
            lambda: _exec(runner, "--", *sleeping).stdout == b"sleep 1000 ", "the end of its output"
        )
    assert _exec(runner, "--", "sh", "-c", f"kill {pid}").returncode == 0


@_CODE
def test_a_command_that_is_not_kept_is_ended_by_sigterm(runner: str) -> None:
    command = [*GRA, "exec", runner, "--", "sh", "-c", "echo $$; exec sleep 1000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0) as process:
        assert process.stdout is not None
        read_line(process.stdout, "the command's pid")
        assert stop(process, signal.SIGTERM, "gra exec") == 128 + signal.SIGTERM
