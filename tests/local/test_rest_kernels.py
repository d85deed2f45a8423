"""Kernels of the Jupyter server's own, started through the REST API with settings of their own."""

from __future__ import annotations

from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.kernelspecs import IPYKERNEL_ARGV, KernelSpecs
from tests.support.places import Places
from tests.support.rest import Rest, rest_server
from tests.support.runners import Runners
from tests.support.waiting import until

pytestmark = pytest.mark.gra_only

_HERE = pytest.mark.same_with_pods("no backend has a part in it")

_SECRET = "correct horse battery staple"

# A kernel that starts once a file is there.
_WAITS = """
import os, pathlib, sys, time
while not pathlib.Path(sys.argv[1]).exists(): time.sleep(0.02)
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""

_ASK = "import os; print(os.environ['ONE'], os.environ['TWO'], os.getcwd())"


def _kernels(rest: Rest) -> list[str]:
    return [kernel["id"] for kernel in rest.server.request("GET", "api/kernels").json()]


def _end(rest: Rest, started: Any) -> None:
    rest.server.request("DELETE", f"api/kernels/{started['kernel']['id']}")


def test_a_notebook_is_opened_on_a_kernel_with_settings_of_its_own(
    rest: Rest, runners: Runners
) -> None:
    folder = runners.work
    started = rest.ok(
        "POST",
        "kernels",
        {
            "profile": "medium",
            "resources": {"memory": "1Gi", "cpu": 0.5},
            "env": {"ONE": "1", "TWO": {"value": _SECRET}},
            "ttl": {"orphan": "30m"},
            "labels": {"team": "a"},
            "working_dir": str(folder),
        },
    )

    id, name = started["kernel"]["id"], started["runner"]["name"]
    assert started["kernel"]["name"] == "gra-medium"
    assert (started["runner"]["profile"], started["runner"]["mine"]) == ("medium", True)
    assert started["runner"]["kernel_id"] == id
    assert started["runner"]["labels"]["team"] == "a"
    assert _kernels(rest) == [id]
    body = {"path": "a.ipynb", "name": "a.ipynb", "type": "notebook", "kernel": {"id": id}}
    session = rest.server.request("POST", "api/sessions", body).json()
    assert session["kernel"]["id"] == id
    kernel = rest.server.connect(id)
    assert kernel.run(_ASK).text == f"1 {_SECRET} {folder}\n"

    assert rest.server.request("POST", f"api/kernels/{id}/restart").ok
    assert kernel.run(_ASK).text == f"1 {_SECRET} {folder}\n"
    # One that dies is started by the server, not by who asked for it.
    kernel.execute("import os; os._exit(1)")
    kernel.until_state("restarting")
    assert kernel.run(_ASK).text == f"1 {_SECRET} {folder}\n"
    assert runners.only() == name

    _end(rest, started)
    until(lambda: not runners.uids(), "the kernel's runner to be gone")
    assert _SECRET not in rest.log()


@pytest.mark.local_only("a pod has no folder of the server's")
def test_the_kernelspec_follows_from_the_profile_and_the_place_from_the_path(
    rest: Rest, places: Places, kernelspecs: KernelSpecs
) -> None:
    (places.work / "sub" / "deep").mkdir(parents=True)
    where = "import os; print(os.getcwd(), os.environ.get('JPY_SESSION_NAME'))"
    for body, name, answer in (
        ({}, "gra", f"{places.work} None\n"),
        ({"profile": "large", "path": "sub"}, "gra-large", f"{places.work}/sub None\n"),
        (
            {"name": "GRA", "profile": "large", "path": "sub/deep/new.ipynb"},
            "gra",
            f"{places.work}/sub/deep {places.work}/sub/deep/new.ipynb\n",
        ),
    ):
        started = rest.ok("POST", "kernels", body)
        assert started["kernel"]["name"] == name
        assert started["runner"]["kernel_name"] == name
        assert started["runner"]["profile"] == body.get("profile", "small")
        notebook = answer.split()[1]
        assert started["runner"]["notebook"] == (None if notebook == "None" else notebook)
        assert rest.server.connect(started["kernel"]["id"]).run(where).text == answer
        _end(rest, started)


@_HERE
def test_what_is_wrong_is_refused_before_anything_is_started(
    rest: Rest, runners: Runners, places: Places
) -> None:
    def refused(body: object) -> tuple[str, str, str]:
        status, error = rest.error("POST", "kernels", body)
        assert status == 422, error
        return error["reason"], error["message"], error["hint"]

    for body, field in (
        ({"colour": "red"}, "colour"),
        ({"resources": {"memory": "much"}}, "resources.memory"),
        ({"env": {"A": 1}}, "env.A"),
        ({"kernel": True}, "kernel"),
        ({"name": 1}, "name"),
        ({"path": "../../etc"}, "path"),
    ):
        reason, message, _ = refused(body)
        assert reason == "InvalidRequest"
        assert field in message
    reason, message, _ = refused({"working_dir": "work"})
    assert (reason, "working_dir" in message) == ("InvalidConfiguration", True)
    assert refused({"profile": "smal"})[0] == "UnknownProfile"
    reason, message, hint = refused({"name": "nothing"})
    assert (reason, "'nothing'" in message) == ("UnknownKernelSpec", True)
    assert "gra-medium" in hint
    KernelSpecs(places.data, on_runners=False).write("plain")
    reason, message, hint = refused({"name": "plain"})
    assert (reason, "'plain'" in message) == ("NotOurKernelSpec", True)
    assert "api/kernels" in hint

    assert (_kernels(rest), runners.uids()) == ([], {})


@_HERE
def test_a_kernel_that_does_not_start_says_why_and_leaves_nothing(
    places: Places, runners: Runners, kernelspecs: KernelSpecs
) -> None:
    kernelspecs.write("absent", kernel_argv=["no-such-kernel", "-f", "{connection_file}"])
    with rest_server(places, faultless=False) as rest:
        status, error = rest.error("POST", "kernels", {"name": "absent"})
        assert (status, error["reason"]) == (502, "KernelNotFound")
        assert "no-such-kernel" in error["message"]
        assert [phase["phase"] for phase in error["details"]["phases"]][-1] == "kernel"
        missing = {"working_dir": "/nowhere/at/all"}
        status, error = rest.error("POST", "kernels", missing)
        assert (status, error["reason"]) == (422, "WorkingDirectoryMissing")
        assert _kernels(rest) == []
        until(lambda: not runners.uids(), "the runners of kernels that did not start to be gone")
        rest.ok("POST", "kernels", {})
    # The server's stop is not held up by those that did not start.
    until(lambda: not runners.uids(), "the kernel of a server that was stopped to be gone")


def test_a_client_that_goes_away_gives_the_kernel_up(
    rest: Rest, runners: Runners, kernelspecs: KernelSpecs
) -> None:
    argv = ["python", "-c", _WAITS, str(runners.work / "go-on"), *IPYKERNEL_ARGV[1:]]
    kernelspecs.write("patient", kernel_argv=argv)

    page = HTTPConnection(urlsplit(rest.url).netloc, timeout=30)
    token = {"Authorization": f"token {rest.server.token}"}
    page.request("POST", f"{urlsplit(rest.url).path}kernels", '{"name": "patient"}', token)
    until(lambda: runners.runs("go-on"), "the kernel to be started", 60)
    page.close()

    until(lambda: not runners.uids(), "the runner of a kernel that nobody waits for to be gone")
    assert _kernels(rest) == []
    # Nothing of it is in the way of another.
    _end(rest, rest.ok("POST", "kernels", {}))


_AUTHORIZER = """
from jupyter_server.auth import Authorizer

class NoKernels(Authorizer):
    def is_authorized(self, handler, user, action, resource):
        return (action, resource) != ("write", "kernels")

c.ServerApp.authorizer_class = NoKernels
"""


@_HERE
def test_who_may_start_no_kernels_may_start_none_on_a_runner(
    places: Places, runners: Runners
) -> None:
    (places.config / "jupyter_server_config.py").write_text(_AUTHORIZER)
    with rest_server(places) as rest:
        status, error = rest.error("POST", "kernels", {})
        assert (status, error["reason"]) == (403, "NotAuthorized")
        assert "kernels" in error["message"]
        assert runners.uids() == {}
