"""Who may do what through the REST API: the server's own rules, and those for others' runners."""

from __future__ import annotations

import pytest
import requests

from gra_provisioner.server.handlers import AUTH_RESOURCE
from gra_provisioner.server.operations import OPERATIONS
from tests.support.cli import gra
from tests.support.places import Places
from tests.support.rest import Rest, as_error, rest_server
from tests.support.runners import Runners

pytestmark = pytest.mark.gra_only

_HERE = pytest.mark.same_with_pods("no backend has a part in it")


# -- jupyter_server's rules --------------------------------------------------------------------


@_HERE
def test_nothing_but_health_is_for_those_who_are_not_known(rest: Rest) -> None:
    for operation in OPERATIONS:
        path = operation.path.removeprefix("/").replace("{name}", "runner-1")
        for headers in ({}, {"Authorization": "token wrong"}):
            answer = rest.call(operation.method, path, headers=headers)
            if operation.right is None:
                assert answer.ok
            else:
                status, error = as_error(answer)
                assert (status, error["reason"]) == (403, "NotAuthorized")
    status, error = as_error(rest.call("GET", "nothing", headers={}))
    assert (status, error["reason"]) == (403, "NotAuthorized")
    query = rest.call("GET", f"runners?token={rest.server.token}", headers={})
    assert query.ok
    bearer = {"Authorization": f"Bearer {rest.server.token}"}
    assert rest.call("GET", "runners", headers=bearer).ok


@_HERE
def test_a_page_needs_the_xsrf_token_to_change_something(rest: Rest, runners: Runners) -> None:
    page = requests.Session()
    page.get(f"{rest.server.url}tree?token={rest.server.token}", timeout=30)
    page.get(f"{rest.server.url}login", timeout=30)
    assert page.cookies.get("_xsrf")

    refused = page.post(f"{rest.url}runners", json={"kernel": False}, timeout=30)
    status, error = as_error(refused)
    assert (status, error["reason"]) == (403, "NotAuthorized")
    assert "_xsrf" in error["message"]
    assert runners.uids() == {}
    # A page of another site can send neither the token nor a header.
    foreign = page.post(
        f"{rest.url}runners",
        json={"kernel": False},
        headers={"X-XSRFToken": str(page.cookies["_xsrf"]), "Origin": "https://example.com"},
        timeout=30,
    )
    assert as_error(foreign)[0] == 404

    own = page.post(
        f"{rest.url}runners",
        json={"kernel": False},
        headers={"X-XSRFToken": str(page.cookies["_xsrf"])},
        timeout=60,
    )
    assert own.status_code == 201, own.text
    assert page.get(f"{rest.url}runners", timeout=30, headers={"Referer": rest.url}).ok
    # Whoever has the token is no page.
    rest.ok("DELETE", f"runners/{own.json()['name']}")


_AUTHORIZER = f"""
from jupyter_server.auth import Authorizer

class NoDeletion(Authorizer):
    def is_authorized(self, handler, user, action, resource):
        self.log.info("asked: %s %s", action, resource)
        if resource != "{AUTH_RESOURCE}":
            return True
        return handler.request.method != "DELETE" and action in ("read", "write")

c.ServerApp.authorizer_class = NoDeletion
"""


@_HERE
def test_an_authorizer_forbids_what_it_does_not_want(
    places: Places, runners: Runners, monkeypatch: pytest.MonkeyPatch
) -> None:
    (places.config / "jupyter_server_config.py").write_text(_AUTHORIZER)
    with rest_server(places) as rest:
        name = rest.ok("POST", "runners", {"kernel": False})["name"]
        assert rest.names() == [name]
        for method, path, body in (
            ("DELETE", f"runners/{name}", None),
            ("POST", f"runners/{name}/exec", {"argv": ["true"]}),
            ("POST", f"runners/{name}/exec/stream", {"argv": ["true"]}),
        ):
            status, error = rest.error(method, path, body)
            assert (status, error["reason"]) == (403, "NotAuthorized")
            assert AUTH_RESOURCE in error["message"]
        assert rest.names() == [name]
        log = rest.log()
        for action in ("read", "write", "execute"):
            assert f"asked: {action} {AUTH_RESOURCE}" in log
    assert gra("delete", name).returncode == 0


@_HERE
def test_every_error_has_the_same_form(rest: Rest) -> None:
    def error(method: str, path: str, **options: object) -> tuple[int, str]:
        status, document = as_error(rest.call(method, path, **options))  # type: ignore[arg-type]
        assert document["message"]
        return status, document["reason"]

    assert error("GET", "nothing/at/all") == (404, "UnknownPath")
    assert error("GET", "runners/") == (404, "UnknownPath")
    assert error("POST", "nothing") == (404, "UnknownPath")
    assert error("PUT", "runners") == (405, "MethodNotAllowed")
    assert error("PATCH", "runners/runner-1") == (405, "MethodNotAllowed")
    assert error("BREW", "runners") == (405, "MethodNotAllowed")
    assert error("GET", "runners?colour=red") == (400, "InvalidQuery")
    assert error("GET", "runners?owner=%FF") == (400, "InvalidQuery")
    assert error("GET", "runners/%FF") == (400, "BadHttpRequest")
    for name in ("runner-0", "runner-01", "runner-" + "9" * 5000, "x", "runner-1%00"):
        assert error("GET", f"runners/{name}") == (404, "RunnerNotFound"), name
    for data in (b"{", b"\xff", b"[" * 100_000):
        assert error("POST", "runners", data=data) == (400, "MalformedJson")
    assert error("POST", "runners", data=b"{}" + b" " * (17 << 20)) == (413, "BodyTooLarge")
    assert rest.call("PUT", "runners").headers["Allow"] == "GET, POST, OPTIONS"


# -- others' runners ----------------------------------------------------------------------------


@pytest.mark.parametrize("setting", ["hidden", "visible", "managed"])
def test_what_can_be_done_with_anothers_runner(
    places: Places, runners: Runners, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    monkeypatch.setenv("GRA_OWNER", "bob")
    assert gra("create", "--no-kernel").stdout == "runner-1\n"
    monkeypatch.setenv("GRA_OWNER", "ada")
    places.write_profiles(f'[server]\nother_owners = "{setting}"\n')
    seen, used = setting != "hidden", setting == "managed"
    refused = (403, "NotYourRunner") if seen else (404, "RunnerNotFound")

    def error(method: str, path: str, body: object = None) -> tuple[int, str]:
        status, document = rest.error(method, path, body)
        return status, document["reason"]

    with rest_server(places) as rest:
        with rest.runner() as mine:
            listed = rest.ok("GET", "runners")
            assert (listed["owner"], listed["other_owners"]) == ("ada", setting)
            theirs = {"runner-1": False} if seen else {}
            assert {r["name"]: r["mine"] for r in listed["runners"]} == {**theirs, mine: True}
            assert rest.names("owner=me") == [mine]
            assert rest.names("owner=bob") == list(theirs)
            assert rest.names("limit=1&sort=age&reverse=true") == ["runner-1" if seen else mine]
            with rest.stream("GET", "runners/watch") as watch:
                for name in (*theirs, mine):
                    assert watch.next().json()["name"] == name
                assert watch.next().name == "synced"
            assert rest.run(mine, "true")["exit_code"] == 0

        if seen:
            assert rest.ok("GET", "runners/runner-1")["owner"] == "bob"
        else:
            assert error("GET", "runners/runner-1") == refused
        exec_ = ("runners/runner-1/exec", {"argv": ["echo", "there"]})
        if used:
            assert rest.ok("POST", *exec_)["stdout"]["text"] == "there\n"
            assert rest.ok("GET", "runners/runner-1/logs")["lines"]
            assert rest.ok("GET", "logs?runner=runner-1")["lines"]
            assert rest.call("DELETE", "runners/runner-1").status_code == 204
        else:
            assert error("POST", *exec_) == refused
            assert error("POST", "runners/runner-1/exec/stream", exec_[1]) == refused
            assert error("GET", "runners/runner-1/logs") == refused
            assert error("GET", "runners/runner-1/logs?follow=true") == refused
            assert error("GET", "logs?runner=runner-1") == refused
            assert error("DELETE", "runners/runner-1?force=true") == refused
            assert list(runners.uids()) == ["runner-1"]
            assert gra("delete", "runner-1").returncode == 0
