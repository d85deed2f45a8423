"""From a layer of configuration to its model, or to an error that its author can act on.

pydantic's own errors hold the values, secrets included, and speak of types; these name the layer,
the field, what is there and what is allowed.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from .errors import ConfigError
from .fields import Table

# What pydantic's types of error ask for, in the words of the file's author.
_RULES = {
    "missing": "must be given",
    "model_type": "must be a table",
    "dict_type": "must be a table",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "string_type": "must be a text in quotes",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a number",
    "greater_than": "must be more than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than_equal": "must be at most {le:g}",
    "too_short": "must have at least {min_length}",
    "string_too_short": "must have at least {min_length} characters",
    "string_pattern_mismatch": "must match {pattern}",
}
# The same of JSON, which has other words for its types.
JSON_RULES = {
    **_RULES,
    "model_type": "must be an object",
    "dict_type": "must be an object",
    "tuple_type": "must be an array",
    "list_type": "must be an array",
    "string_type": "must be a string",
}

_Model = TypeVar("_Model", bound=Table)


def validated(
    model: type[_Model],
    data: Any,
    source: str,
    *,
    names: bool = True,
    rules: Mapping[str, str] = _RULES,
) -> _Model:
    """One layer, checked.  ``names``: whether errors name the field besides the source.

    ``rules`` are what errors ask for, by pydantic's types of error.  Raises
    :class:`~gra_provisioner.errors.ConfigError` with all that is wrong, a line each.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        problems = error.errors(include_url=False)
    # Outside of the handler: pydantic's exception holds the values, secrets included.
    lines, hints, fields = [], [], []
    for problem in problems:
        path, given, rule, hint = _explained(problem, rules)
        fields.append(path)
        subject = ": ".join(part for part in (source, path) if part) if names else source
        lines.append(f"{subject} is {given}, {rule}" if given else f"{subject}: {rule}")
        hints.extend([hint] if hint else [])
    raise ConfigError(
        # A variable may set the same field of many profiles.
        "\n".join(dict.fromkeys(lines)),
        hint=" ".join(dict.fromkeys(hints)),
        details={"source": source, "fields": fields},
    )


def _explained(problem: ErrorDetails, rules: Mapping[str, str]) -> tuple[str, str, str, str]:
    """One of pydantic's errors as (dotted path, value as shown or "", rule, hint)."""
    context = problem.get("ctx", {})
    location = [part for part in problem["loc"] if part != "[key]"]
    kind, given = problem["type"], problem["input"]
    hint = ""
    if kind == "unknown_field":
        name, allowed = context["name"], context["allowed"]
        location, given = [*location, name], None
        rule = f"unknown field; allowed: {', '.join(allowed)}"
        hint = nearest(name, allowed)
    elif kind == "wrong_field":
        location, given = [*location, context["field"]], None
        rule = context["rule"]
    elif kind == "literal_error":
        rule = f"must be {context['expected']}".replace("'", '"')
        hint = nearest(str(given), re.findall("'([^']*)'", context["expected"]))
    elif kind == "value_error":
        rule = str(context["error"])
    else:
        rule = rules.get(kind, "").format(**context) or problem["msg"]
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    # A value of the environment may be a secret whatever is wrong with it, and who misreads where
    # credentials belong writes them there, or into a URL.
    hidden = bool({"env", "credentials"} & set(location)) or "[key]" in problem["loc"]
    hidden = hidden or ("endpoint" in location and "@" in str(given))
    shown = "" if hidden else quoted(given)
    return path.lstrip("."), shown, rule, hint


def quoted(value: object) -> str:
    """A single value as it stands in the file, shortened; "" for tables and lists."""
    if not isinstance(value, (str, int, float)):
        return ""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:79]}…"


def nearest(name: str, allowed: Iterable[str]) -> str:
    """A hint at the allowed name that was probably meant; "" if none is like it."""
    matches = difflib.get_close_matches(name, list(allowed), n=1)
    return f'Did you mean "{matches[0]}"?' if matches else ""
