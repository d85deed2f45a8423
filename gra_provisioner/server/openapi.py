"""The OpenAPI 3.1 description of the REST API, made from the table of operations.  Pure.

https://spec.openapis.org/oas/v3.1.1.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from .. import __version__
from ..documents.base import Error
from ..documents.schemas import components, properties
from . import sse
from .calls import ROOT, Answer, AtOnce, Events, Operation
from .status import MEANINGS

_ABOUT = """\
gra runs Jupyter kernels in runners: processes on this machine, or pods of a cluster. This is what
can be done with runners; all of it is done as the user of this Jupyter server.

Every error has the same form, Error: reason for programs, message and hint for people. Sizes are in
bytes, durations in seconds, points in time in seconds since the epoch.

Streams are server-sent events (text/event-stream): each has a name and one line of JSON as its
data; the schema of such an answer is that of an event. Lines that begin with a colon are to be
ignored; one comes at least every 15 seconds. An event named error, with an Error, is the last one
of a stream that failed."""

_SECURITY = {
    "token": {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": 'The server\'s token: "token …", or "Bearer …".',
    },
    "tokenInQuery": {
        "type": "apiKey",
        "in": "query",
        "name": "token",
        "description": "The same for clients that can set no header.",
    },
}

_NAMES = {
    "name": {
        "name": "name",
        "in": "path",
        "required": True,
        "description": "The name of a runner.",
        "schema": {"type": "string", "pattern": "^runner-[1-9][0-9]{0,8}$"},
    }
}

_JSON = "application/json"


class Description(BaseModel):
    """An OpenAPI description."""

    model_config = ConfigDict(extra="allow")

    openapi: Literal["3.1.0"]
    info: dict[str, Any] = Field(description="Title and version.")
    servers: list[dict[str, Any]]
    paths: dict[str, Any] = Field(description="What can be asked for.")
    components: dict[str, Any] = Field(description="The schemas of what is given and taken.")


def document(operations: Iterable[Operation], base_url: str) -> dict[str, Any]:
    """The description.  ``base_url`` is the server's: it begins and ends with ``/``."""
    table = tuple(operations)
    given = {model: None for operation in table for model in _given(operation)}
    taken = {operation.body: None for operation in table if operation.body is not None}
    references, schemas = components([*given, Error], taken)
    paths: dict[str, dict[str, Any]] = {}
    for operation in table:
        described = _operation(operation, references)
        paths.setdefault(operation.path, {})[operation.method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {"title": "gra", "version": __version__, "description": _ABOUT},
        "servers": [{"url": f"{base_url}{ROOT}"}],
        "security": [{name: []} for name in _SECURITY],
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": _SECURITY},
    }


def _given(operation: Operation) -> Iterator[type[BaseModel]]:
    for answer in operation.answers.values():
        if answer.model is not None:
            yield answer.model
        if answer.events is not None:
            for models in answer.events.models.values():
                yield from models


def _operation(
    operation: Operation, references: Mapping[type[BaseModel], dict[str, Any]]
) -> dict[str, Any]:
    parameters = [_NAMES[name] for name in re.findall(r"{(\w+)}", operation.path)]
    for name, schema in properties(operation.query).items():
        text = schema.pop("description", "")
        parameters.append({"name": name, "in": "query", "description": text, "schema": schema})
    described: dict[str, Any] = {
        "operationId": operation.id,
        "summary": operation.summary,
        "description": operation.description,
        "parameters": parameters,
    }
    if operation.right is None:
        described["security"] = []
    else:
        described["x-right"] = operation.right
    if operation.body is not None:
        content = {_JSON: {"schema": references[operation.body]}}
        described["requestBody"] = {"required": True, "content": content}
    responses = {
        str(status): _answer(answer, references) for status, answer in operation.answers.items()
    }
    for status in errors_of(operation):
        responses[str(status)] = _error(MEANINGS[status], references)
    responses["default"] = _error("Any other error.", references)
    described["responses"] = responses
    return described


def errors_of(operation: Operation) -> list[int]:
    """The statuses of errors that are described of an operation."""
    found = {400, *operation.errors}
    if operation.right is not None:
        found.add(403)
    if not isinstance(operation.does, AtOnce):
        found.add(503)
    return sorted(found)


def _answer(answer: Answer, references: Mapping[type[BaseModel], dict[str, Any]]) -> dict[str, Any]:
    described: dict[str, Any] = {"description": answer.description}
    content: dict[str, Any] = {}
    if answer.model is not None:
        content[_JSON] = {"schema": references[answer.model]}
    if answer.events is not None:
        described["description"] += f" {answer.events.description}"
        # OpenAPI 3.1 has no words for events; 3.2 has a schema of each of them, in this form.
        content[sse.CONTENT_TYPE] = {"schema": {"oneOf": _events(answer.events, references)}}
    return {**described, "content": content} if content else described


def _events(
    events: Events, references: Mapping[type[BaseModel], dict[str, Any]]
) -> list[dict[str, Any]]:
    """The schema of each kind of event."""
    expected: dict[str, tuple[type[BaseModel], ...]] = {**events.models, "error": (Error,)}
    described = []
    for name, models in expected.items():
        kinds = [references[model] for model in models]
        data = {
            "type": "string",
            "contentMediaType": _JSON,
            "contentSchema": kinds[0] if len(kinds) == 1 else {"anyOf": kinds},
        }
        properties = {"event": {"const": name}, "data": data, "id": {"type": "string"}}
        described.append(
            {"type": "object", "properties": properties, "required": ["event", "data"]}
        )
    return described


def _error(text: str, references: Mapping[type[BaseModel], dict[str, Any]]) -> dict[str, Any]:
    return {"description": text, "content": {_JSON: {"schema": references[Error]}}}
