"""The output of commands through the REST API, as it comes."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator

import psutil
import pytest
import requests

from gra_provisioner.documents import executions
from tests.support.cli import gra
from tests.support.rest import HUNDRED_MEGABYTES, REPOSITORY, Rest
from tests.support.runners import Runners
from tests.support.sse import Event
from tests.support.waiting import until

pytestmark = pytest.mark.gra_only

_CODE = pytest.mark.same_with_pods("what is made of the output is done here")
_AGENT = pytest.mark.same_with_pods("the agent does the same there")

_MEGABYTE = 1 << 20


@pytest.fixture
def runner(rest: Rest) -> Iterator[str]:
    with rest.runner() as name:
        yield name


def _written(events: Iterable[Event], stream: str) -> bytes:
    """All that was written to stdout or stderr."""
    pieces = [event.json() for event in events if event.name == "output"]
    return b"".join(
        piece["text"].encode() if "text" in piece else base64.b64decode(piece["base64"])
        for piece in pieces
        if piece["stream"] == stream
    )


def test_a_hundred_megabytes_are_streamed_whole(rest: Rest, runner: str) -> None:
    digest, size, ends = hashlib.sha256(), 0, []
    with rest.stream(
        "POST", f"runners/{runner}/exec/stream", {"code": HUNDRED_MEGABYTES}
    ) as stream:
        for event in stream.events():
            if event.name == "exit":
                ends.append(event.json()["exit_code"])
            data = _written([event], "stdout")
            digest.update(data)
            size += len(data)
    assert (size, ends) == (100 * _MEGABYTE, [0])
    expected = hashlib.sha256()
    for block in range(100):
        expected.update(b"\xff" + random.Random(block).randbytes(_MEGABYTE - 1))
    assert digest.digest() == expected.digest()


def _memory(pid: int) -> int:
    """The resident memory of a process, in bytes."""
    return int(psutil.Process(pid).memory_info().rss)


def test_a_stream_brings_what_is_written_when_it_is(rest: Rest, runner: str) -> None:
    body = {
        "argv": ["sh", "-c", "echo begun; read go; echo grün; echo $go >&2; exit 5"],
        "stdin": "on\n",
    }
    with rest.stream("POST", f"runners/{runner}/exec/stream", body) as stream:
        events = list(stream.events())
    assert _written(events, "stdout") == "begun\ngrün\n".encode()
    assert _written(events, "stderr") == b"on\n"
    last = events[-1]
    executions.Ended.model_validate_json(last.data)
    assert (last.name, last.json()["exit_code"], last.json()["runner"]) == ("exit", 5, runner)

    # While it runs, and although it is silent.
    with rest.stream(
        "POST", f"runners/{runner}/exec/stream", {"argv": ["sh", "-c", "echo 1; exec sleep 1000"]}
    ) as stream:
        assert stream.next().json() == {"stream": "stdout", "text": "1\n"}
    with rest.stream(
        "POST", f"runners/{runner}/exec/stream", {"argv": ["sleep", "1000"], "timeout": 0.5}
    ) as stream:
        (last,) = stream.events()
        assert (last.json()["exit_code"], last.json()["timed_out"]) == (124, True)


@_AGENT
def test_ten_thousand_lines_a_second_arrive_in_order(rest: Rest, runner: str) -> None:
    code = """
import sys, time
begun = time.monotonic()
for number in range(30_000):
    print(number, flush=True)
    if number % 100 == 99:
        time.sleep(max(0, begun + number / 10_000 - time.monotonic()))
"""
    with rest.stream("POST", f"runners/{runner}/exec/stream", {"code": code}) as stream:
        events = list(stream.events())
    assert _written(events, "stdout") == "".join(f"{n}\n" for n in range(30_000)).encode()
    assert events[-1].json()["exit_code"] == 0


@_AGENT
def test_who_does_not_read_holds_the_command_up(rest: Rest, runner: str, runners: Runners) -> None:
    written = "/tmp/written" if runners.backend == "kubernetes" else str(runners.work / "written")
    code = f"""
import os
block = b"x" * (1 << 20)
for number in range(1000):
    os.write(1, block)
    with open({written!r}, "w") as file: file.write(str(number))
"""
    with rest.stream("POST", f"runners/{runner}/exec/stream", {"code": code}) as stream:
        stream.next("output")

        def blocks() -> int:
            return int(rest.run(runner, "cat", written)["stdout"]["text"] or 0)

        # It writes on until all on the way is full.
        until(lambda: _settled(blocks), "the command to be held up", 60)
        assert blocks() < 200
        assert _memory(rest.server.process.pid) < 400 * _MEGABYTE
    until(lambda: not runners.runs("range(1000)"), "the command to be ended")


def _settled(number: Callable[[], int]) -> bool:
    before = number()
    time.sleep(1.0)
    return before == number() and before > 0


def test_a_command_that_is_kept_goes_on(rest: Rest, runner: str, runners: Runners) -> None:
    # More than any pipe holds, so that it would stop if nobody read it.
    script = "echo $$; sleep 1; yes | head -c 3000000; exec sleep 1234"
    body = {"argv": ["sh", "-c", script], "on_disconnect": "keep"}
    with rest.stream("POST", f"runners/{runner}/exec/stream", body) as stream:
        pid = int(stream.next("output").json()["text"])
    until(lambda: runners.runs("sleep 1234"), "the command to have gone on")
    assert rest.run(runner, "sh", "-c", f"kill {pid}")["exit_code"] == 0
    until(lambda: not runners.runs("sleep 1234"), "the command to be ended")


def test_a_command_whose_runner_is_deleted_says_so(rest: Rest) -> None:
    with rest.runner() as name:
        with rest.stream(
            "POST", f"runners/{name}/exec/stream", {"argv": ["sh", "-c", "echo 1; sleep 1000"]}
        ) as stream:
            stream.next("output")
            assert gra("delete", name).returncode == 0
            last = list(stream.events())[-1]
        # Told of its own end before the runner's, or not.
        assert last.name in ("error", "exit")
        if last.name == "error":
            assert last.json()["reason"] in ("RunnerEnded", "RunnerNotFound")


@_CODE
def test_a_silent_stream_is_kept_alive(rest: Rest, runner: str) -> None:
    body = {"argv": ["sleep", "17"]}
    with rest.stream("POST", f"runners/{runner}/exec/stream", body) as stream:
        (last,) = stream.events()
    assert last.name == "exit"
    assert stream.reader.comments == ["started", "keep-alive"]


@_CODE
def test_nobody_waits_for_a_stream_that_is_left_at_once(
    rest: Rest, runner: str, runners: Runners
) -> None:
    path, body = f"runners/{runner}/exec/stream", {"argv": ["sleep", "1234"]}
    for moment in (0.001, 0.003, 0.01, 0.02, 0.05):
        with contextlib.suppress(requests.RequestException):
            rest.call("POST", path, body, stream=True, timeout=moment).close()
    until(lambda: not runners.runs("sleep 1234"), "the commands to be ended")
    assert rest.run(runner, "true")["exit_code"] == 0


@_CODE
def test_the_example_of_the_documentation_works(rest: Rest, runners: Runners) -> None:
    page = (REPOSITORY / "docs" / "rest.md").read_text(encoding="utf-8")
    (example,) = (block for block in page.split("```python\n")[1:] if "requests" in block)
    environment = {
        **os.environ,
        "JUPYTER": rest.server.url.rstrip("/"),
        "JUPYTER_TOKEN": rest.server.token,
    }
    done = subprocess.run(
        [sys.executable, "-c", example.partition("```")[0]],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("0\n1\n2\n")
    assert runners.uids() == {}
