"""``gra logs``: what runners wrote, and what they write, as people and programs see it."""

from __future__ import annotations

import datetime
import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pexpect
import pytest

from tests.support.cli import GRA, gra, gra_json, read_line, running_gra, stop
from tests.support.kernels import StartedKernel
from tests.support.runners import Runners
from tests.support.waiting import until

pytestmark = pytest.mark.gra_only

_BOUND = 60.0
_FORGED = "2026-11-21T15:00:00.123Z agent: forged"


def _write(kernel: StartedKernel, *texts: str | bytes, fd: int = 1) -> None:
    """Have the kernel's process write lines past IPython, into the log."""
    data = b"".join((t if isinstance(t, bytes) else t.encode()) + b"\n" for t in texts)
    assert kernel.run(f"import os; os.write({fd}, {data!r})").status == "ok"


def _lines(*arguments: str) -> list[dict[str, Any]]:
    done = gra("logs", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def _until_logged(text: str, *arguments: str) -> list[dict[str, Any]]:
    """All lines, once one of them has this text: a log takes a moment."""

    def there() -> list[dict[str, Any]]:
        lines = _lines(*arguments)
        return lines if text in [line["text"] for line in lines] else []

    return until(there, f"the line {text!r} in the log")


def _next(process: subprocess.Popen[bytes], what: str) -> str:
    assert process.stdout is not None
    return read_line(process.stdout, what, _BOUND).rstrip("\n")


@pytest.fixture
def runner(runners: Runners) -> Iterator[str]:
    """A runner without a kernel."""
    created = gra("create", "--no-kernel")
    assert created.returncode == 0, created.stderr
    name = created.stdout.strip()
    yield name
    gra("delete", name)


# -- what there is --------------------------------------------------------------------------


def test_the_log_has_what_agent_and_kernel_wrote_each_under_its_own_name(
    kernel: StartedKernel,
) -> None:
    hidden = f"x\r{_FORGED}\u2028{_FORGED}\x85{_FORGED}\x0b{_FORGED}"
    _write(kernel, "grüße, 漢字", "", _FORGED, hidden, b"\xff\xfe no text")
    _write(kernel, f"stdout: {_FORGED}", "that was all", fd=2)

    lines = _until_logged("that was all", "runner-1")
    by_source = {
        source: [line["text"] for line in lines if line["source"] == source]
        for source in ("agent", "stdout", "stderr")
    }
    assert sum(map(len, by_source.values())) == len(lines)
    assert by_source["agent"][0].startswith("agent ready, pid ")
    assert by_source["agent"][1].startswith("kernel 1 started, pid ")
    assert len(by_source["agent"]) == 2
    assert by_source["stdout"][-5:] == ["grüße, 漢字", "", _FORGED, hidden, "\ufffd\ufffd no text"]
    assert by_source["stderr"][-2:] == [f"stdout: {_FORGED}", "that was all"]
    assert {line["runner"] for line in lines} == {"runner-1"}
    times = [line["time"] for line in lines]
    assert times == sorted(times)
    assert 0 <= time.time() - times[-1] < _BOUND


def test_people_see_the_source_and_on_request_the_time(kernel: StartedKernel) -> None:
    _write(kernel, "hello")
    _until_logged("hello", "runner-1")

    plain = gra("logs", "runner-1").stdout.splitlines()
    assert plain[0].startswith("agent   agent ready, pid ")
    assert plain[-1] == "stdout  hello"
    stamp, rest = gra("logs", "-t", "-n1", "runner-1").stdout.split(" ", 1)
    assert rest == "stdout  hello\n"
    written = datetime.datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp()
    assert 0 <= time.time() - written < _BOUND


def test_lines_are_chosen_by_source_number_and_time(kernel: StartedKernel) -> None:
    _write(kernel, "early")
    _write(kernel, "early too", fd=2)
    _until_logged("early too", "runner-1")
    time.sleep(1.1)
    moment = time.time()
    time.sleep(0.1)
    _write(kernel, *(f"late {number}" for number in range(200)), "the last")
    _until_logged("the last", "runner-1")

    since = datetime.datetime.fromtimestamp(moment, datetime.timezone.utc).isoformat()
    late = [f"late {number}" for number in range(200)] + ["the last"]
    assert gra("logs", "runner-1", "--since", since, "-s", "stdout").stdout.split("\n") == [
        *late,
        "",
    ]
    assert [x["text"] for x in _lines("runner-1", "--since", since, "--tail", "150")] == late[-150:]
    assert len(_lines("runner-1", "--since", "10m")) == len(_lines("runner-1"))
    assert [x["text"] for x in _lines("runner-1", "-s", "stderr", "-n", "1")] == ["early too"]
    assert {x["source"] for x in _lines("runner-1", "-s", "kernel")} == {"stdout", "stderr"}
    agents = [x["text"] for x in _lines("runner-1", "-s", "agent")]
    assert [x["text"] for x in _lines("runner-1", "-s", "agent", "-n", "1")] == agents[-1:]
    assert _lines("runner-1", "-n", "0") == []
    assert len(_lines("runner-1", "-n", "100000")) == len(_lines("runner-1"))


def test_lines_of_several_runners_come_by_time_with_their_names(
    runner: str, kernel: StartedKernel
) -> None:
    _write(kernel, "hello")
    _until_logged("hello", "runner-2")

    done = gra("logs", "runner-2", runner, "runner-2", "-t")

    lines = done.stdout.splitlines()
    assert {line.split(" | ")[0] for line in lines} == {"runner-1", "runner-2"}
    assert lines[0].startswith("runner-1 | ")
    assert lines[-1].startswith("runner-2 | ")
    stamps = [line.split()[2] for line in lines]
    assert stamps == sorted(stamps)
    assert len([line for line in lines if "agent   agent ready" in line]) == 2
    # The last line of each.
    assert len(gra("logs", "runner-2", runner, "-n", "1").stdout.splitlines()) == 2


def test_the_log_of_a_runner_that_has_ended_is_there_until_it_is_deleted(runners: Runners) -> None:
    created = gra("create", "--no-kernel", "--ttl", "orphan=2s")
    assert created.returncode == 0, created.stderr
    with running_gra("logs", "--follow", "runner-1", "-s", "agent") as process:
        assert _next(process, "the first line").startswith("agent ready")
        assert "Orphaned" in _next(process, "why it ended")
        assert process.wait(_BOUND) == 0
    until(lambda: gra_json("get", "runner-1")["status"] == "ended", "the runner's end")

    for options in ((), ("--follow",)):
        done = gra("logs", "runner-1", "-s", "agent", *options)
        assert done.returncode == 0, done.stderr
        first, *_, last = done.stdout.splitlines()
        assert first.startswith("agent ready")
        assert last.startswith("ending: Orphaned: ")
    assert gra("delete", "runner-1").returncode == 0
    assert gra("logs", "runner-1").returncode == 3


def test_a_runner_that_is_not_there_is_told_before_anything_is_shown(runner: str) -> None:
    for options in ((), ("--follow",)):
        done = gra("logs", runner, "runner-99", *options)
        assert (done.returncode, done.stdout) == (3, "")
        assert "There is no runner 'runner-99'" in done.stderr


@pytest.mark.same_with_pods("only the names of sources differ")
def test_a_source_that_is_not_there_is_told_with_those_that_are(runner: str) -> None:
    done = gra("logs", runner, "--source", "sidecar", "--json")
    assert (done.returncode, done.stdout) == (2, "")
    error = json.loads(done.stderr)
    assert error["reason"] == "UnknownLogSource"
    assert error["details"]["sources"] == ["agent", "kernel", "stdout", "stderr"]


@pytest.mark.parametrize("since", ["1x", "yesterday", "2026-13-01T00:00:00Z", "-5m"])
@pytest.mark.same_with_pods("nothing is asked of a runner")
def test_what_is_no_time_is_refused(since: str) -> None:
    done = gra("logs", "runner-1", f"--since={since}")
    assert done.returncode == 2
    assert "is no duration such as" in " ".join(done.stderr.replace("│", " ").split())


# -- followed -------------------------------------------------------------------------------


def test_what_is_written_is_seen_at_once_until_the_runner_is_deleted(
    kernel: StartedKernel,
) -> None:
    with running_gra("logs", "--follow", "runner-1", "-n", "0") as process:

        def is_following() -> bool:
            # Whatever is written before it has read what there is, is not new.
            _write(kernel, "hello")
            return _has_output(process)

        until(is_following, "a line of those that are written")
        _write(kernel, "new: grüße")
        while (line := _next(process, "a new line")) == "stdout  hello":
            pass
        assert line == "stdout  new: grüße"

        assert gra("delete", "runner-1").returncode == 0
        assert process.wait(_BOUND) == 0
        assert process.stdout is not None
        rest = process.stdout.read().decode()
        assert "agent   ending: " in rest
        assert process.stderr is not None
        assert process.stderr.read() == b""


def _has_output(process: subprocess.Popen[bytes]) -> bool:
    assert process.stdout is not None
    return bool(select.select([process.stdout], [], [], 0.2)[0])


@pytest.mark.timeout(300)
def test_ten_thousand_lines_a_second_and_a_long_one_arrive_whole_and_in_order(
    kernel: StartedKernel,
) -> None:
    with running_gra("logs", "--follow", "runner-1", "-s", "stdout", "--since", "1s") as process:
        code = (
            "import os, time\n"
            "for second in range(3):\n"
            "    begun = time.monotonic()\n"
            "    for number in range(100):\n"
            "        first = second * 10_000 + number * 100\n"
            "        os.write(1, b''.join(b'line %d\\n' % n for n in range(first, first + 100)))\n"
            "    time.sleep(max(0, begun + 1 - time.monotonic()))\n"
            "os.write(1, b'\\xc3\\xa4' * 30_000 + b' long\\n')\n"
            "os.write(1, b'that was all\\n')\n"
        )
        kernel.client.execute(code)
        read = []
        assert process.stdout is not None
        for raw in process.stdout:
            text = raw.decode().rstrip("\n")
            if text.startswith(("line ", "ä", "that")):
                read.append(text)
            if text == "that was all":
                break
        assert read[:30_000] == [f"line {number}" for number in range(30_000)]
        assert read[30_000:] == ["ä" * 30_000 + " long", "that was all"]


def test_several_runners_are_followed_until_the_last_has_ended(
    runner: str, kernel: StartedKernel
) -> None:
    with running_gra("logs", "--follow", runner, "runner-2", "-n", "1") as process:
        before = [_next(process, "the last line of a runner") for _ in range(2)]
        assert {line.split(" | ")[0] for line in before} == {"runner-1", "runner-2"}
        assert gra("delete", runner).returncode == 0
        while "ending: " not in (line := _next(process, "the end of the first")):
            pass
        assert line.startswith("runner-1 | agent   ending: ")
        _write(kernel, "still there")
        while "still there" not in (line := _next(process, "a line of the other")):
            pass
        assert line == "runner-2 | stdout  still there"
        assert gra("delete", "runner-2").returncode == 0
        assert process.wait(_BOUND) == 0


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
@pytest.mark.same_with_pods("signals of this process")
def test_a_signal_ends_it(runner: str, signum: int, code: int) -> None:
    with running_gra("logs", "--follow", runner) as process:
        assert _next(process, "the first line").startswith("agent   agent ready")
        assert stop(process, signum, "gra logs to end") == code
        assert process.stderr is not None
        assert process.stderr.read() == b""


@pytest.mark.same_with_pods("a pipe of this process")
def test_it_ends_when_nobody_reads_it_though_nothing_more_comes(runner: str) -> None:
    with running_gra("logs", "--follow", runner) as process:
        assert _next(process, "the first line").startswith("agent   agent ready")
        assert process.stdout is not None
        process.stdout.close()
        # As shells say it of a program that such a pipe has killed.
        assert process.wait(_BOUND) == 128 + signal.SIGPIPE
        assert process.stderr is not None
        assert process.stderr.read() == b""


@pytest.mark.same_with_pods("a pipe of this process")
def test_one_whose_reader_has_stopped_reading_can_still_be_ended(kernel: StartedKernel) -> None:
    _write(kernel, *(f"{number:>{1000}}" for number in range(300)), "that was all")
    _until_logged("that was all", "runner-1")
    with running_gra("logs", "--follow", "runner-1") as process:
        # Nobody reads, so that it fills the pipe (pipe(7): 64 KiB) and waits.
        time.sleep(2)
        assert process.poll() is None
        assert stop(process, signal.SIGTERM, "gra logs to end") == 143


# -- on a terminal --------------------------------------------------------------------------


@pytest.mark.same_with_pods("what a terminal of this machine shows")
def test_a_terminal_is_not_steered_and_runners_have_colours(
    runner: str, kernel: StartedKernel
) -> None:
    _write(kernel, "\x1b]0;title\x07\x1b[31mred\x1b[0m\x1b[2J\ttab", " 10%\r 99%")
    _until_logged(" 10%\r 99%", "runner-2")

    def shown(*names: str) -> str:
        words = ["-m", "gra_provisioner", "logs", *names, "-n", "2"]
        env = {**os.environ, "TERM": "xterm-256color"}
        output: bytes = pexpect.run(f"{GRA[0]} {' '.join(words)}", env=env, timeout=_BOUND)
        return output.decode()

    alone = shown("runner-2").splitlines()
    assert [line.partition("  ")[2].lstrip() for line in alone] == ["�]0;title�red�[2J\ttab", "99%"]
    both = shown(runner, "runner-2")
    colours = {
        both[: both.index(name)].rpartition("\x1b[")[2].partition("m")[0]
        for name in (runner, "runner-2")
    }
    assert len(colours) == 2
    # The same elsewhere, byte by byte.
    words = ("logs", "runner-2", "-n", "2", "-s", "stdout")
    plain = subprocess.run([*GRA, *words], stdout=subprocess.PIPE, check=True, timeout=_BOUND)
    assert plain.stdout == b"\x1b]0;title\x07\x1b[31mred\x1b[0m\x1b[2J\ttab\n 10%\r 99%\n"
