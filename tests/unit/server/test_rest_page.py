"""docs/rest.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from gra_provisioner.server import status, terminals
from gra_provisioner.server.access import OtherOwners
from gra_provisioner.server.calls import ROOT, Operation
from gra_provisioner.server.handlers import AUTH_RESOURCE
from gra_provisioner.server.openapi import document
from gra_provisioner.server.operations import OPERATIONS

FOLDER = Path(__file__).parents[3] / "docs"
PAGE = (FOLDER / "rest.md").read_text(encoding="utf-8")
ERRORS = (FOLDER / "errors.md").read_text(encoding="utf-8")


def _rows(text: str, head: str) -> list[list[str]]:
    """The rows of the table whose first column is called so."""
    lines = text.partition(f"| {head} |")[2].splitlines()[2:]
    found = []
    for line in lines:
        if not line.startswith("|"):
            break
        found.append([cell.strip() for cell in line.strip("|").split(" | ")])
    assert found, head
    return found


def test_every_operation_is_in_the_table() -> None:
    documented = [[cell.strip("` ") for cell in row[:3]] for row in _rows(PAGE, "Operation")]
    assert documented == [
        [each.id, f"{each.method} {each.path.removeprefix('/')}", each.right or "none"]
        for each in OPERATIONS
    ]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.id)
def test_every_field_of_a_request_is_named(operation: Operation) -> None:
    names = {
        *operation.query.model_fields,
        *(operation.body.model_fields if operation.body else ()),
    }
    # What several have is said once.
    inherited = {
        "readLogs": "readLog",
        "watchRunners": "listRunners",
        "streamExecution": "execute",
        "startKernel": "createRunner",
    }
    ids = {operation.id, inherited.get(operation.id, operation.id)}
    said = " ".join(row[3] for row in _rows(PAGE, "Operation") if row[0].strip("`") in ids)
    unsaid = {name for name in names if not re.search(rf"\b{name}\b", said)}
    # Of one runner only whether it is asked; that is said below the table.
    assert unsaid <= ({"inspect"} if operation.id == "getRunner" else set())


def test_the_table_of_statuses_is_that_of_the_code() -> None:
    rows = {int(row[0]): row[2] for row in _rows(PAGE, "Status")}
    assert set(rows) == set(status.MEANINGS)
    tables = [status.OF_THE_API, status.OF_THE_CLUSTER, status.OF_A_LAUNCH, status.OF_AN_AGENT]
    for code, reasons in rows.items():
        for reason in re.findall(r"`(\w+)`", reasons):
            given = {table[reason] for table in tables if reason in table}
            given |= {
                status.status_of(kind("x")) for kind in status.BY_CLASS if kind.reason == reason
            }
            assert not given or code in given, reason
            assert f"`{reason}`" in ERRORS


def test_every_status_of_the_apis_own_reasons_is_in_errors_md() -> None:
    section = ERRORS.partition("## REST API")[2].partition("\n## ")[0]
    documented = {row[0].strip("`"): int(row[1]) for row in _rows(section, "Reason")}
    assert documented == dict(status.OF_THE_API)


def test_every_event_is_in_the_table() -> None:
    said = {row[0].strip("`"): row[1] for row in _rows(PAGE, "Stream")}
    for operation in OPERATIONS:
        for answer in operation.answers.values():
            if answer.events is None or operation.id == "readLogs":
                continue
            (row,) = (
                events for path, events in said.items() if path.partition("?")[0] in operation.path
            )
            assert set(re.findall(r"`(\w+)`", row)) == set(answer.events.models)


def test_every_setting_for_others_runners_is_in_the_table() -> None:
    rows = _rows(PAGE, "`server.other_owners`")
    assert [re.findall(r"`(\w+)`", row[0])[0] for row in rows] == list(get_args(OtherOwners))


def test_names_are_those_of_the_code() -> None:
    assert f"`{ROOT}/`" in PAGE
    assert f"`{AUTH_RESOURCE}`" in PAGE
    linked = set(re.findall(r"\]\(schemas/([a-z-]+\.json)\)", PAGE))
    assert linked == {path.name for path in (FOLDER / "schemas").glob("*.json")}


def test_the_requests_of_the_examples_exist() -> None:
    described = {*document(OPERATIONS, "/")["paths"], terminals.PATH}
    examples = re.findall(r"gra/api(/[\w/.{}-]+)", PAGE)
    assert len(examples) >= 4
    # OpenAPI has no words for a websocket, so the page alone tells of it.
    assert terminals.PATH in examples
    for path in examples:
        assert re.sub(r"runner-\d+", "{name}", path) in described
