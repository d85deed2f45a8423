"""Which runners are meant, and in which order they come."""

from __future__ import annotations

import dataclasses
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gra_provisioner.runner import (
    Change,
    ChangeKind,
    KernelState,
    Runner,
    RunnerLabels,
    RunnerStatus,
    Usage,
)
from gra_provisioner.selection import SORT_KEYS, SelectedChanges, Selection, by_number, select

_RUNNER = Runner(
    name="runner-2",
    uid="u-2",
    backend="local",
    profile="small",
    labels=RunnerLabels(
        "ada",
        "k-1",
        "gra",
        "work/penguins.ipynb",
        user_labels={"team": "a", "stage": "test"},
    ),
    created=100.0,
    status=RunnerStatus.RUNNING,
    kernel=KernelState.IDLE,
    usage=Usage(0.5, 1000),
)


def _other(number: int, **changes: object) -> Runner:
    return dataclasses.replace(_RUNNER, name=f"runner-{number}", uid=f"u-{number}", **changes)


@pytest.mark.parametrize(
    ("selection", "is_meant"),
    [
        (Selection(), True),
        (Selection(owner="ada"), True),
        (Selection(owner="bob"), False),
        (Selection(names=frozenset({"runner-1", "runner-2"})), True),
        (Selection(names=frozenset({"runner-20"})), False),
        (Selection(names=frozenset({"runner-2"}), owner="bob"), False),
        (Selection(statuses=frozenset({RunnerStatus.RUNNING, RunnerStatus.ENDED})), True),
        (Selection(statuses=frozenset({RunnerStatus.ENDED})), False),
        (Selection(profile="small"), True),
        (Selection(profile="smal"), False),
        (Selection(labels={"team": "a"}), True),
        (Selection(labels={"team": "a", "stage": "live"}), False),
        (Selection(labels={"other": ""}), False),
        (Selection(kernel="k-1"), True),
        (Selection(kernel="gra"), True),
        (Selection(kernel="k-2"), False),
        (Selection(notebook="work/penguins.ipynb"), True),
        (Selection(notebook="*.ipynb"), True),
        (Selection(notebook="penguins.ipynb"), False),
        (Selection(owner="ada", profile="large"), False),
    ],
)
def test_a_runner_is_meant_by_all_that_is_given(selection: Selection, is_meant: bool) -> None:
    assert selection.matches(_RUNNER) is is_meant


def test_a_notebook_whose_name_looks_like_a_pattern_is_found_by_it() -> None:
    odd = _other(1, labels=RunnerLabels("ada", notebook="a[1].ipynb"))
    assert Selection(notebook="a[1].ipynb").matches(odd)


def test_a_runner_without_a_notebook_or_kernel_is_not_meant_by_one() -> None:
    bare = _other(1, labels=RunnerLabels("ada"))
    assert not Selection(notebook="?*").matches(bare)
    assert not Selection(kernel="gra").matches(bare)


@pytest.mark.parametrize(
    ("sort", "names"),
    [
        ("name", ["runner-1", "runner-2", "runner-10"]),
        ("age", ["runner-10", "runner-2", "runner-1"]),
        ("status", ["runner-1", "runner-2", "runner-10"]),
        ("cpu", ["runner-10", "runner-2", "runner-1"]),
        ("memory", ["runner-2", "runner-10", "runner-1"]),
        ("notebook", ["runner-10", "runner-2", "runner-1"]),
    ],
)
def test_the_order_is_the_one_that_is_asked_for(sort: str, names: list[str]) -> None:
    runners = [
        _other(10, created=300.0, usage=Usage(2.0, 10), labels=RunnerLabels("b", notebook="a")),
        _other(
            1,
            created=50.0,
            usage=Usage(),
            status=RunnerStatus.ENDED,
            labels=RunnerLabels("a", notebook=None),
        ),
        _RUNNER,
    ]
    assert [runner.name for runner in select(runners, Selection(sort=sort))] == names
    backwards = select(runners, Selection(sort=sort, reverse=True))
    assert [runner.name for runner in backwards] == names[::-1]


@given(
    st.lists(st.integers(1, 40), unique=True),
    st.sampled_from(SORT_KEYS),
    st.booleans(),
    st.none() | st.integers(0, 50),
    st.randoms(use_true_random=False),
)
def test_the_order_they_come_in_makes_no_difference(
    numbers: list[int], sort: str, reverse: bool, limit: int | None, dice: random.Random
) -> None:
    runners = [
        _other(n, created=float(n % 3), usage=Usage(None if n % 5 else float(n % 2)))
        for n in numbers
    ]
    selection = Selection(sort=sort, reverse=reverse, limit=limit)
    chosen = select(runners, selection)
    dice.shuffle(runners)
    assert select(runners, selection) == chosen
    assert len(chosen) == min(len(runners), len(runners) if limit is None else limit)
    if sort == "name":
        assert chosen == sorted(runners, key=by_number, reverse=reverse)[:limit]


def test_changes_are_told_of_those_that_are_meant() -> None:
    ended = dataclasses.replace(_RUNNER, status=RunnerStatus.ENDED)
    other = _other(3, profile="large")
    chosen = SelectedChanges(Selection(profile="small", statuses=frozenset({RunnerStatus.RUNNING})))
    told = [
        chosen.of(Change(kind, runner))
        for kind, runner in (
            (ChangeKind.ADDED, _RUNNER),
            (ChangeKind.ADDED, other),
            (ChangeKind.SYNCED, None),
            (ChangeKind.MODIFIED, _RUNNER),
            # Still there, and no longer meant.
            (ChangeKind.MODIFIED, ended),
            (ChangeKind.MODIFIED, ended),
            (ChangeKind.DELETED, ended),
            (ChangeKind.DELETED, other),
            # Another of its name.
            (ChangeKind.ADDED, dataclasses.replace(_RUNNER, uid="u-9")),
            (ChangeKind.DELETED, dataclasses.replace(_RUNNER, uid="u-9")),
        )
    ]
    assert [change and change.kind for change in told] == [
        ChangeKind.ADDED,
        None,
        ChangeKind.SYNCED,
        ChangeKind.MODIFIED,
        ChangeKind.DELETED,
        None,
        None,
        None,
        ChangeKind.ADDED,
        ChangeKind.DELETED,
    ]
