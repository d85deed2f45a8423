"""Commands in a runner through the REST API: run to their end."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from gra_provisioner.documents import executions
from tests.support.places import Places
from tests.support.rest import HUNDRED_MEGABYTES, Rest, quietly
from tests.support.runners import Runners
from tests.support.waiting import until

pytestmark = pytest.mark.gra_only

_CODE = pytest.mark.same_with_pods("what is made of the output is done here")
_AGENT = pytest.mark.same_with_pods("the agent does the same there")

_MEGABYTE = 1 << 20


@pytest.fixture
def runner(rest: Rest) -> Iterator[str]:
    with rest.runner() as name:
        yield name


def test_a_command_gives_output_exit_code_and_times(rest: Rest, runner: str) -> None:
    answer = rest.call(
        "POST",
        f"runners/{runner}/exec",
        {
            "argv": ["sh", "-c", "cat; echo $COLOUR; pwd; printf '\\377' >&2; exit 3"],
            "env": {"COLOUR": "grün"},
            "cwd": "/tmp",
            "stdin": "hello ☃\n",
        },
    )
    executions.Execution.model_validate_json(answer.text)
    done = answer.json()
    assert (done["runner"], done["exit_code"], done["signal"]) == (runner, 3, None)
    assert done["stdout"]["text"] == "hello ☃\ngrün\n/tmp\n"
    assert done["stderr"] == {"base64": "/w==", "bytes": 1, "dropped": 0}
    assert (done["timed_out"], done["duration"] > 0) == (False, True)

    data = bytes(range(256))
    done = rest.run(runner, "cat", stdin={"base64": base64.b64encode(data).decode()})
    assert base64.b64decode(done["stdout"]["base64"]) == data

    code = "import sys; print(6 * 7, sys.argv); sys.exit(4)"
    done = rest.ok("POST", f"runners/{runner}/exec", {"code": code})
    assert (done["exit_code"], done["stdout"]["text"]) == (4, "42 ['-']\n")
    done = rest.run(runner, "sh", "-c", "kill -9 $$")
    assert (done["exit_code"], done["signal"]) == (137, 9)


def test_what_cannot_be_run_is_told(rest: Rest, runner: str) -> None:
    def refused(**body: object) -> tuple[int, str]:
        status, error = rest.error("POST", f"runners/{runner}/exec", body)
        stream_status, stream_error = rest.error("POST", f"runners/{runner}/exec/stream", body)
        assert (stream_status, stream_error["reason"]) == (status, error["reason"])
        return status, error["reason"]

    assert refused(argv=["no-such-program"]) == (422, "ExecutableNotFound")
    assert refused(argv=["true"], cwd="/no/such/folder") == (422, "WorkingDirectoryMissing")
    assert refused(argv=["/etc/passwd"]) == (422, "PermissionDenied")
    assert refused(argv=["true"], code="1") == (422, "InvalidRequest")
    assert refused(argv=["true"], colour="red") == (422, "InvalidRequest")
    status, error = rest.error("POST", "runners/runner-99/exec", {"argv": ["true"]})
    assert (status, error["reason"]) == (404, "RunnerNotFound")
    # As it is passed on in one piece, it has an end.
    large = {"argv": ["echo", "x" * (9 << 20)]}
    status, error = rest.error("POST", f"runners/{runner}/exec", large)
    assert (status, error["reason"]) == (413, "RequestTooLarge")


@_CODE
def test_of_a_large_output_both_ends_are_kept(rest: Rest, runner: str) -> None:
    done = rest.run(runner, "seq", "100000", limit=1024)
    assert done["stdout"]["text"].startswith("1\n2\n")
    assert done["stdout"]["text"].endswith("\n99999\n100000\n")
    assert done["stdout"]["dropped"] == 588_895 - 1024

    done = rest.ok("POST", f"runners/{runner}/exec", {"code": HUNDRED_MEGABYTES, "limit": 4096})
    assert done["stdout"]["bytes"] == 100 * _MEGABYTE
    assert len(base64.b64decode(done["stdout"]["base64"])) == 2048


@pytest.mark.parametrize("path", ["exec", "exec/stream"])
def test_a_client_that_goes_away_ends_its_command(
    rest: Rest, runner: str, runners: Runners, path: str
) -> None:
    body = {"argv": ["sh", "-c", "echo begun; exec sleep 1234"]}
    if path == "exec":
        with ThreadPoolExecutor(1) as page:
            waiting = page.submit(
                quietly, lambda: rest.call("POST", f"runners/{runner}/exec", body, timeout=4.0)
            )
            until(lambda: runners.runs("sleep 1234"), "the command to run")
            waiting.result()
    else:
        with rest.stream("POST", f"runners/{runner}/{path}", body) as stream:
            stream.next("output")
            until(lambda: runners.runs("sleep 1234"), "the command to run")
    until(lambda: not runners.runs("sleep 1234"), "the command to be ended")


@_AGENT
@pytest.mark.parametrize("path", ["exec", "exec/stream"])
def test_a_command_that_does_not_want_to_end_is_ended(rest: Rest, runner: str, path: str) -> None:
    script = "trap '' TERM; echo begun; while :; do sleep 0.1; done"
    body = {"argv": ["sh", "-c", script], "timeout": 0.5}
    answer = rest.call("POST", f"runners/{runner}/{path}", body)
    if path == "exec":
        end = answer.json()
    else:
        end = json.loads(answer.text.split("event: exit\ndata: ")[1])
    assert (end["exit_code"], end["timed_out"], end["signal"]) == (124, True, 9)


@_AGENT
def test_a_command_that_leaves_something_behind_ends(
    rest: Rest, runner: str, runners: Runners
) -> None:
    done = rest.run(runner, "sh", "-c", "sleep 1234 & echo $!")
    pid = done["stdout"]["text"].strip()
    assert done["exit_code"] == 0
    assert rest.run(runner, "sh", "-c", f"kill {pid}")["exit_code"] == 0
    until(lambda: not runners.runs("sleep 1234"), "what was left behind to be ended")


def test_fifty_commands_run_in_one_runner_at_once(rest: Rest, runner: str) -> None:
    def one(number: int) -> str:
        done = rest.run(runner, "sh", "-c", f"sleep 1; echo {number}")
        text: str = done["stdout"]["text"]
        return text

    with ThreadPoolExecutor(50) as pool:
        assert list(pool.map(one, range(50))) == [f"{number}\n" for number in range(50)]


def test_a_runner_that_is_not_there_for_commands_says_why(
    rest: Rest, runners: Runners, places: Places
) -> None:
    with rest.runner(ttl={"lifetime": 1}) as name:
        until(
            lambda: rest.ok("GET", f"runners/{name}")["status"] in ("ended", "lost"),
            "the runner to end",
            60,
        )
        for path in ("exec", "exec/stream"):
            status, error = rest.error("POST", f"runners/{name}/{path}", {"argv": ["true"]})
            assert (status, error["reason"]) == (409, "RunnerEnded")
            assert "ended" in error["message"]
    if runners.backend == "kubernetes":
        # Its image never comes.
        made = rest.ok("POST", "runners", {"wait": False, "image": "localhost/gra-test/none:1"})
        status, error = rest.error("POST", f"runners/{made['name']}/exec", {"argv": ["true"]})
        assert (status, error["reason"]) == (409, "RunnerStarting")
        assert made["name"] in error["message"]
        assert rest.call("DELETE", f"runners/{made['name']}?force=true").status_code == 204
