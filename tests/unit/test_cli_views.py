"""Tables, JSON, YAML and names of runners, without any runner."""

from __future__ import annotations

import dataclasses
import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from gra_provisioner.backends.local import LocalBackend
from gra_provisioner.cli.columns import Cell, Columns
from gra_provisioner.cli.views import VIEWS, Format, columns, none, rows
from gra_provisioner.runner import (
    Change,
    ChangeKind,
    Runner,
    RunnerLabels,
)
from gra_provisioner.selection import Selection
from gra_provisioner.service import RunnerService
from tests.support.sample_runners import BARE, FULL, NOW


def _lines(runners: list[Runner], form: Format = Format.TABLE) -> list[str]:
    return columns(form).format(rows(runners, form, NOW))


def test_runners_are_listed_in_columns() -> None:
    assert _lines([FULL, BARE]) == [
        "NAME       PROFILE  STATUS   KERNEL   AGE  CPU   MEMORY           NOTEBOOK",
        "runner-1   small    running  busy     2m   0.42  192 MiB / 2 GiB  work/a.ipynb",
        "runner-22  large    lost     unknown  2d   -     -                -",
    ]


def test_the_wide_table_has_more_columns() -> None:
    header, full, bare = _lines([FULL, BARE], Format.WIDE)
    more = ["OWNER", "NODE", "KERNELSPEC", "CLIENTS", "FROM", "LABELS", "MOUNTS", "WHY"]
    assert header.split()[-len(more) :] == more
    shown, _, why = full.partition("/data/lake,/data/logs:failed")
    assert shown.split()[-6:] == ["me", "-", "gra", "1", "host", "team=a"]
    # A runner that is well, with a mount that is not.
    assert why.strip() == (
        "/data/logs (s3://logs) could not be mounted: There is no bucket logs at https://s3.example.com."
    )
    assert bare.endswith("The process is gone.")


def test_a_notebooks_name_can_neither_steer_the_terminal_nor_break_the_table() -> None:
    labels = RunnerLabels("me", notebook="a\x1b[2Jb\n[red]c[/red].ipynb")
    runner = Runner("runner-1", "u", "local", "small", labels, NOW)

    _, line = _lines([runner])

    assert line.endswith("a�[2Jb [red]c[/red].ipynb")


def test_no_runners_of_somebody_are_told_from_no_runners_at_all() -> None:
    assert none(Selection()) == "no runners"
    assert "ada" in none(Selection(owner="ada"))
    assert "--all" in none(Selection(owner="ada"))


# -- columns --------------------------------------------------------------------------------------

_TEXT = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), max_size=30)
_CELLS = st.builds(Cell, _TEXT, st.sampled_from([None, "red", "green"]), st.booleans())


@given(
    st.lists(st.lists(_CELLS, min_size=3, max_size=3), min_size=1, max_size=6), st.integers(30, 90)
)
def test_a_table_fits_the_terminal(found: list[list[Cell]], width: int) -> None:
    table = Columns(["ONE", "TWO", "THREE"], width, coloured=False)
    assert max(map(cell_len, table.format(found))) <= width


@given(
    st.lists(st.lists(_CELLS, min_size=2, max_size=2), min_size=2, max_size=6), st.integers(1, 5)
)
def test_later_rows_stand_in_the_same_columns(found: list[list[Cell]], first: int) -> None:
    table = Columns(["ONE", "TWO"], 60, coloured=False)
    lines = table.format(found[:first]) + table.format(found[first:])
    assert len(lines) == len(found) + 1, "the titles come once"
    start = lines[0].index("TWO")
    for line, (_, second) in zip(lines[1:], found, strict=True):
        if second.text.strip() and second.text[0] != " ":
            shown = line.encode()
            # Whatever the first cell was, the second begins where its title does.
            assert any(
                cell_len(line[:at]) == start and line[at:].startswith(second.text[:1])
                for at in range(len(line))
            ), (shown, second)


def test_nothing_is_cut_or_coloured_where_there_is_no_terminal() -> None:
    table = Columns(["ONE"], None)
    assert table.format([[Cell("x", "red")]]) == ["ONE", "x"]
    assert table.format([[Cell("much longer", "red")]]) == ["much longer"]


def test_states_are_coloured_on_a_terminal() -> None:
    _, line = Columns(["ONE"], 80).format([[Cell("running", "green")]])
    assert line == "\x1b[32mrunning\x1b[0m"


# -- data -----------------------------------------------------------------------------------------


@pytest.fixture
def service(tmp_path_factory: pytest.TempPathFactory) -> RunnerService:
    return RunnerService(LocalBackend(tmp_path_factory.mktemp("state")), "Because.", "me")


@pytest.mark.parametrize("form", [Format.JSON, Format.YAML])
def test_a_list_is_one_document(
    service: RunnerService, form: Format, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = dataclasses.replace(BARE, labels=RunnerLabels("mé", notebook="no: [x]\n.ipynb"))
    view = VIEWS[form](service, Selection())
    view.part([FULL])
    view.part([odd])
    view.end()
    said = capsys.readouterr()
    load = json.loads if form is Format.JSON else yaml.safe_load
    assert load(said.out) == [FULL.public(), odd.public()]
    assert said.err == ""


def test_changes_are_told_in_each_format(
    service: RunnerService, capsys: pytest.CaptureFixture[str]
) -> None:
    told = [
        Change(ChangeKind.ADDED, FULL),
        Change(ChangeKind.SYNCED),
        Change(ChangeKind.DELETED, FULL),
    ]

    def said(form: Format) -> str:
        view = VIEWS[form](service, Selection())
        for change in told:
            view.change(change)
        return capsys.readouterr().out

    lines = [json.loads(line) for line in said(Format.JSON).splitlines()]
    assert lines == [change.public() for change in told]
    assert list(yaml.safe_load_all(said(Format.YAML))) == [change.public() for change in told]
    assert said(Format.NAME) == "runner-1\n"
    header, added, deleted = said(Format.TABLE).splitlines()
    assert header.startswith("NAME")
    assert added.split()[2] == "running"
    assert deleted.split()[2] == "deleted"
