"""What is copied from one folder to another: whatever both sides did, nothing is lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gra_provisioner.workspace.plan import Side, largest, plan, to_compare, within
from gra_provisioner.workspace.tree import FILE, FOLDER, Entry

_NAMES = st.sampled_from(["a", "b", "c", "d/e", "d/f"])


def _file(path: str, content: int, changed: int) -> Entry:
    return Entry(path, FILE, content, changed, changed, 0o644)


@st.composite
def histories(draw: st.DrawFn) -> tuple[dict[str, Entry], dict[str, Entry], dict[str, Entry]]:
    """What both sides had at first, and what each of them has now: path by path."""

    def some(at: int) -> dict[str, Entry]:
        contents = draw(st.dictionaries(_NAMES, st.integers(0, 2)))
        return {path: _file(path, content, at) for path, content in contents.items()}

    first = some(1)
    sides = []
    for at in (2, 3):
        side = {**first, **some(at)}
        for path in draw(st.sets(_NAMES)):
            side.pop(path, None)
        sides.append(side)
    return first, sides[0], sides[1]


def _side(now: dict[str, Entry], first: dict[str, Entry]) -> Side:
    settled = {path for path, entry in now.items() if first.get(path) == entry}
    return Side(now, settled)


@given(histories())
def test_of_changes_none_is_lost(
    history: tuple[dict[str, Entry], dict[str, Entry], dict[str, Entry]],
) -> None:
    first, ours, theirs = history
    planned = plan(_side(theirs, first), _side(ours, first), whole=False)

    changed = {path for path, entry in theirs.items() if first.get(path) != entry}
    assert {entry.path for entry in planned.files} == changed
    for path in changed:
        mine = ours.get(path)
        # Only what is here as it was at first is replaced.
        if planned.over[path] is None:
            assert mine is None or mine != first.get(path)
        else:
            assert mine == first[path]
        assert (path in planned.conflicts) == (mine is not None and mine != first.get(path))


@given(histories())
def test_of_a_whole_directory_all_gets_there_but_what_is_newer_there(
    history: tuple[dict[str, Entry], dict[str, Entry], dict[str, Entry]],
) -> None:
    first, ours, theirs = history
    planned = plan(_side(ours, first), _side(theirs, first), whole=True)

    sent = {entry.path for entry in planned.files}
    for path, entry in ours.items():
        there = theirs.get(path)
        if there is not None and (there.size, there.mtime) == (entry.size, entry.mtime):
            assert path not in sent
        elif path in planned.waiting:
            assert entry == first[path]
            assert there != first[path]
        else:
            assert path in sent
            assert planned.over[path] is None or there == first[path]


@given(histories())
def test_a_second_time_nothing_is_left_to_do(
    history: tuple[dict[str, Entry], dict[str, Entry], dict[str, Entry]],
) -> None:
    first, _, theirs = history
    planned = plan(_side(theirs, first), Side(first, first.keys()), whole=False)
    now = {**first, **{entry.path: entry for entry in planned.files}}
    again = plan(Side(theirs, theirs.keys()), Side(now, now.keys()), whole=False)
    assert not again.entries


def test_what_is_equal_is_no_conflict() -> None:
    source, target = Side({"a": _file("a", 1, 2)}), Side({"a": _file("a", 1, 3)})
    planned = plan(source, target, whole=False)
    assert planned.conflicts == ("a",)
    assert to_compare(source, target, planned) == ["a"]
    assert not plan(source, target, whole=False, equal=frozenset("a")).files
    other = Side({"a": _file("a", 2, 3)})
    assert not to_compare(source, other, plan(source, other, whole=False))


def test_a_folder_in_the_place_of_a_file_is_never_replaced() -> None:
    folder = Entry("a", FOLDER, 0, 0, 0, 0o755)
    planned = plan(Side({"a": _file("a", 1, 2)}), Side({"a": folder}, {"a"}), whole=False)
    assert planned.over == {"a": None}


@given(st.lists(st.integers(0, 50), max_size=8), st.integers(0, 100))
def test_as_many_files_as_fit_are_taken_the_smallest_first(sizes: list[int], limit: int) -> None:
    entries = {str(n): _file(str(n), size, 2) for n, size in enumerate(sizes)}
    planned = plan(Side(entries), Side({}), whole=False)
    taken, left = within(planned, limit)
    assert taken.size <= limit
    assert sorted(e.path for e in (*taken.files, *left)) == sorted(entries)
    if left:
        assert taken.size + min(e.size for e in left) > limit
        assert max((e.size for e in taken.files), default=0) <= min(e.size for e in left)


def test_the_largest_are_named_with_what_is_below_them() -> None:
    entries = [_file(f"data/{n}/x", 10, 1) for n in range(3)] + [_file("b", 20, 1)]
    assert largest(entries) == [("data/", 30, 3), ("b", 20, 1)]
