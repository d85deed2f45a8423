"""The notebook's own directory in pods: there when the kernel starts, and results come back."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient

from gra_provisioner.errors import GraError
from gra_provisioner.server.events import RUNNER_RESULTS
from tests.support.cli import GRA, gra
from tests.support.cutter import Cutter
from tests.support.jupyter_events import subscribed
from tests.support.kernels import StartedKernel
from tests.support.places import Places
from tests.support.runners import Runners
from tests.support.server import jupyter_server
from tests.support.waiting import until

pytestmark = pytest.mark.gra_only
in_pods = pytest.mark.pods_only("local runners work in the directory itself")

REPOSITORY = Path(__file__).parents[2]

_TIMEOUT = 120.0
_RESULT = "open('result.txt', 'w').write(open('input.txt').read().upper())"
# A process that starts a kernel and is then killed.
_CLIENT = """
import sys
from jupyter_client.manager import KernelManager
manager = KernelManager(kernel_name="gra")
manager.start_kernel(cwd=sys.argv[1])
client = manager.blocking_client()
client.start_channels()
client.wait_for_ready(timeout=60)
client.execute_interactive(sys.argv[2])
print("ready", flush=True)
sys.stdin.read()
"""

Start = Callable[..., StartedKernel]


@pytest.fixture
def folder(places: Places) -> Path:
    """The notebook's directory, with one file in it, and a profile that copies it."""
    places.write_profiles('[profiles.small]\nworkspace = {sync = "notebook"}\n')
    folder = places.work / "my notebooks"
    folder.mkdir()
    (folder / "input.txt").write_text("hello")
    return folder


@pytest.mark.local_only("is about local runners")
def test_a_local_runner_works_in_the_directory_itself(folder: Path, start_kernel: Start) -> None:
    kernel = start_kernel(cwd=str(folder))
    assert kernel.run("import os; print(os.getcwd())").text.strip() == str(folder)
    kernel.run(_RESULT)
    assert (folder / "result.txt").read_text() == "HELLO"
    assert not list(folder.glob(".gra-*"))


@in_pods
def test_a_kernel_finds_the_notebooks_files_and_its_results_come_back(
    folder: Path, start_kernel: Start
) -> None:
    (folder / "datä" / "tief").mkdir(parents=True)
    (folder / "datä" / "tief" / "x.csv").write_text("1,2")
    kernel = start_kernel(cwd=str(folder))
    assert kernel.run("print(open('datä/tief/x.csv').read())").text == "1,2\n"
    kernel.run(_RESULT)
    kernel.run(
        "import os; os.makedirs('out/figures'); open('out/figures/a b.png', 'wb').write(b'')"
    )
    kernel.run("os.symlink('/etc/passwd', 'out/link'); os.remove('datä/tief/x.csv')")
    kernel.manager.restart_kernel()
    kernel.reconnect()
    assert kernel.run("print(open('result.txt').read())").text == "HELLO\n"
    assert not (folder / "result.txt").exists()

    kernel.stop()

    assert (folder / "result.txt").read_text() == "HELLO"
    assert (folder / "out" / "figures" / "a b.png").exists()
    assert not (folder / "out" / "link").is_symlink()
    assert (folder / "datä" / "tief" / "x.csv").read_text() == "1,2"


@in_pods
def test_a_file_that_was_changed_here_too_is_kept_and_that_is_said(
    folder: Path, start_kernel: Start, caplog: pytest.LogCaptureFixture
) -> None:
    kernel = start_kernel(cwd=str(folder))
    kernel.run("open('input.txt', 'w').write('theirs')")
    (folder / "input.txt").write_text("mine")
    # jupyter_client's own logger does not reach the root.
    kernel.manager.log.propagate = True
    with caplog.at_level(logging.WARNING):
        kernel.stop()
    assert (folder / "input.txt").read_text() == "mine"
    (other,) = folder.glob("input.runner-*.txt")
    assert other.read_text() == "theirs"
    assert f"input.txt is {other.name}" in caplog.text


@in_pods
def test_a_directory_that_is_too_large_fails_before_there_is_a_runner(
    folder: Path, places: Places, runners: Runners
) -> None:
    places.write_profiles('[profiles.small]\nworkspace = {sync = "notebook", sync_limit = "1Mi"}\n')
    (folder / "data").mkdir()
    (folder / "data" / "large.bin").write_bytes(bytes(2 << 20))
    manager = KernelManager(kernel_name="gra")
    with pytest.raises(GraError) as refused:
        manager.start_kernel(cwd=str(folder))
    assert refused.value.code == "FolderTooLarge"
    assert "data/ 2 MiB in 1 files" in refused.value.message
    assert not runners.uids()
    places.write_profiles(
        '[profiles.small]\nworkspace = {sync = "notebook", sync_limit = "1Mi", '
        'sync_exclude = ["data"]}\n'
    )
    kernel = StartedKernel.start("gra", cwd=str(folder))
    assert kernel.run("import os; print(os.path.exists('data'))").text == "False\n"
    kernel.stop()


@in_pods
def test_the_copying_is_a_phase_of_the_launch(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "gra_provisioner"):
        kernel = StartedKernel.start("gra", cwd=str(folder))
    kernel.stop()
    assert "copying 1 file, 5 B" in caplog.text


@in_pods
def test_gra_delete_brings_results_back_whoever_started_the_kernel(
    folder: Path, runners: Runners, start_kernel: Start
) -> None:
    kernel = start_kernel(cwd=str(folder))
    kernel.run(_RESULT)
    name = runners.only()
    deleted = gra("delete", name)
    assert deleted.returncode == 0, deleted.stderr
    assert deleted.stdout == f"{name} deleted\n"
    assert f"{name}: 1 file, 5 B, copied back to {folder}" in deleted.stderr
    assert (folder / "result.txt").read_text() == "HELLO"


@in_pods
def test_results_of_a_client_that_was_killed_come_back_with_gra_delete(
    folder: Path, runners: Runners, places: Places
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _CLIENT, str(folder), _RESULT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as client:
        try:
            assert client.stdout is not None
            assert client.stdout.readline().strip().endswith("ready")
        finally:
            client.kill()
    name = runners.only()
    folder.rename(places.work / "moved")
    refused = gra("delete", name)
    assert refused.returncode == 1
    assert "is gone" in refused.stderr
    assert "--discard" in refused.stderr
    assert list(runners.uids()) == [name]
    (places.work / "moved").rename(folder)
    assert gra("delete", name).returncode == 0
    assert (folder / "result.txt").read_text() == "HELLO"


@in_pods
def test_a_runner_can_be_deleted_without_its_results(
    folder: Path, runners: Runners, start_kernel: Start, places: Places
) -> None:
    kernel = start_kernel(cwd=str(folder))
    kernel.run(_RESULT)
    assert gra("delete", runners.only(), "--discard").returncode == 0
    assert not (folder / "result.txt").exists()
    kernel.stop()
    assert not list((places.gra_state / "workspaces").glob("*.json"))


@in_pods
@pytest.mark.parametrize("cell", [_RESULT, f"{_RESULT}; 1/0"])
def test_gra_run_brings_a_notebooks_results_back_also_where_a_cell_fails(
    folder: Path, cell: str
) -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)])
    nbformat.write(notebook, folder / "report.ipynb")
    run = gra("run", str(folder / "report.ipynb"), timeout=_TIMEOUT)
    assert run.returncode == ("1/0" in cell), run.stderr
    assert (folder / "result.txt").read_text() == "HELLO"
    assert (folder / "report.executed.ipynb").exists()
    assert not list(folder.glob("report.runner*"))


@in_pods
def test_gra_run_brings_a_scripts_results_back(folder: Path) -> None:
    (folder / "script.py").write_text(_RESULT)
    run = subprocess.run(
        [*GRA, "run", "script.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert (folder / "result.txt").read_text() == "HELLO"


@in_pods
@pytest.mark.parametrize("name", ["report.ipynb", "script.py"])
def test_a_run_whose_results_stay_in_the_runner_has_failed(
    folder: Path, places: Places, runners: Runners, name: str
) -> None:
    places.write_profiles('[profiles.small]\nworkspace = {sync = "notebook", sync_limit = "1Mi"}\n')
    code = f"open('model.bin', 'wb').write(bytes(2 << 20)); {_RESULT}"
    (folder / "script.py").write_text(code)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    nbformat.write(notebook, folder / "report.ipynb")
    run = subprocess.run(
        [*GRA, "run", name],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
        check=False,
    )
    assert run.returncode == 1, run.stderr
    assert run.stderr.count("model.bin (2 MiB, all together is more than 1 MiB)") == 1
    assert (folder / "result.txt").read_text() == "HELLO"
    assert not (folder / "model.bin").exists()
    assert gra("delete", runners.only(), "--discard").returncode == 0


@in_pods
def test_nbclient_brings_results_back(folder: Path) -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(_RESULT)])
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, kernel_name="gra", resources=resources).execute()
    assert (folder / "result.txt").read_text() == "HELLO"


@in_pods
def test_a_session_of_a_jupyter_server_brings_results_back_and_says_so(
    folder: Path, places: Places, runners: Runners, kernel_name: str
) -> None:
    shutil.copytree(REPOSITORY / "jupyter-config", places.config, dirs_exist_ok=True)
    with jupyter_server(places) as server, subscribed(server) as events:
        kernel = server.start_session(kernel_name, "my notebooks/a.ipynb")
        launch = events.launch()
        assert "syncing" in [event["phase"] for event in launch]
        done = gra("exec", runners.only(), "--", "sh", "-c", "tr a-z A-Z <input.txt >result.txt")
        assert done.returncode == 0, done.stderr
        ended = server.request("DELETE", f"api/kernels/{kernel.kernel_id}")
        assert ended.status_code == 204
        told = events.next(RUNNER_RESULTS)
    assert (folder / "result.txt").read_text() == "HELLO"
    assert (told["kernel_id"], told["state"]) == (kernel.kernel_id, "returned")
    assert told["message"] == f"runner-1: 1 file, 5 B, copied back to {folder}."


@in_pods
def test_a_server_that_stops_brings_results_back(
    folder: Path, places: Places, runners: Runners, kernel_name: str
) -> None:
    with jupyter_server(places) as server:
        server.start_session(kernel_name, "my notebooks/a.ipynb")
        done = gra("exec", runners.only(), "--", "sh", "-c", "tr a-z A-Z <input.txt >result.txt")
        assert done.returncode == 0, done.stderr
    assert (folder / "result.txt").read_text() == "HELLO"


@in_pods
def test_a_runner_that_takes_another_ones_place_has_the_directory_again(
    folder: Path, runners: Runners, start_kernel: Start, caplog: pytest.LogCaptureFixture
) -> None:
    kernel = start_kernel(cwd=str(folder))
    kernel.run(_RESULT)
    kernel.manager.log.propagate = True
    runners.delete_outside_gra(runners.only())  # type: ignore[attr-defined]
    until(lambda: not kernel.manager.is_alive(), "the end of the kernel to be known", 60.0)
    with caplog.at_level(logging.WARNING):
        kernel.manager.restart_kernel()
        kernel.reconnect()
    assert "and is lost: " in caplog.text
    assert kernel.run("import os; print(os.path.exists('input.txt'))").text == "True\n"
    assert kernel.run("print(os.path.exists('result.txt'))").text == "False\n"
    kernel.run(_RESULT)
    kernel.stop()
    assert (folder / "result.txt").read_text() == "HELLO"


@in_pods
def test_links_that_drop_in_the_middle_of_it_change_nothing(
    folder: Path, network: list[Cutter], start_kernel: Start
) -> None:
    content = bytes(range(256)) * (16 << 10)
    for number in range(3):
        (folder / f"{number}.bin").write_bytes(content)
    network[0].cut_after(40_000, 40_000, 40_000)
    kernel = start_kernel(cwd=str(folder))
    kernel.run("import os; [os.replace(f'{n}.bin', f'{n}.out') for n in range(3)]")
    kernel.run("open('random', 'wb').write(os.urandom(8 << 20))")
    network[0].cut_after(1 << 20, 1 << 20, 1 << 20)
    kernel.stop()
    assert not network[0].cuts_left
    for number in range(3):
        assert (folder / f"{number}.out").read_bytes() == content
    assert (folder / "random").stat().st_size == 8 << 20
