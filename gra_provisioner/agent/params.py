"""Checks the parameters of requests: each getter names the field that is wrong.  Pure."""

from __future__ import annotations

import sys
from typing import Any, Dict, List, Mapping, Optional

from .failure import AgentError


def _wrong(name: str, expected: str, value: Any) -> AgentError:
    return AgentError(
        "BadRequest", f"The parameter {name!r} is to be {expected}, not {type(value).__name__}."
    )


def string(params: Mapping[str, Any], name: str, default: Optional[str] = None) -> str:
    """A string; required unless a default is given."""
    value = params.get(name, default)
    if not isinstance(value, str):
        raise _wrong(name, "a string", value)
    return value


def optional_string(params: Mapping[str, Any], name: str) -> Optional[str]:
    """A string or nothing."""
    return None if params.get(name) is None else string(params, name)


def strings(params: Mapping[str, Any], name: str) -> List[str]:
    """A list of at least one string."""
    value = params.get(name)
    if not isinstance(value, list) or not value or not all(isinstance(v, str) for v in value):
        raise _wrong(name, "a list of strings, not empty", value)
    return value


def mapping(params: Mapping[str, Any], name: str) -> Dict[str, str]:
    """An object of strings; empty if absent.  The message never shows a value."""
    value = params.get(name, {})
    if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
        raise _wrong(name, "an object of strings", value)
    return value


def integer(params: Mapping[str, Any], name: str, default: Optional[int] = None) -> int:
    """An integer; required unless a default is given."""
    value = params.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool):
        raise _wrong(name, "an integer", value)
    return value


def flag(params: Mapping[str, Any], name: str) -> bool:
    """True or false; false if absent."""
    value = params.get(name, False)
    if not isinstance(value, bool):
        raise _wrong(name, "true or false", value)
    return value


def number(params: Mapping[str, Any], name: str, default: float) -> float:
    """A number that is not negative, or the default."""
    value = params.get(name, default)
    if (
        not isinstance(value, (int, float))
        or isinstance(value, bool)
        or not 0 <= value <= sys.float_info.max
    ):
        raise _wrong(name, "a number, 0 or more", value)
    return float(value)


def size(params: Mapping[str, Any], name: str) -> Any:
    """A terminal's ``[rows, columns]``, or None if absent."""
    value = params.get(name)
    if value is None:
        return None
    if (
        not isinstance(value, list)
        or len(value) != 2
        or not all(type(v) is int and 0 < v < 1 << 16 for v in value)
    ):
        raise _wrong(name, "[rows, columns]", value)
    return (value[0], value[1])
