"""What runners wrote, through the REST API."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from gra_provisioner.documents import logs
from tests.support.places import Places
from tests.support.rest import Rest, rest_server
from tests.support.runners import Runners
from tests.support.waiting import until

pytestmark = pytest.mark.gra_only

# A kernel that also writes to its stdout, each half second, until it is ended.
_TALKS = """
import subprocess, sys, time
command = [sys.executable, "-m", "ipykernel_launcher", "-f", sys.argv[1]]
kernel = subprocess.Popen(command, stdout=subprocess.DEVNULL)
for number in range(1000):
    print(f"number {number} grün", flush=True)
    time.sleep(0.5)
"""


@pytest.fixture
def rest(places: Places, runners: Runners) -> Iterator[Rest]:
    places.write_profiles(
        "[profiles.talks]\nextends = 'small'\n"
        f"kernel_argv = ['python', '-c', '''{_TALKS}''', '{{connection_file}}']\n"
    )
    with rest_server(places) as rest:
        yield rest


def test_a_log_is_read_by_source_time_and_number(rest: Rest) -> None:
    with rest.runner(kernel=True, profile="talks") as name:

        def lines(query: str) -> list[dict[str, object]]:
            answer = rest.call("GET", f"runners/{name}/logs?{query}")
            assert answer.ok, answer.text
            logs.LogLines.model_validate_json(answer.text)
            found: list[dict[str, object]] = answer.json()["lines"]
            return found

        until(lambda: len(lines("source=stdout")) > 3, "the kernel to have written")
        everything = lines("")
        assert {line["runner"] for line in everything} == {name}
        assert {"agent", "stdout"} <= {str(line["source"]) for line in everything}
        written = lines("source=stdout")
        assert written[0]["text"] == "number 0 grün"
        assert {line["source"] for line in lines("source=agent&source=stderr")} <= {
            "agent",
            "stderr",
        }
        assert [line["text"] for line in lines("source=kernel&tail=2")] != []
        assert len(lines("tail=1")) == 1
        assert lines("tail=0") == []
        since = written[2]["time"]
        assert lines(f"source=stdout&since={since}")[0]["text"] == "number 2 grün"
        assert lines("last=3600&source=stdout")[0]["text"] == "number 0 grün"

        status, error = rest.error("GET", f"runners/{name}/logs?source=nobody")
        assert (status, error["reason"]) == (422, "UnknownLogSource")
        for query in ("tail=-1", "since=now", "since=1&last=1", "follow=maybe"):
            status, error = rest.error("GET", f"runners/{name}/logs?{query}")
            assert (status, error["reason"]) == (400, "InvalidQuery")
    assert rest.error("GET", f"runners/{name}/logs")[0] == 404


def test_a_log_that_is_followed_brings_what_is_written(rest: Rest) -> None:
    with rest.runner(kernel=True, profile="talks") as name:
        path = f"runners/{name}/logs?follow=true&source=stdout"
        with rest.stream("GET", path) as stream:
            for number in range(5):
                event = stream.next()
                logs.LogLine.model_validate_json(event.data)
                line = event.json()
                assert (event.name, line["text"]) == ("line", f"number {number} grün")
            assert line["time"] == pytest.approx(time.time(), abs=60)
            assert rest.call("DELETE", f"runners/{name}").status_code == 204
            *_, last = stream.events()
            assert last.name in ("end", "error")
    status, error = rest.error("GET", path)
    assert (status, error["reason"]) == (404, "RunnerNotFound")


def test_logs_of_several_runners_are_one_stream(rest: Rest) -> None:
    with (
        rest.runner(kernel=True, profile="talks") as one,
        rest.runner(kernel=True, profile="talks") as two,
    ):
        answer = rest.ok("GET", f"logs?runner={one}&runner={two}&source=agent")
        assert {line["runner"] for line in answer["lines"]} == {one, two}
        times = [line["time"] for line in answer["lines"]]
        assert times == sorted(times)

        seen = set()
        path = f"logs?runner={one}&runner={two}&follow=true&tail=0"
        with rest.stream("GET", path) as stream:
            while seen != {one, two}:
                seen.add(stream.next("line").json()["runner"])
        status, error = rest.error("GET", f"logs?runner={one}&runner=runner-99")
        assert (status, error["reason"]) == (404, "RunnerNotFound")
        for query in ("", "runner=", "follow=true"):
            assert rest.error("GET", f"logs?{query}")[0] in (400, 404)


def test_a_stream_of_a_silent_log_begins_at_once(rest: Rest) -> None:
    with rest.runner() as name:
        begun = time.monotonic()
        with rest.stream("GET", f"runners/{name}/logs?follow=true&source=stdout") as stream:
            assert time.monotonic() - begun < 10
            assert rest.call("DELETE", f"runners/{name}").status_code == 204
            events = [event.name for event in stream.events()]
        assert events[-1] in ("end", "error")
        assert stream.reader.comments[0] == "nothing was written yet"
