"""The one tree of errors, and what it looks like on the wire."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gra_provisioner.errors import GraError, RequestError, RunnerEnded, SessionLost, from_wire


def _tree(root: type[GraError] = GraError) -> Iterator[type[GraError]]:
    yield root
    for child in root.__subclasses__():
        yield from _tree(child)


# Others may derive their own, for other users of the same reason.
KINDS = [kind for kind in _tree() if kind.__module__ == GraError.__module__]
texts = st.text(max_size=20)
values = st.none() | st.booleans() | st.integers() | texts | st.lists(texts, max_size=3)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_error_survives_the_wire(kind: type[GraError]) -> None:
    error = kind("It broke.", hint="Mend it.", details={"stderr": ["a", "b"]})

    again = from_wire(json.loads(json.dumps(error.to_dict())))

    assert isinstance(again, kind)
    assert again.to_dict() == error.to_dict()


def test_each_kind_has_a_reason_of_its_own() -> None:
    reasons = [kind.reason for kind in KINDS]

    assert len(set(reasons)) == len(reasons)
    assert all(reason.isidentifier() and reason[0].isupper() for reason in reasons)


def test_exit_codes_of_errors_are_not_those_of_success_or_a_crash() -> None:
    assert all(1 <= kind.exit_code < 64 for kind in KINDS)


@given(texts, texts, texts, st.dictionaries(texts, values, max_size=3))
def test_an_unknown_reason_is_kept(
    reason: str, message: str, hint: str, details: dict[str, object]
) -> None:
    error = {"reason": f"x{reason}", "message": message, "hint": hint, "details": details}

    received = from_wire(error)

    assert type(received) is RequestError
    assert received.to_dict() == error


@given(
    st.dictionaries(
        st.sampled_from(["reason", "message", "hint", "details"]),
        st.none() | st.integers() | st.text(max_size=5) | st.lists(st.integers(), max_size=2),
    )
)
def test_whatever_comes_becomes_an_error(garbled: dict[str, object]) -> None:
    error = from_wire(garbled)

    assert isinstance(error, GraError)
    assert isinstance(error.details, dict)


def test_an_error_reads_as_message_and_hint() -> None:
    assert str(RunnerEnded("It ended.", hint="Start another.")) == "It ended.\nHint: Start another."
    assert str(RunnerEnded("It ended.")) == "It ended."
    assert SessionLost("x", reason="Other").code == "Other"
    assert SessionLost("x").code == "SessionLost"
