"""The parts of ``gra run`` that need no runner: notebooks on disk, live output, the outcome."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gra_provisioner.cli.live_output import LiveOutput
from gra_provisioner.cli.notebook_file import (
    check_language,
    language_of,
    read_notebook,
    require_writable,
    runnable,
    write_notebook,
)
from gra_provisioner.cli.outcome import (
    TIME_IS_OVER,
    CellFailed,
    Cells,
    LanguageMismatch,
    Outcome,
    RunTimedOut,
    stopped,
)
from gra_provisioner.cli.stopping import Stop
from gra_provisioner.errors import ConfigError, GraError

_IPYKERNEL = ("python", "-m", "ipykernel_launcher", "-f", "{connection_file}")
_WITHIN = 30.0


def _notebook(*cells: str, **metadata: Any) -> nbformat.NotebookNode:
    notebook = nbformat.v4.new_notebook(metadata=metadata)
    notebook.cells = [nbformat.v4.new_code_cell(cell) for cell in cells]
    return notebook


def _stream(text: str, name: str = "stdout") -> nbformat.NotebookNode:
    return nbformat.v4.new_output("stream", name=name, text=text)


# -- reading --------------------------------------------------------------------------------


def test_what_will_be_run_is_read_without_old_outputs(tmp_path: Path) -> None:
    notebook = _notebook("1", "  \n", "skipped")
    notebook.cells.append(nbformat.v4.new_markdown_cell("# Title"))
    notebook.cells[2].metadata["tags"] = ["skip-execution"]
    for cell in notebook.cells[:3]:
        cell.outputs, cell.execution_count = [_stream("old")], 9
    nbformat.write(notebook, tmp_path / "a.ipynb")

    read = read_notebook(tmp_path / "a.ipynb")

    assert [place for place, _ in runnable(read)] == [0]
    assert (read.cells[0].outputs, read.cells[0].execution_count) == ([], None)
    assert read.cells[2].outputs[0].text == "old"


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "content",
    [
        pytest.param(
            {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [
                {"cell_type": "code", "source": ["6", " * 7"], "metadata": {}, "outputs": [],
                 "execution_count": None}
            ]},
            id="without ids",
        ),
        pytest.param(
            {"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": [{"cells": [
                {"cell_type": "code", "input": "6 * 7", "outputs": [], "language": "python"}
            ]}]},
            id="of version 3",
        ),
        pytest.param(
            {"nbformat": 4, "nbformat_minor": 2, "metadata": {"kernelspec": None}, "cells": [
                {"cell_type": "code", "source": "6 * 7", "metadata": {}, "outputs": [],
                 "execution_count": None}
            ]},
            id="with odd metadata",
        ),
    ],
)  # fmt: skip
def test_notebooks_that_are_not_quite_right_are_run(tmp_path: Path, content: object) -> None:
    path = tmp_path / "a.ipynb"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(content).encode())

    notebook = read_notebook(path)

    assert [cell.source for _, cell in runnable(notebook)] == ["6 * 7"]
    write_notebook(notebook, path)
    assert nbformat.read(path, 4).cells[0].source == "6 * 7"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"plain text",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'"text"',
        b'{"nbformat": 4, "nbformat_minor": 5, "metadata": {}}',
        b'{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [1]}',
        b'{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [{"cell_type": "code"}]}',
        b'{"nbformat": 9, "nbformat_minor": 0, "metadata": {}, "cells": []}',
    ],
)
def test_a_file_that_is_no_notebook_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.ipynb"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_notebook(path)
    assert caught.value.code == "NotANotebook"
    assert str(path) in caught.value.message


# -- languages ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metadata", "language"),
    [
        ({}, ""),
        ({"kernelspec": {"name": "ir"}}, ""),
        ({"kernelspec": {"name": "ir", "language": "R"}}, "R"),
        ({"language_info": {"name": "julia"}}, "julia"),
        ({"kernelspec": {"language": "python"}, "language_info": {"name": "julia"}}, "python"),
        ({"kernelspec": None, "language_info": "odd"}, ""),
    ],
)
def test_the_language_of_a_notebook(metadata: dict[str, Any], language: str) -> None:
    assert language_of(nbformat.from_dict({"metadata": metadata})) == language


@pytest.mark.parametrize(
    ("wanted", "argv", "told", "fits"),
    [
        ("", _IPYKERNEL, "", True),
        ("python", _IPYKERNEL, "", True),
        ("Python", _IPYKERNEL, "python", True),
        ("R", _IPYKERNEL, "", False),
        ("R", ("R", "-e", "IRkernel::main()"), "", True),
        ("R", ("R", "-e", "IRkernel::main()"), "R", True),
        ("python", ("R", "-e", "IRkernel::main()"), "R", False),
    ],
)
def test_a_notebook_is_run_by_a_kernel_of_its_language(
    wanted: str, argv: tuple[str, ...], told: str, fits: bool
) -> None:
    notebook = _notebook(language_info={"name": wanted})
    if fits:
        check_language(Path("a.ipynb"), notebook, "small", argv, told)
        return
    with pytest.raises(LanguageMismatch, match=r"a\.ipynb is a notebook in .* profile small"):
        check_language(Path("a.ipynb"), notebook, "small", argv, told)


# -- writing --------------------------------------------------------------------------------


@given(
    st.lists(
        st.tuples(st.sampled_from(["stdout", "stderr", "picture"]), st.text(max_size=3)),
        max_size=12,
    )
)
def test_pieces_of_a_stream_become_one_where_nothing_is_between_them(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[tuple[str, str]]
) -> None:
    def flat(outputs: list[Any]) -> Iterator[tuple[str, str]]:
        for output in outputs:
            if output.output_type == "stream":
                yield from ((output.name, letter) for letter in output.text)
            else:
                yield "picture", ""

    outputs = [
        nbformat.v4.new_output("display_data", {"text/plain": text})
        if kind == "picture"
        else _stream(text, kind)
        for kind, text in pieces
    ]
    before = list(flat(outputs))
    notebook = _notebook("1")
    notebook.cells[0].outputs = outputs
    path = tmp_path_factory.mktemp("notebook") / "a.ipynb"

    write_notebook(notebook, path)

    after = notebook.cells[0].outputs
    assert list(flat(after)) == before
    names = [output.get("name") for output in after]
    assert all(one is None or one != other for one, other in itertools.pairwise(names))
    assert list(flat(nbformat.read(path, 4).cells[0].outputs)) == before


def test_a_notebook_is_replaced_as_a_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.ipynb"
    write_notebook(_notebook("1"), path)
    before = path.read_bytes()
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(GraError, match="No space left on device") as caught:
        write_notebook(_notebook("2"), path)

    assert caught.value.code == "NotebookNotWritable"
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_half_of_a_surrogate_pair_survives(tmp_path: Path) -> None:
    notebook = _notebook("1")
    notebook.cells[0].outputs = [_stream("half \ud83d")]
    write_notebook(notebook, tmp_path / "a.ipynb")
    cell = json.loads((tmp_path / "a.ipynb").read_bytes())["cells"][0]
    assert cell["outputs"][0]["text"] == ["half \ud83d"]


@pytest.mark.parametrize("path", ["missing/a.ipynb", "file/a.ipynb", "folder"])
def test_where_a_notebook_cannot_be_written_is_known_before(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(GraError, match=path) as caught:
        require_writable(tmp_path / path)
    assert caught.value.code == "NotebookNotWritable"
    require_writable(tmp_path / "a.ipynb")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "folder"]


# -- live output ----------------------------------------------------------------------------


async def _shown(act: Callable[[LiveOutput], None], capfd: pytest.CaptureFixture[str]) -> Any:
    broken: list[bool] = []
    live = LiveOutput(lambda: broken.append(True))
    act(live)
    await asyncio.wait_for(live.written(), _WITHIN)
    assert broken == []
    return capfd.readouterr()


async def test_messages_are_shown_as_text(capfd: pytest.CaptureFixture[str]) -> None:
    def act(live: LiveOutput) -> None:
        live.line("[1/2] first")
        live.message("stream", {"name": "stdout", "text": "no end"})
        live.message("stream", {"name": "stderr", "text": "aside\n"})
        live.message("execute_result", {"data": {"text/plain": "42", "text/html": "<b>42</b>"}})
        live.message("display_data", {"data": {"image/png": "…"}})
        live.message("error", {"traceback": ["\x1b[31mTraceback\x1b[39m", "ValueError: no"]})
        live.message("error", {"ename": "E", "evalue": "v", "traceback": []})
        live.message("status", {"execution_state": "idle"})
        live.line("[2/2] second")

    out, err = await _shown(act, capfd)

    assert out == "no end42\n"
    assert err == "[1/2] first\naside\nTraceback\nValueError: no\nE: v\n[2/2] second\n"


async def test_a_line_of_gras_own_begins_where_a_line_begins(
    capfd: pytest.CaptureFixture[str],
) -> None:
    def act(live: LiveOutput) -> None:
        live.message("stream", {"name": "stderr", "text": "no end"})
        live.line("next")

    _, err = await _shown(act, capfd)
    assert err == "no end\nnext\n"


# -- outcomes -------------------------------------------------------------------------------


def test_an_outcome_as_json() -> None:
    error = CellFailed("Cell 2 of 3 failed: E", details={"cell": 2})
    outcome = Outcome("runner-1", 1, 1.23456, error, Path("/a.ipynb"), Cells(3, 2, (2,)))
    assert json.loads(json.dumps(outcome.public())) == {
        "runner": "runner-1",
        "exit_code": 1,
        "duration": 1.235,
        "output": "/a.ipynb",
        "cells": {"total": 3, "run": 2, "failed": [2]},
        "error": {
            "reason": "CellFailed",
            "message": "Cell 2 of 3 failed: E",
            "hint": "",
            "details": {"cell": 2},
        },
    }
    bare = Outcome("", 0, 1.0, captured={"stdout": {"text": ""}}).public()
    assert (bare["runner"], bare["output"], bare["cells"], bare["error"]) == (None,) * 4
    assert bare["stdout"] == {"text": ""}


def test_a_run_that_is_stopped_says_why_and_where() -> None:
    error = stopped(Stop("SIGTERM", 143), "in cell 3 of 12")
    assert (error.code, error.message) == (
        "RunInterrupted",
        "The run was ended in cell 3 of 12: SIGTERM.",
    )
    over = stopped(TIME_IS_OVER, "in cell 3 of 12")
    assert isinstance(over, RunTimedOut)
    assert over.exit_code == TIME_IS_OVER.exit_code == 124
