"""Runners through the REST API of a Jupyter server: made, listed, watched, shown, ended."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
import requests

from gra_provisioner.documents import answers
from gra_provisioner.documents import runners as documents
from tests.support.cli import gra, gra_json
from tests.support.places import Places
from tests.support.rest import Rest, rest_server
from tests.support.runners import Runners
from tests.support.waiting import until

pytestmark = pytest.mark.gra_only

_HERE = pytest.mark.same_with_pods("no backend has a part in it")

# A kernel that never comes up.
_NEVER = "import time; time.sleep(1000)"


def _until_none(runners: Runners) -> None:
    until(lambda: not runners.uids(), "the runners that nobody waits for to be gone", 60)


def test_a_runner_is_made_found_shown_and_ended(rest: Rest, runners: Runners) -> None:
    answer = rest.call(
        "POST",
        "runners",
        {"labels": {"team": "a"}, "ttl": {"orphan": "5m"}, "env": {"COLOUR": "x"}},
    )
    made = answer.json()
    assert answer.status_code == 201
    assert answer.headers["Location"] == "/gra/api/runners/runner-1"
    documents.MadeRunner.model_validate_json(answer.text)
    assert (made["name"], made["status"], made["kernel"]) == ("runner-1", "running", "idle")
    assert (made["mine"], made["labels"]) == (True, {"team": "a"})
    assert [phase["phase"] for phase in made["phases"]][-2:] == ["starting", "kernel"]

    listed = rest.call("GET", "runners")
    documents.RunnerList.model_validate_json(listed.text)
    (found,) = listed.json()["runners"]
    assert (found["uid"], found["kernel"], found["clients"]) == (made["uid"], "idle", 0)
    assert listed.json()["backend"] == runners.backend
    for query in (
        "owner=me",
        f"owner={made['owner']}",
        "status=running&status=ended",
        "profile=small",
        "label=team%3Da",
        "sort=memory&reverse=true&limit=1",
        "inspect=false",
    ):
        assert rest.names(query) == ["runner-1"], query
    for query in ("owner=nobody", "status=ended", "profile=large", "label=team%3Db", "kernel=x"):
        assert rest.names(query) == [], query
    assert rest.names("notebook=*") == ["runner-1"]
    (cached,) = rest.ok("GET", "runners?inspect=false")["runners"]
    assert (cached["kernel"], cached["clients"]) == ("unknown", None)

    shown = rest.call("GET", "runners/runner-1")
    documents.SeenRunnerWithReason.model_validate_json(shown.text)
    assert shown.json()["backend_reason"]
    # It is a runner like any other.
    assert gra_json("get", "runner-1")["uid"] == made["uid"]

    ended = rest.call("DELETE", "runners/runner-1")
    assert (ended.status_code, ended.content) == (204, b"")
    assert rest.names() == []
    status, error = rest.error("GET", "runners/runner-1")
    assert (status, error["reason"]) == (404, "RunnerNotFound")
    assert rest.error("DELETE", "runners/runner-1")[0] == 404


def test_a_runner_that_is_not_waited_for_is_followed_by_its_status(rest: Rest) -> None:
    answer = rest.call("POST", "runners", {"wait": False, "profile": "medium"})
    assert answer.status_code == 202
    documents.MadeRunner.model_validate_json(answer.text)
    name = answer.json()["name"]

    until(lambda: rest.ok("GET", f"runners/{name}")["status"] == "running", "the runner to run", 60)
    assert rest.ok("GET", f"runners/{name}")["kernel"] == "none"
    assert rest.run(name, "echo", "there")["stdout"]["text"] == "there\n"
    assert rest.call("DELETE", f"runners/{name}?force=true").status_code == 204


def test_a_launch_that_fails_says_why_and_leaves_nothing(rest: Rest, runners: Runners) -> None:
    status, error = rest.error("POST", "runners", {"profile": "smal"})
    assert (status, error["reason"]) == (422, "UnknownProfile")
    assert "request body: profile" in error["message"]
    assert "small" in error["hint"]

    status, error = rest.error("POST", "runners", {"working_dir": "/no/such/folder"})
    assert (status, error["reason"]) == (422, "WorkingDirectoryMissing")
    assert error["details"]["phase"] == "kernel"
    assert error["details"]["phases"]

    if runners.backend == "kubernetes":
        status, error = rest.error("POST", "runners", {"image": "localhost/gra-test/NONE:1"})
        assert (status, error["reason"]) == (502, "InvalidImageName")
        assert error["details"]["phases"]
    _until_none(runners)


def test_a_client_that_goes_away_takes_its_launch_along(
    rest: Rest, runners: Runners, places: Places
) -> None:
    places.write_profiles(
        f'[profiles.never]\nextends = "small"\nkernel_argv = ["python", "-c", "{_NEVER}", '
        '"{connection_file}"]\n'
    )
    with ThreadPoolExecutor(1) as page:
        waiting = page.submit(rest.call, "POST", "runners", {"profile": "never"}, timeout=8.0)
        until(lambda: runners.runs(_NEVER), "the kernel to be started", 60)
        with pytest.raises(requests.Timeout):
            waiting.result()
    _until_none(runners)
    until(lambda: "499 POST" in rest.log(), "the server to have noticed")


@pytest.mark.same_with_pods("when a client leaves is the server's business")
def test_whenever_a_client_leaves_nothing_is_left(rest: Rest, runners: Runners) -> None:
    for moment in (0.01, 0.03, 0.06, 0.1, 0.2, 0.3, 0.35, 0.4, 0.45, 0.5):
        try:
            answer = rest.call("POST", "runners", {}, timeout=moment)
        except requests.Timeout:
            continue
        rest.ok("DELETE", f"runners/{answer.json()['name']}")
    _until_none(runners)


def test_changes_are_told_as_they_happen(rest: Rest) -> None:
    with rest.runner(labels={"team": "a"}) as first:
        with (
            rest.stream("GET", "runners/watch") as all_,
            rest.stream("GET", "runners/watch?label=team%3Db") as some,
        ):
            added = all_.next()
            assert (added.name, added.json()["name"], added.id) == ("added", first, "1")
            documents.SeenRunner.model_validate_json(added.data)
            assert (all_.next().name, some.next().name) == ("synced", "synced")

            with rest.runner(labels={"team": "b"}) as second:
                for stream in (all_, some):
                    change = stream.next("added")
                    assert change.json()["name"] == second
            for stream in (all_, some):
                assert stream.next("deleted").json()["name"] == second
        with rest.stream("GET", "runners/watch") as again:
            assert [again.next().name, again.next().name] == ["added", "synced"]


def test_a_page_asks_only_for_the_runners_that_it_shows(rest: Rest, runners: Runners) -> None:
    with rest.runner() as first, rest.runner(resources={"cpu": 1, "memory": "512Mi"}) as second:
        assert rest.names(f"name={second}&inspect=true") == [second]
        assert rest.names(f"name={second}&name={first}&name=runner-999") == [first, second]
        assert rest.names("name=runner-999") == []
        (shown,) = rest.ok("GET", f"runners?name={second}")["runners"]
        assert shown["kernel"] == "none"
        assert (shown["resources"]["cpu"], shown["resources"]["memory"]) == (1, 2**29)
        assert shown["resources"]["gpu"] == 0
        assert bool(shown["image"]) == (runners.backend == "kubernetes")
        with rest.stream("GET", f"runners/watch?name={second}") as watch:
            assert watch.next("added").json()["name"] == second
            assert watch.next().name == "synced"
    for query in ("name=all", "name=runner-0", "name=runner-1,runner-2", "name="):
        status, error = rest.error("GET", f"runners?{query}")
        assert (status, error["reason"]) == (400, "InvalidQuery")
        assert "query: name[0]" in error["message"]
    many = "&".join(f"name=runner-{number}" for number in range(1, 102))
    assert rest.error("GET", f"runners?{many}")[0] == 400


def test_profiles_are_told_without_values(rest: Rest, places: Places) -> None:
    before = rest.ok("GET", "profiles")["profiles"]
    assert {"small", "medium", "large", "gpu"} <= {profile["name"] for profile in before}
    # Read anew when they change.
    places.write_profiles(
        'default_profile = "quick"\n'
        '[profiles.quick]\nextends = "small"\ndescription = "Soon gone"\n'
        'env = {GREETING = "hello-value"}\nforward_env = ["LANG"]\n'
    )
    answer = rest.call("GET", "profiles")
    answers.Profiles.model_validate_json(answer.text)
    found = {profile["name"]: profile for profile in answer.json()["profiles"]}
    assert found["quick"]["default"]
    assert found["quick"]["description"] == "Soon gone"
    assert found["quick"]["settings"]["env"] == ["GREETING"]
    assert found["quick"]["settings"]["resources"]["cpu"] == 2
    assert "hello-value" not in answer.text


@_HERE
def test_a_wrong_configuration_is_told_until_it_is_corrected(rest: Rest, places: Places) -> None:
    places.write_profiles("[profiles.quick.resources]\ncpu = 'lots'\n")
    for method, path, body in (
        ("GET", "runners", None),
        ("GET", "ready", None),
        ("GET", "profiles", None),
        ("POST", "runners", {}),
        ("GET", "runners/watch", None),
        ("POST", "runners/runner-1/exec", {"argv": ["true"]}),
    ):
        status, error = rest.error(method, path, body)
        assert (status, error["reason"]) == (503, "NotConfigured")
        assert "profiles.quick.resources.cpu" in error["message"]
    assert rest.ok("GET", "health") == {"status": "ok"}
    assert rest.log().count("gra cannot be used") == 1

    places.write_profiles("[profiles.quick.resources]\ncpu = 1\n")
    assert rest.ok("GET", "ready")["status"] == "ready"
    assert rest.names() == []


def test_it_says_whether_runners_can_be_made(rest: Rest, runners: Runners) -> None:
    answer = rest.call("GET", "ready")
    answers.Ready.model_validate_json(answer.text)
    assert answer.json()["backend"] == runners.backend
    assert answer.json()["backend_reason"] in gra("list").stdout
    answers.Health.model_validate_json(rest.call("GET", "health", headers={}).text)


@pytest.mark.local_only("brings a cluster that does not answer")
def test_a_cluster_that_does_not_answer_is_told(rest: Rest, places: Places) -> None:
    kubeconfig = places.root / "kubeconfig"
    kubeconfig.write_text(
        "{apiVersion: v1, kind: Config, current-context: a, contexts: [{name: a, context: "
        "{cluster: a, user: a}}], clusters: [{name: a, cluster: {server: 'https://127.0.0.1:9'}}], "
        "users: [{name: a, user: {token: t}}]}"
    )
    places.write_profiles(f'[kubernetes]\nkubeconfig = "{kubeconfig}"\nnamespace = "notebooks"\n')
    for method, path in (("GET", "ready"), ("GET", "runners"), ("GET", "runners/runner-1")):
        status, error = rest.error(method, path)
        assert (status, error["reason"]) == (503, "ClusterUnreachable")
    status, error = rest.error("POST", "runners", {})
    assert (status, error["reason"]) == (503, "ClusterUnreachable")

    kubeconfig.write_text("nonsense: [")
    places.write_profiles(f'[kubernetes]\nkubeconfig = "{kubeconfig}"\nnamespace = "elsewhere"\n')
    status, error = rest.error("GET", "runners")
    assert (status, error["reason"]) == (503, "KubeconfigInvalid")
    places.write_profiles("")
    assert rest.names() == []


def test_kernels_and_the_api_share_one_watch(rest: Rest, runners: Runners) -> None:
    process = psutil.Process(rest.server.process.pid)

    def connections() -> int:
        # Not those with this test's own requests.
        port = int(rest.server.url.rsplit(":", 1)[1].strip("/"))
        established = [c for c in process.net_connections("tcp") if c.status == "ESTABLISHED"]
        return len([c for c in established if port not in (c.laddr.port, c.raddr.port)])

    kernel = rest.server.start_session("gra")
    kernel.run("1 + 1")
    before = connections()
    with (
        rest.stream("GET", "runners/watch") as one,
        rest.stream("GET", "runners/watch") as two,
    ):
        assert one.next("synced")
        assert two.next("synced")
        assert rest.names("inspect=false") == ["runner-1"]
        # One at most that is kept for the next request.
        assert connections() <= before + 1
    assert rest.ok("GET", "runners")["runners"][0]["kernel_name"] == "gra"
    assert rest.names("kernel=gra&notebook=*notebook.ipynb") == ["runner-1"]
    assert rest.names(f"kernel={kernel.kernel_id}") == ["runner-1"]


def test_a_server_that_stops_ends_its_streams(places: Places, runners: Runners) -> None:
    with rest_server(places) as rest, ThreadPoolExecutor(1) as page:
        name = rest.ok("POST", "runners", {"kernel": False})["name"]
        path = f"runners/{name}/exec"
        argv = ["sh", "-c", "echo $$; sleep 1000"]
        with (
            rest.stream("GET", "runners/watch") as watch,
            rest.stream("POST", f"{path}/stream", {"argv": argv}) as command,
        ):
            assert watch.next("synced")
            pid = int(command.next("output").json()["text"])
            waiting = page.submit(rest.error, "POST", path, {"argv": ["sleep", "1001"]})
            until(lambda: runners.runs("sleep 1001"), "the command that is waited for")
            rest.server.stop()
            for stream in (watch, command):
                *_, last = stream.events()
                assert (last.name, last.json()["reason"]) == ("error", "ServerStopping")
            status, error = waiting.result(30)
            assert (status, error["reason"]) == (503, "ServerStopping")
            runners.until_ended(pid, "the command that was streamed")
    problems = [
        line
        for line in rest.log().splitlines()
        if line.startswith(("[W", "[E", "[C")) and "gra" in line and " 503 " not in line
    ]
    assert not problems
    assert gra("delete", name).returncode == 0
