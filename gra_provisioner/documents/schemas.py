"""JSON Schemas (2020-12) of the documents.  Pure.

``python -m tools.schemas`` writes those of what the command line prints into ``docs/schemas``; the
REST API's description has those of what it takes and gives.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, models_json_schema
from pydantic_core import core_schema

from .answers import Version
from .base import Error
from .diagnosis import Diagnosis
from .executions import BinaryPiece, Ended, Execution, TextPiece
from .logs import LogLine
from .runners import Change, DeletedRunners, LaunchedRunner, Runner, RunnerWithReason

DIALECT = "https://json-schema.org/draft/2020-12/schema"

#: What commands print with ``--json``, by the name of the schema's file: its title and its type.
OF_COMMANDS: Mapping[str, tuple[str, Any]] = {
    "list": ("gra list --json", list[Runner]),
    "list-watch": ("a line of gra list --watch --json", Change),
    "get": ("gra get --json", RunnerWithReason),
    "create": ("gra create --json", LaunchedRunner),
    "delete": ("gra delete --json", DeletedRunners),
    "exec": ("gra exec --json", Execution),
    "exec-stream": ("a line of gra exec --stream", TextPiece | BinaryPiece | Ended),
    "logs": ("a line of gra logs --json", LogLine),
    "doctor": ("gra doctor --json", Diagnosis),
    "version": ("gra version --json", Version),
    "error": ("an error of any command with --json, on stderr", Error),
}


class _Generator(GenerateJsonSchema):
    """Without a title for each field, which would only be its name again."""

    def field_title_should_be_set(self, schema: core_schema.CoreSchema | Any) -> bool:
        """See :class:`GenerateJsonSchema`."""
        return False


def of_command(name: str) -> dict[str, Any]:
    """The schema of what a command prints: one of :data:`OF_COMMANDS`."""
    title, kind = OF_COMMANDS[name]
    adapter: TypeAdapter[Any] = TypeAdapter(kind)
    schema = adapter.json_schema(mode="serialization", schema_generator=_Generator)
    return {"$schema": DIALECT, **schema, "title": title}


def components(
    given: Iterable[type[BaseModel]], taken: Iterable[type[BaseModel]]
) -> tuple[dict[type[BaseModel], dict[str, Any]], dict[str, Any]]:
    """The schemas of what is given out and of what is taken, as OpenAPI has them.

    For each model a reference to its schema, and the schemas by name.
    """
    modes: list[tuple[type[BaseModel], Literal["serialization", "validation"]]] = [
        *((model, "serialization") for model in given),
        *((model, "validation") for model in taken),
    ]
    references, schemas = models_json_schema(
        modes, ref_template="#/components/schemas/{model}", schema_generator=_Generator
    )
    found = {model: references[model, mode] for model, mode in modes}
    return found, schemas.get("$defs", {})


def properties(model: type[BaseModel]) -> dict[str, Any]:
    """The schema of each field of a flat model, without the null of one that may be left out."""
    schema = model.model_json_schema(mode="validation", schema_generator=_Generator)
    return {name: _not_null(each) for name, each in schema.get("properties", {}).items()}


def _not_null(schema: dict[str, Any]) -> dict[str, Any]:
    kinds = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    kept = {key: value for key, value in schema.items() if key != "anyOf"}
    if kept.get("default", 0) is None:
        del kept["default"]
    if len(kinds) == 1:
        return {**kept, **kinds[0]}
    return {**kept, "anyOf": kinds} if kinds else kept
