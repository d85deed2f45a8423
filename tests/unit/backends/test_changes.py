"""What watchers are told between two lists of runners."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gra_provisioner.backends.changes import Changes
from gra_provisioner.runner import ChangeKind, Runner, RunnerLabels, RunnerStatus

_RUNNERS = st.builds(
    lambda number, uid, status: Runner(
        name=f"runner-{number}",
        uid=uid,
        backend="local",
        profile="small",
        labels=RunnerLabels("ada"),
        created=1.0,
        status=status,
    ),
    st.integers(1, 4),
    st.sampled_from(["", "a", "b"]),
    st.sampled_from(RunnerStatus),
)
# As in a real list, no name comes twice.
_LISTS = st.lists(st.lists(_RUNNERS, unique_by=lambda runner: runner.name), max_size=6)


@given(_LISTS)
def test_whoever_applies_the_changes_has_each_list(lists: list[list[Runner]]) -> None:
    changes, seen = Changes(), dict[str, Runner]()
    for runners in lists:
        for change in changes.to(runners):
            runner = change.runner
            assert runner is not None
            known = seen.get(runner.name)
            if change.kind is ChangeKind.ADDED:
                assert known is None, "another of the name is told to be gone first"
            else:
                assert known is not None
                assert known.uid == runner.uid
            if change.kind is ChangeKind.DELETED:
                del seen[runner.name]
            else:
                assert known != runner, "what did not change is not told"
                seen[runner.name] = runner
        assert sorted(seen.values(), key=lambda runner: runner.name) == sorted(
            runners, key=lambda runner: runner.name
        )


@given(st.lists(_RUNNERS, unique_by=lambda runner: runner.name))
def test_a_list_that_is_the_same_tells_nothing(runners: list[Runner]) -> None:
    changes = Changes()
    list(changes.to(runners))
    assert list(changes.to(reversed(runners))) == []
