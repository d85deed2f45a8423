"""``gra run``: notebooks and code on runners of their own, of which nothing is left."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nbformat
import pytest
from typer.testing import CliRunner

from gra_provisioner.cli.app import app
from tests.support.cli import GRA, gra, gra_json, read_line, running_gra
from tests.support.cutter import Cutter
from tests.support.places import Places
from tests.support.runners import Runners
from tests.support.waiting import until

_TIMEOUT = 120.0

# One white pixel.
_PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mP8/x8AAwMCAO+ip1sAAAAASUVORK5CYII="
)
_SHOW_PIXEL = f"""\
import base64
from IPython.display import Image
Image(data=base64.b64decode("{_PNG}"))
"""
_SLEEP = "print('asleep', flush=True); import time; time.sleep(1000)"
_STUBBORN = """\
import time
while True:
    try:
        print('asleep', flush=True)
        time.sleep(1000)
    except KeyboardInterrupt:
        print('never mind', flush=True)
"""


def _write(places: Places, *cells: str, name: str = "report.ipynb", **metadata: Any) -> Path:
    notebook = nbformat.v4.new_notebook(metadata=metadata)
    notebook.cells = [nbformat.v4.new_code_cell(cell) for cell in cells]
    path = places.work / name
    nbformat.write(notebook, path)
    return path


def _kernelspec(language: str) -> dict[str, str]:
    return {"name": language.lower(), "display_name": language, "language": language}


def _executed(path: Path) -> list[Any]:
    """The cells of what was written for a notebook."""
    written = path.with_name(f"{path.stem}.executed.ipynb")
    cells: list[Any] = nbformat.read(written, 4).cells
    return cells


def _stream(cell: Any, name: str = "stdout") -> str:
    return "".join(
        output.text
        for output in cell.outputs
        if output.output_type == "stream" and output.name == name
    )


def _until_said(process: subprocess.Popen[bytes], line: str) -> None:
    assert process.stdout is not None
    while read_line(process.stdout, line, _TIMEOUT).strip() != line:
        pass


def _ended(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    """The exit code and all of stderr."""
    _, stderr = process.communicate(timeout=_TIMEOUT)
    return process.returncode, stderr.decode()


# -- notebooks ------------------------------------------------------------------------------


def test_a_notebook_is_run_and_written_beside_it(places: Places, runners: Runners) -> None:
    path = _write(
        places,
        "x = 6 * 7\nprint('grüße, 世界 🌍')",
        "import sys\nprint('aside', file=sys.stderr)\nx",
        _SHOW_PIXEL,
        "",
        "import os; print(os.getcwd())",
    )
    before = path.read_bytes()

    done = gra("run", str(path), timeout=_TIMEOUT)

    assert done.returncode == 0, done.stderr
    folder = str(runners.home or places.work.resolve())
    assert done.stdout.splitlines()[:2] == ["grüße, 世界 🌍", "42"]
    assert done.stdout.splitlines()[-1] == folder
    lines = done.stderr.splitlines()
    assert [line for line in lines if line.startswith("[")] == [
        "[1/4] x = 6 * 7",
        "[2/4] import sys",
        "[3/4] import base64",
        "[4/4] import os; print(os.getcwd())",
    ]
    assert "aside" in lines
    assert f"{path.stem}.executed.ipynb written: 4 of 4 cells" in lines[-1]
    cells = _executed(path)
    assert _stream(cells[0]) == "grüße, 世界 🌍\n"
    assert _stream(cells[1], "stderr") == "aside\n"
    assert cells[1].outputs[-1].data["text/plain"] == "42"
    assert base64.b64decode(cells[2].outputs[0].data["image/png"]) == base64.b64decode(_PNG)
    assert [cell.execution_count for cell in cells] == [1, 2, 3, None, 4]
    assert path.read_bytes() == before


def test_a_cell_that_fails_ends_the_run_and_is_named(places: Places) -> None:
    path = _write(places, "print('before')", "1 / 0", "print('never')")

    done = gra("run", str(path), timeout=_TIMEOUT)

    assert done.returncode == 1
    assert "Error: Cell 2 of 3 failed: ZeroDivisionError: division by zero" in done.stderr
    assert "Reason: CellFailed" in done.stderr
    # Without the colours that a terminal gets.
    assert "----> 1 1 / 0" in done.stderr
    assert done.stdout == "before\n"
    cells = _executed(path)
    assert cells[1].outputs[0].ename == "ZeroDivisionError"
    assert cells[2].outputs == []


def test_errors_can_be_allowed(places: Places) -> None:
    path = _write(places, "1 / 0", "print('after')")

    result = gra_json("run", str(path), "--allow-errors")

    assert result["error"] is None
    assert result["exit_code"] == 0
    assert result["cells"] == {"total": 2, "run": 2, "failed": [1]}
    assert _stream(_executed(path)[1]) == "after\n"


@pytest.mark.same_with_pods("tags are nbclient's")
def test_tags_of_cells_count_and_old_outputs_do_not(places: Places) -> None:
    path = _write(places, "1 / 0", "print('never')", "print('ran')", "1 / 0", "print('old')")
    notebook = nbformat.read(path, 4)
    notebook.cells[0].metadata["tags"] = ["raises-exception"]
    notebook.cells[1].metadata["tags"] = ["skip-execution"]
    for cell in notebook.cells:
        cell.outputs = [nbformat.v4.new_output("stream", text="of another day\n")]
    nbformat.write(notebook, path)

    done = gra("run", str(path), "--in-place", timeout=_TIMEOUT)

    assert "Cell 3 of 4 failed" in done.stderr
    cells = nbformat.read(path, 4).cells
    assert cells[0].outputs[0].ename == "ZeroDivisionError"
    assert [_stream(cell) for cell in cells] == ["", "of another day\n", "ran\n", "", ""]


def test_a_kernel_that_dies_ends_the_run_with_its_reason(places: Places) -> None:
    path = _write(
        places,
        "print('kept')",
        "import os, signal, time\n"
        "print('last words', flush=True); time.sleep(0.5)\n"
        "os.kill(os.getpid(), signal.SIGKILL)",
        "print('never')",
    )

    done = gra("run", str(path), "--allow-errors", "--json", timeout=_TIMEOUT)

    assert done.returncode == 6
    result = json.loads(done.stdout)
    assert result["exit_code"] == 6
    assert result["error"]["reason"] == "KernelDied"
    assert "signal 9 (SIGKILL)" in result["error"]["message"]
    assert result["cells"] == {"total": 3, "run": 2, "failed": [2]}
    kept, died, never = _executed(path)
    assert _stream(kept) == "kept\n"
    assert _stream(died) == "last words\n"
    assert "signal 9 (SIGKILL)" in _stream(died, "stderr")
    assert died.outputs[-1].ename == "KernelDied"
    assert never.outputs == []


def test_a_runner_that_is_deleted_ends_the_run(places: Places, runners: Runners) -> None:
    path = _write(places, _SLEEP)
    with running_gra("run", str(path)) as process:
        _until_said(process, "asleep")
        assert gra("delete", runners.only()).returncode == 0
        code, stderr = _ended(process)
    assert code == 6
    assert "Error: " in stderr
    assert _executed(path)[0].outputs[-1].ename == "KernelDied"


def test_control_c_interrupts_the_cell_and_ends_the_run(places: Places) -> None:
    path = _write(places, "print('kept')", _SLEEP, "print('never')")
    with running_gra("run", str(path), "--allow-errors") as process:
        _until_said(process, "asleep")
        process.send_signal(signal.SIGINT)
        code, stderr = _ended(process)
    assert code == 130
    assert "Reason: RunInterrupted" in stderr
    assert "in cell 2 of 3: SIGINT" in stderr
    kept, interrupted, never = _executed(path)
    assert _stream(kept) == "kept\n"
    assert _stream(interrupted) == "asleep\n"
    assert interrupted.outputs[-1].ename == "KeyboardInterrupt"
    assert never.outputs == []


@pytest.mark.parametrize(
    ("signals", "code"),
    [
        pytest.param([signal.SIGINT, signal.SIGINT], 130, id="Ctrl-C twice"),
        pytest.param([signal.SIGTERM], 143, id="SIGTERM"),
        pytest.param(
            [signal.SIGHUP], 129, id="SIGHUP", marks=pytest.mark.same_with_pods("as SIGTERM")
        ),
    ],
)
def test_a_run_ends_at_once_with_a_cell_that_does_not(
    places: Places, signals: list[signal.Signals], code: int
) -> None:
    path = _write(places, _STUBBORN, "print('never')")
    with running_gra("run", str(path)) as process:
        _until_said(process, "asleep")
        for number, signum in enumerate(signals):
            if number:
                _until_said(process, "never mind")
            process.send_signal(signum)
        exit_code, _ = _ended(process)
    assert exit_code == code
    stubborn, never = _executed(path)
    assert _stream(stubborn).startswith("asleep\n")
    assert never.outputs == []


@pytest.mark.parametrize("name", ["report.ipynb", "script.py"])
def test_control_c_during_the_launch_leaves_nothing(places: Places, name: str) -> None:
    path = _write(places, "print('never')", name=name)
    with running_gra("run", str(path)) as process:
        assert process.stderr is not None
        read_line(process.stderr, "a phase", _TIMEOUT)
        process.send_signal(signal.SIGINT)
        code, stderr = _ended(process)
    assert code == 130
    assert "while its runner started" in stderr
    assert not path.with_name("report.executed.ipynb").exists()


@pytest.mark.same_with_pods("a pipe on this machine")
def test_a_reader_that_goes_away_ends_the_run(places: Places) -> None:
    path = _write(places, "print('one line', flush=True)\nfor n in range(10**9): print(n)")
    with running_gra("run", str(path)) as process:
        _until_said(process, "one line")
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(_TIMEOUT) == 128 + signal.SIGPIPE
    assert _stream(_executed(path)[0]).startswith("one line\n0\n1\n")


def test_cells_and_runs_may_have_a_time(places: Places) -> None:
    path = _write(places, _SLEEP, "print('after')")

    result = gra("run", str(path), "--cell-timeout", "1s", "--json", timeout=_TIMEOUT)
    assert result.returncode == 1
    assert json.loads(result.stdout)["error"]["reason"] == "CellTimedOut"
    assert _executed(path)[0].outputs[-1].ename == "KeyboardInterrupt"

    result = gra_json("run", str(path), "--cell-timeout", "1s", "--allow-errors")
    assert result["cells"] == {"total": 2, "run": 2, "failed": [1]}
    assert _stream(_executed(path)[1]) == "after\n"


@pytest.mark.same_with_pods("its clock is this process's")
@pytest.mark.parametrize("cell", [_SLEEP, _STUBBORN], ids=["asleep", "stubborn"])
def test_a_run_ends_when_its_time_is_over(places: Places, cell: str) -> None:
    path = _write(places, cell, "print('never')")

    result = gra("run", str(path), "--timeout", "5s", "--json", timeout=_TIMEOUT)

    assert result.returncode == 124
    assert json.loads(result.stdout)["error"]["reason"] == "RunTimedOut"
    assert _stream(_executed(path)[0]).startswith("asleep\n")


def test_a_runner_can_be_kept(places: Places, runners: Runners) -> None:
    path = _write(places, "answer = 42", "1 / 0")

    done = gra("run", str(path), "--keep", "--label", "for=test", timeout=_TIMEOUT)

    name = runners.only()
    try:
        assert done.returncode == 1
        assert f"gra delete {name}" in done.stderr
        runner = gra_json("get", name)
        assert runner["kernel"] == "idle"
        assert runner["clients"] == 0
        assert runner["notebook"] == str(path)
        assert runner["labels"] == {"for": "test"}
    finally:
        assert gra("delete", name).returncode == 0


def test_a_link_that_drops_changes_nothing(
    places: Places, runners: Runners, network: list[Cutter], capfd: pytest.CaptureFixture[str]
) -> None:
    lines = 5000
    path = _write(
        places,
        "import time\n"
        f"for n in range({lines}):\n"
        "    print(n, flush=True)\n"
        "    if n % 250 == 249: time.sleep(0.2)",
        "print('after')",
    )

    def is_busy() -> bool:
        found = gra("get", *runners.uids(), "--json")
        return found.returncode == 0 and json.loads(found.stdout)["kernel"] == "busy"

    def drop() -> None:
        until(is_busy, "the first cell to run", _TIMEOUT)
        for _ in range(5):
            network[0].cut()
            time.sleep(0.4)

    with ThreadPoolExecutor(1) as beside:
        dropping = beside.submit(drop)
        result = CliRunner().invoke(app, ["run", str(path)])
    dropping.result()

    # Once at the beginning, and after each drop.
    assert network[0].dialled > 5
    assert result.exit_code == 0, capfd.readouterr().err
    expected = "".join(f"{n}\n" for n in range(lines))
    first, after = _executed(path)
    assert _stream(first) == expected
    assert _stream(after) == "after\n"
    assert capfd.readouterr().out == f"{expected}after\n"


# -- code -----------------------------------------------------------------------------------


def test_code_gets_its_arguments_and_gives_its_exit_code(places: Places, runners: Runners) -> None:
    path = places.work / "script.py"
    path.write_text(
        "import os, sys\n"
        "print(sys.argv[1:], os.environ['COLOUR'])\n"
        "print('grüße', file=sys.stderr)\n"
        "sys.exit(7)\n"
    )

    done = gra("run", str(path), "-e", "COLOUR=green", "--", "a", "--json", "b c", timeout=_TIMEOUT)

    assert done.returncode == 7
    assert done.stdout == "['a', '--json', 'b c'] green\n"
    assert "grüße" in done.stderr.splitlines()

    done = gra("run", str(path), "-e", "COLOUR=green", "--json", timeout=_TIMEOUT)
    assert done.returncode == 7
    result = json.loads(done.stdout)
    assert result["exit_code"] == 7
    assert result["error"] is None
    assert result["stdout"]["text"] == "[] green\n"
    assert result["stderr"]["text"] == "grüße\n"


def test_code_can_come_from_stdin(places: Places) -> None:
    done = subprocess.run(
        [*GRA, "run", "-", "--", "x"],
        input="import sys; print(6 * 7, sys.argv[1:])",
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "42 ['x']\n"), done.stderr


@pytest.mark.parametrize(
    ("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "SIGTERM"]
)
def test_a_signal_ends_code_and_its_runner(
    places: Places, signum: signal.Signals, code: int
) -> None:
    path = places.work / "script.py"
    path.write_text(_SLEEP)
    with running_gra("run", str(path)) as process:
        _until_said(process, "asleep")
        process.send_signal(signum)
        exit_code, stderr = _ended(process)
    assert exit_code == code
    assert ("KeyboardInterrupt" in stderr) == (signum is signal.SIGINT)


@pytest.mark.same_with_pods("as gra exec --timeout")
def test_code_ends_when_its_time_is_over(places: Places) -> None:
    path = places.work / "script.py"
    path.write_text(_SLEEP)

    done = gra("run", str(path), "--timeout", "3s", "--json", timeout=_TIMEOUT)

    assert done.returncode == 124
    result = json.loads(done.stdout)
    assert result["error"]["reason"] == "RunTimedOut"
    assert result["stdout"]["text"] == "asleep\n"


# -- what is wrong from the beginning -------------------------------------------------------


@pytest.mark.same_with_pods("no runner is started")
@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["missing.ipynb"], 2, "No such file"),
        (["missing.py"], 2, "No such file"),
        (["text.ipynb"], 2, "Reason: NotANotebook"),
        (["report.ipynb", "-o", "missing/out.ipynb"], 1, "Reason: NotebookNotWritable"),
        (["report.ipynb", "-o", "/proc/out.ipynb"], 1, "Reason: NotebookNotWritable"),
        (["report.ipynb", "-o", "folder"], 1, "Reason: NotebookNotWritable"),
        (["other.ipynb"], 2, "Reason: LanguageMismatch"),
        (["report.ipynb", "--cpu", "many"], 2, "command line"),
        (["report.ipynb", "--profile", "smal"], 2, "Reason: UnknownProfile"),
        (["report.ipynb", "-o", "x.ipynb", "--in-place"], 2, "Choose one of"),
        (["report.ipynb", "--cell-timeout", "soon"], 2, "--cell-timeout"),
        (["report.ipynb", "--", "x"], 2, "A notebook takes none"),
        (["script.py", "--in-place"], 2, "are for notebooks"),
    ],
)
def test_what_cannot_be_run_starts_no_runner(
    places: Places,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    said: str,
) -> None:
    monkeypatch.chdir(places.work)
    monkeypatch.setenv("COLUMNS", "200")
    _write(places, "1")
    _write(places, "1", name="other.ipynb", kernelspec=_kernelspec("R"))
    (places.work / "text.ipynb").write_text("no JSON")
    (places.work / "script.py").write_text("print(1)")
    (places.work / "folder").mkdir()

    done = gra("run", *arguments)

    assert done.returncode == code
    assert said in done.stderr
    assert "starting" not in done.stderr
    assert done.stdout == ""


def test_a_kernel_of_another_language_is_found_out(places: Places) -> None:
    places.write_profiles(
        '[profiles.shell]\nextends = "small"\n'
        'kernel_argv = ["python", "-m", "bash_kernel", "-f", "{connection_file}"]\n'
    )
    path = _write(places, "print(1)", kernelspec=_kernelspec("python"))

    done = gra("run", str(path), "--profile", "shell", timeout=_TIMEOUT)
    assert done.returncode == 2
    assert "Reason: LanguageMismatch" in done.stderr

    path = _write(places, "echo $((6 * 7))", kernelspec=_kernelspec("bash"))
    done = gra("run", str(path), "--profile", "shell", timeout=_TIMEOUT)
    assert done.returncode == 0, done.stderr
    assert _stream(_executed(path)[0]) == "42\n"


def test_a_launch_that_fails_says_why(places: Places) -> None:
    places.write_profiles(
        '[profiles.broken]\nextends = "small"\n'
        'kernel_argv = ["pyhton", "-f", "{connection_file}"]\n'
    )
    path = _write(places, "print(1)")

    done = gra("run", str(path), "--profile", "broken", "--json", timeout=_TIMEOUT)

    assert done.returncode == 5
    error = json.loads(done.stderr)
    assert error["reason"] == "KernelNotFound"
    assert error["details"]["phase"] == "kernel"
    assert done.stdout == ""
    assert not path.with_name("report.executed.ipynb").exists()


@pytest.mark.same_with_pods("the file is here")
def test_a_notebook_in_place_keeps_its_mode_and_its_link(places: Places) -> None:
    path = _write(places, "print('done')")
    path.chmod(0o640)
    link = places.work / "link.ipynb"
    link.symlink_to(path)

    assert gra("run", str(link), "--in-place", timeout=_TIMEOUT).returncode == 0

    assert link.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o640
    assert _stream(nbformat.read(path, 4).cells[0]) == "done\n"
    assert sorted(file.name for file in places.work.iterdir()) == ["link.ipynb", "report.ipynb"]
