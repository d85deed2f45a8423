"""What the cluster has said about a runner, through the REST API of a Jupyter server."""

from __future__ import annotations

import pytest

from gra_provisioner.documents import runners as documents
from tests.support.places import Places
from tests.support.rest import Rest, rest_server
from tests.support.runners import Runners
from tests.support.waiting import until

pytestmark = pytest.mark.gra_only


def test_what_the_cluster_said_is_told_also_of_a_runner_that_is_gone(
    rest: Rest, runners: Runners
) -> None:
    with rest.runner() as name:
        uid = rest.ok("GET", f"runners/{name}?inspect=false")["uid"]
        answer = rest.call("GET", f"runners/{name}/events")
        documents.RunnerEvents.model_validate_json(answer.text)
        events = answer.json()["events"]
        assert rest.error("GET", f"runners/{name}/events?uid=another")[0] == 404
        if runners.backend == "kubernetes":
            until(lambda: "Started" in _reasons(rest, name), "the start to be told")
            events = rest.ok("GET", f"runners/{name}/events?uid={uid}")["events"]
            reasons = [event["reason"] for event in events]
            assert reasons.index("Scheduled") < reasons.index("Started")
            (scheduled,) = (event for event in events if event["reason"] == "Scheduled")
            assert (scheduled["type"], scheduled["count"]) == ("Normal", 1)
            assert scheduled["source"] == "default-scheduler"
            assert scheduled["about"] == f"Pod/{name}"
            assert scheduled["time"] == min(event["time"] for event in events)
        else:
            assert events == []

    assert rest.error("GET", f"runners/{name}/events")[0] == 404
    if runners.backend == "kubernetes":
        assert "Scheduled" in _reasons(rest, name, f"?uid={uid}")
    else:
        assert rest.error("GET", f"runners/{name}/events?uid={uid}")[0] == 404


def test_only_who_may_see_a_runner_learns_what_was_said_of_it(places: Places) -> None:
    places.write_profiles('owner = "ada"\n')
    with rest_server(places) as rest:
        made = rest.ok("POST", "runners", {"kernel": False})
        path = f"runners/{made['name']}/events"
        try:
            assert rest.call("GET", path).ok
            places.write_profiles('owner = "bob"\n[server]\nother_owners = "hidden"\n')
            for query in ("", f"?uid={made['uid']}", "?uid=another"):
                status, error = rest.error("GET", path + query)
                assert (status, error["reason"]) == (404, "RunnerNotFound")
        finally:
            places.write_profiles('owner = "ada"\n')
            rest.call("DELETE", f"runners/{made['name']}?force=true")


def _reasons(rest: Rest, name: str, query: str = "") -> list[str]:
    events = rest.ok("GET", f"runners/{name}/events{query}")["events"]
    return [event["reason"] for event in events]
