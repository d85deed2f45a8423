"""A request's query as its model has it.  Pure."""

from __future__ import annotations

import re
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from ..documents.requests import Request
from ..errors import ConfigError, GraError
from ..validation import JSON_RULES, validated

_Query = TypeVar("_Query", bound=Request)

# What jupyter_server itself reads in any query.
_OF_THE_SERVER = frozenset({"token", "no_track_activity", "_xsrf"})
# As in JSON (RFC 8259, section 6).
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})", re.ASCII)
_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,17})([.][0-9]{1,17})?([eE][+-]?[0-9]{1,2})?", re.ASCII)
_BOOLEANS = {"true": True, "false": False}


def parsed_query(model: type[_Query], arguments: Mapping[str, Sequence[bytes]]) -> _Query:
    """The query of a URL, checked.  ``arguments`` are the values of each name, unquoted.

    Raises :class:`GraError` ``InvalidQuery``.
    """
    document: dict[str, Any] = {}
    for name, values in arguments.items():
        if name in _OF_THE_SERVER:
            continue
        try:
            texts = [value.decode() for value in values]
        except UnicodeDecodeError:
            raise _invalid(f"query: {name} is no UTF-8", name) from None
        kinds = _kinds(model, name)
        if list in kinds:
            document[name] = texts
        elif len(texts) > 1:
            raise _invalid(f"query: {name} is given {len(texts)} times, once is allowed", name)
        else:
            document[name] = _value(texts[0], kinds)
    try:
        return validated(model, document, "query", rules=JSON_RULES)
    except ConfigError as error:
        raise invalid(error, "InvalidQuery") from None


def invalid(error: ConfigError, reason: str) -> GraError:
    """What is wrong with what a client sent, in place of what is wrong with configuration."""
    return GraError(error.message, hint=error.hint, reason=reason, details=error.details)


def _invalid(message: str, name: str) -> GraError:
    return GraError(message, reason="InvalidQuery", details={"source": "query", "fields": [name]})


def _kinds(model: type[Request], name: str) -> set[Any]:
    """The types that a field may have: ``{bool, NoneType}``, ``{list}``."""
    field = model.model_fields.get(name)
    if field is None:
        return set()
    kind = field.annotation
    if typing.get_origin(kind) is list:
        return {list}
    return set(typing.get_args(kind)) or {kind}


def _value(text: str, kinds: set[Any]) -> Any:
    if bool in kinds:
        return _BOOLEANS.get(text, text)
    if int in kinds and _INTEGER.fullmatch(text):
        return int(text)
    if float in kinds and _NUMBER.fullmatch(text):
        return float(text)
    return text
