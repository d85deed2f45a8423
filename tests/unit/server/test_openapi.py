"""The description of the REST API is one, and says what the table of operations says."""

from __future__ import annotations

import inspect
import json
import re
from typing import Any

import jsonschema
import pytest
import schemathesis

from gra_provisioner.documents.queries import NoQuery
from gra_provisioner.server import openapi, status
from gra_provisioner.server.calls import AsAsked, AtOnce, Operation, Streamed
from gra_provisioner.server.handlers import AUTH_RESOURCE, ApiHandler, handlers
from gra_provisioner.server.operations import OPERATIONS

_DOCUMENT = openapi.document(OPERATIONS, "/user/ada/")


def _described(operation: Operation) -> Any:
    return _DOCUMENT["paths"][operation.path][operation.method.lower()]


def test_it_is_an_openapi_description() -> None:
    # With its own check of the whole document (schemathesis has the schema of OpenAPI 3.1).
    schema = schemathesis.openapi.from_dict(json.loads(json.dumps(_DOCUMENT)))
    schema.validate()
    found = [result.ok() for result in schema.get_all_operations()]
    assert len(found) == len(OPERATIONS)
    assert _DOCUMENT["servers"] == [{"url": "/user/ada/gra/api"}]


def test_every_schema_is_a_json_schema() -> None:
    schemas = _DOCUMENT["components"]["schemas"]
    for name, schema in schemas.items():
        jsonschema.Draft202012Validator.check_schema(schema)
        assert schema["description"], name
    used = set(re.findall(r"#/components/schemas/(\w+)", json.dumps(_DOCUMENT)))
    assert used == set(schemas)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.id)
def test_every_operation_is_described(operation: Operation) -> None:
    described = _described(operation)
    assert described["operationId"] == operation.id
    assert described["summary"]
    assert described["description"].endswith(".")
    for parameter in described["parameters"]:
        assert parameter["description"], parameter["name"]
        assert parameter["schema"], parameter["name"]
    responses = described["responses"]
    assert {int(code) for code in responses if code != "default"} == {
        *operation.answers,
        *openapi.errors_of(operation),
    }
    assert "default" in responses
    for code, response in responses.items():
        assert response["description"]
        if code != "default" and int(code) >= 400:
            assert int(code) in status.MEANINGS
    if isinstance(operation.does, (Streamed, AsAsked)):
        content = responses["200"]["content"]["text/event-stream"]
        names = [event["properties"]["event"]["const"] for event in content["schema"]["oneOf"]]
        assert names[-1] == "error"
        assert len(names) > 1
    assert ("requestBody" in described) == (operation.body is not None)
    assert (described.get("security") == []) == (operation.right is None)


def test_what_changes_something_is_no_get() -> None:
    for operation in OPERATIONS:
        assert (operation.right == "read") == (
            operation.method == "GET" and operation.id != "health"
        )
        assert operation.body is None or operation.method == "POST"
        assert operation.query is NoQuery or operation.method != "POST"


def test_the_handlers_are_those_of_the_table() -> None:
    made = handlers(OPERATIONS, "/", None, "")  # type: ignore[arg-type]
    found = {}
    for pattern, handler, _ in made:
        for method, operation in handler.operations.items():
            found[method, operation.path] = pattern
            function = getattr(handler, method.lower())
            assert inspect.iscoroutinefunction(inspect.unwrap(function)) or callable(function)
            open_to_all = getattr(function, "__allow_unauthenticated", False)
            assert open_to_all == (operation.right is None)
        assert handler.auth_resource == AUTH_RESOURCE
        assert issubclass(handler, ApiHandler)
    assert set(found) == {(operation.method, operation.path) for operation in OPERATIONS}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/gra/api/runners", "/runners"),
        ("/gra/api/runners/watch", "/runners/watch"),
        ("/gra/api/runners/runner-1", "/runners/{name}"),
        ("/gra/api/runners/runner-1/exec", "/runners/{name}/exec"),
        ("/gra/api/runners/", None),
        ("/gra/api/runners/a/b", None),
        ("/gra/api/openapijson", None),
        ("/gra/api", None),
        ("/gra/apiary", "nothing"),
    ],
)
def test_a_path_leads_to_one_handler(path: str, expected: str | None) -> None:
    made = handlers(OPERATIONS, "/", None, "")  # type: ignore[arg-type]
    # As tornado looks: the first that fits.
    found = [handler for pattern, handler, _ in made if re.fullmatch(pattern, path)]
    if expected == "nothing":
        assert not found
        return
    paths = {operation.path for operation in found[0].operations.values()}
    assert paths == ({expected} if expected else set())


def test_what_needs_nobody_tells_nothing() -> None:
    (operation,) = (each for each in OPERATIONS if each.right is None)
    assert operation.path == "/health"
    assert isinstance(operation.does, AtOnce)
    assert 403 not in openapi.errors_of(operation)
