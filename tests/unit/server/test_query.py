"""What a URL's query means."""

from __future__ import annotations

import contextlib
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tornado.escape import parse_qs_bytes

from gra_provisioner.documents.queries import DeleteQuery, GetQuery, NoQuery, SortedListQuery
from gra_provisioner.documents.requests import Request
from gra_provisioner.errors import GraError
from gra_provisioner.runner import RunnerStatus
from gra_provisioner.server.query import parsed_query
from gra_provisioner.server.runners import selection_of
from gra_provisioner.server.status import status_of


def _parsed(model: type[Request], query: str) -> Any:
    return parsed_query(model, parse_qs_bytes(query, keep_blank_values=True))


def test_a_query_is_a_selection() -> None:
    query = _parsed(
        SortedListQuery,
        "owner=me&status=running&status=ended&profile=small&label=team%3Da&label=x%3D&kernel=gra"
        "&notebook=work/*.ipynb&sort=age&reverse=true&limit=10&inspect=false",
    )
    selection = selection_of(query, "ada")
    assert selection.owner == "ada"
    assert selection.statuses == {RunnerStatus.RUNNING, RunnerStatus.ENDED}
    assert (selection.profile, selection.kernel) == ("small", "gra")
    assert selection.labels == {"team": "a", "x": ""}
    assert selection.notebook == "work/*.ipynb"
    assert (selection.sort, selection.reverse, selection.limit) == ("age", True, 10)
    assert query.inspect is False


def test_an_empty_query_chooses_nothing() -> None:
    query = _parsed(SortedListQuery, "")
    selection = selection_of(query, "ada")
    assert (selection.owner, selection.statuses, selection.limit) == (None, frozenset(), None)
    assert query.inspect is None


def test_what_the_server_itself_reads_is_no_fault() -> None:
    _parsed(NoQuery, "token=abc&no_track_activity=1&_xsrf=x")


@pytest.mark.parametrize(
    ("model", "query", "named"),
    [
        (SortedListQuery, "colour=red", "colour"),
        (SortedListQuery, "inspect=yes", "inspect"),
        (SortedListQuery, "inspect=", "inspect"),
        (SortedListQuery, "limit=-1", "limit"),
        (SortedListQuery, "limit=1.0", "limit"),
        (SortedListQuery, "limit=%2B1", "limit"),
        (SortedListQuery, "limit=1e2", "limit"),
        (SortedListQuery, "limit=1&limit=2", "limit"),
        (SortedListQuery, "status=running,ended", "status"),
        (SortedListQuery, "label=team", "label"),
        (SortedListQuery, "sort=colour", "sort"),
        (GetQuery, "inspect=True", "inspect"),
        (DeleteQuery, "grace=-1", "grace"),
        (DeleteQuery, "grace=inf", "grace"),
        (DeleteQuery, "grace=1e9", "grace"),
        (DeleteQuery, "grace=01", "grace"),
        (DeleteQuery, "force=1", "force"),
        (NoQuery, "x=1", "x"),
    ],
)
def test_what_is_wrong_is_named(model: type[Request], query: str, named: str) -> None:
    with pytest.raises(GraError) as refused:
        _parsed(model, query)
    assert (refused.value.code, status_of(refused.value)) == ("InvalidQuery", 400)
    assert named in refused.value.message


def test_what_is_no_utf8_is_refused() -> None:
    with pytest.raises(GraError) as refused:
        parsed_query(SortedListQuery, {"owner": [b"\xff"]})
    assert refused.value.code == "InvalidQuery"


_TEXT = st.text(max_size=20)


@given(st.dictionaries(st.sampled_from([*SortedListQuery.model_fields, "other"]), _TEXT))
def test_no_query_is_anything_but_understood_or_refused(query: dict[str, str]) -> None:
    arguments = {name: [value.encode("utf-8", "replace")] for name, value in query.items()}
    with contextlib.suppress(GraError):
        parsed_query(SortedListQuery, arguments)


@given(_TEXT.filter(lambda text: text.isprintable()))
def test_texts_are_taken_as_they_are(owner: str) -> None:
    query = _parsed(SortedListQuery, urlencode({"owner": owner}))
    assert query.owner == owner
