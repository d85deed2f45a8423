"""Programs that execute whole notebooks and files: nbclient, nbconvert, papermill, jupyter run."""

from __future__ import annotations

import subprocess
import sys

import nbformat
import papermill
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from tests.support.places import Places
from tests.support.runners import Runners

_TIMEOUT = 120


def _notebook(*cells: str) -> nbformat.NotebookNode:
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(cell) for cell in cells]
    return notebook


def _text(cell: nbformat.NotebookNode) -> str:
    return "".join(output.get("text", "") for output in cell.outputs)


def _run(*command: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    result = subprocess.run(
        [sys.executable, "-m", *command],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result


def test_nbclient_executes_a_notebook(kernel_name: str) -> None:
    notebook = _notebook("x = 6 * 7", "print(x)", "x")

    NotebookClient(notebook, kernel_name=kernel_name).execute()

    assert _text(notebook.cells[1]) == "42\n"
    assert notebook.cells[2].outputs[0].data["text/plain"] == "42"
    assert [cell.execution_count for cell in notebook.cells] == [1, 2, 3]


@pytest.mark.same_with_pods("its loop is not the tunnel's")
async def test_nbclient_executes_a_notebook_inside_an_event_loop(kernel_name: str) -> None:
    notebook = _notebook("print('in a loop')")

    await NotebookClient(notebook, kernel_name=kernel_name).async_execute()

    assert _text(notebook.cells[0]) == "in a loop\n"


@pytest.mark.same_with_pods("an error is a message as any other")
def test_nbclient_stops_at_a_cell_that_fails(kernel_name: str) -> None:
    notebook = _notebook("1 / 0", "print('never')")

    with pytest.raises(CellExecutionError) as raised:
        NotebookClient(notebook, kernel_name=kernel_name).execute()

    assert raised.value.ename == "ZeroDivisionError"
    assert notebook.cells[1].outputs == []


def test_nbclient_interrupts_a_cell_that_takes_too_long(kernel_name: str) -> None:
    notebook = _notebook("import time; time.sleep(1000)", "print('after')")
    client = NotebookClient(
        notebook, kernel_name=kernel_name, timeout=2, interrupt_on_timeout=True, allow_errors=True
    )

    client.execute()

    assert notebook.cells[0].outputs[0].ename == "KeyboardInterrupt"
    assert _text(notebook.cells[1]) == "after\n"


def test_nbclient_starts_the_kernel_in_the_notebooks_folder_where_there_is_one(
    kernel_name: str, places: Places, runners: Runners
) -> None:
    notebook = _notebook("import os; print(os.getcwd())")

    resources = {"metadata": {"path": str(places.work)}}
    NotebookClient(notebook, kernel_name=kernel_name, resources=resources).execute()

    folder = runners.home or places.work.resolve()
    assert _text(notebook.cells[0]).strip() == str(folder)


@pytest.mark.same_with_pods("by nbclient")
def test_nbconvert_executes_a_notebook(kernel_name: str, places: Places) -> None:
    source = places.work / "report.ipynb"
    nbformat.write(_notebook("print('a' * 3)"), source)

    _run(
        *("nbconvert", "--to", "notebook", "--execute", str(source)),
        *("--output", "done.ipynb", f"--ExecutePreprocessor.kernel_name={kernel_name}"),
    )

    assert _text(nbformat.read(places.work / "done.ipynb", 4).cells[0]) == "aaa\n"


def test_papermill_executes_a_notebook_with_parameters(kernel_name: str, places: Places) -> None:
    notebook = _notebook("alpha = 1", "print(alpha * 2)")
    notebook.cells[0].metadata["tags"] = ["parameters"]
    notebook.metadata["kernelspec"] = {"name": kernel_name, "language": "python"}
    source, result = places.work / "in.ipynb", places.work / "out.ipynb"
    nbformat.write(notebook, source)

    papermill.execute_notebook(source, result, parameters={"alpha": 21}, progress_bar=False)

    assert _text(nbformat.read(result, 4).cells[-1]) == "42\n"


@pytest.mark.same_with_pods("the command calls the function")
def test_papermill_executes_a_notebook_from_the_command_line(
    kernel_name: str, places: Places
) -> None:
    source, result = places.work / "in.ipynb", places.work / "out.ipynb"
    nbformat.write(_notebook("print('from the shell')"), source)

    _run("papermill", "-k", kernel_name, str(source), str(result))

    assert _text(nbformat.read(result, 4).cells[0]) == "from the shell\n"


@pytest.mark.same_with_pods("with a manager as any other")
def test_jupyter_run_executes_a_file(kernel_name: str, places: Places) -> None:
    script = places.work / "script.py"
    script.write_text("print('in ' + 'a kernel')\n")

    result = _run("jupyter_client.runapp", "--kernel", kernel_name, str(script))

    assert "in a kernel" in result.stdout


@pytest.mark.same_with_pods("the file is read by the client")
def test_jupyter_run_executes_standard_input(kernel_name: str) -> None:
    result = _run("jupyter_client.runapp", "--kernel", kernel_name, stdin="print(6 * 7)\n")

    assert "42" in result.stdout
