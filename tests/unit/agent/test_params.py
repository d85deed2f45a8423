"""The parameters of requests: a wrong one is named, and no value is shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gra_provisioner.agent import params
from gra_provisioner.agent.failure import AgentError

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)

GETTERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "string": lambda values: params.string(values, "field"),
    "optional_string": lambda values: params.optional_string(values, "field"),
    "strings": lambda values: params.strings(values, "field"),
    "mapping": lambda values: params.mapping(values, "field"),
    "integer": lambda values: params.integer(values, "field"),
    "number": lambda values: params.number(values, "field", 2.0),
    "size": lambda values: params.size(values, "field"),
}


@pytest.mark.parametrize(
    ("getter", "value"),
    [
        ("string", "text"),
        ("string", ""),
        ("optional_string", None),
        ("optional_string", "text"),
        ("strings", ["a", ""]),
        ("mapping", {}),
        ("mapping", {"A": "1"}),
        ("integer", -3),
        ("number", 0),
        ("number", 1.5),
        ("size", [24, 80]),
        ("size", None),
    ],
)
def test_what_is_right_is_taken(getter: str, value: Any) -> None:
    taken = GETTERS[getter]({"field": value})

    assert taken == (tuple(value) if getter == "size" and value else value)


@pytest.mark.parametrize(
    ("getter", "value"),
    [
        ("string", None),
        ("string", 5),
        ("string", b"bytes"),
        ("optional_string", 5),
        ("strings", []),
        ("strings", "text"),
        ("strings", ["a", 5]),
        ("mapping", []),
        ("mapping", {"A": 1}),
        ("integer", "5"),
        ("integer", 5.0),
        ("integer", True),
        ("number", "5"),
        ("number", -1),
        ("number", True),
        ("number", float("nan")),
        ("number", float("inf")),
        ("number", 10**400),
        ("size", []),
        ("size", [24]),
        ("size", [0, 80]),
        ("size", [24, 65536]),
        ("size", [True, True]),
        ("size", "24x80"),
    ],
)
def test_what_is_wrong_is_refused_by_name(getter: str, value: Any) -> None:
    with pytest.raises(AgentError, match="'field'") as raised:
        GETTERS[getter]({"field": value})

    assert raised.value.reason == "BadRequest"


def test_what_is_missing_is_refused_or_has_a_default() -> None:
    for getter in ("string", "strings", "integer"):
        with pytest.raises(AgentError, match="'field'"):
            GETTERS[getter]({})
    assert params.string({}, "field", "x") == "x"
    assert params.integer({}, "field", 5) == 5
    assert GETTERS["optional_string"]({}) is None
    assert GETTERS["mapping"]({}) == {}
    assert GETTERS["number"]({}) == 2.0
    assert GETTERS["size"]({}) is None


@given(st.sampled_from(sorted(GETTERS)), json_values)
def test_any_value_is_taken_or_refused(getter: str, value: Any) -> None:
    refusal = "'field'"
    try:
        GETTERS[getter]({"field": value})
    except AgentError as error:
        refusal = error.message
    assert "'field'" in refusal


def test_no_value_of_an_environment_is_shown() -> None:
    with pytest.raises(AgentError) as raised:
        params.mapping({"env": {"TOKEN": "s3cr3t", "N": 1}}, "env")

    assert "s3cr3t" not in str(raised.value.to_wire())
