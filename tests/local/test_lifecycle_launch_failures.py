"""Launches that fail or are cancelled: a reason that can be acted on, and nothing left."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path

import nbformat
import pytest
from jupyter_client.manager import AsyncKernelManager, KernelManager
from nbclient import NotebookClient

from gra_provisioner.errors import GraError
from tests.support.kernels import StartedKernel
from tests.support.kernelspecs import KernelSpecs
from tests.support.places import Places
from tests.support.runners import Runners
from tests.support.waiting import until_async

pytestmark = pytest.mark.gra_only

_SAME = pytest.mark.same_with_pods("a pod is not even asked for by then")
_CONNECTION_FILE = "{connection_file}"


def _fails(kernel_name: str, reason: str, **launch: object) -> GraError:
    """Start a kernel that cannot; the error that its user sees, which has this reason."""
    manager = KernelManager(kernel_name=kernel_name)
    with pytest.raises(GraError) as raised:
        manager.start_kernel(**launch)
    assert raised.value.code == reason
    assert not manager.has_kernel
    return raised.value


@pytest.mark.same_with_pods("no runner is made")
def test_an_unknown_profile_is_named_with_those_there_are(kernelspecs: KernelSpecs) -> None:
    name = kernelspecs.write("unknown", config={"profile": "smal"})

    text = str(_fails(name, "UnknownProfile"))

    for word in ("smal", "small", "medium", "large"):
        assert word in text


@pytest.mark.same_with_pods("no runner is made")
def test_a_wrong_field_of_a_kernelspec_is_named(kernelspecs: KernelSpecs) -> None:
    name = kernelspecs.write("wrong", config={"ttl": {"orphan": "soon"}})

    text = str(_fails(name, "InvalidConfiguration"))

    assert "ttl.orphan" in text
    assert "soon" in text


def test_a_missing_kernel_executable_is_named(kernelspecs: KernelSpecs, runners: Runners) -> None:
    name = kernelspecs.write("absent", kernel_argv=["no-such-kernel", "-f", _CONNECTION_FILE])

    error = _fails(name, "KernelNotFound")

    assert "no-such-kernel" in error.message
    assert error.hint
    assert runners.uids() == {}


def test_a_kernel_that_exits_at_once_is_explained_by_its_last_lines(
    kernelspecs: KernelSpecs, runners: Runners
) -> None:
    program = "import sys; print('line one', file=sys.stderr); sys.exit('no licence found')"
    name = kernelspecs.write("brief", kernel_argv=["python", "-c", program, _CONNECTION_FILE])

    text = str(_fails(name, "KernelStartFailed"))

    assert "line one" in text
    assert "no licence found" in text
    assert "code 1" in text
    assert runners.uids() == {}


@pytest.mark.same_with_pods("its last lines are those of any program")
def test_a_kernel_that_misses_a_module_is_explained_by_its_traceback(
    kernelspecs: KernelSpecs,
) -> None:
    argv = ["python", "-m", "no_such_module", "-f", _CONNECTION_FILE]

    text = str(_fails(kernelspecs.write("moduleless", kernel_argv=argv), "KernelStartFailed"))

    assert "No module named no_such_module" in text


@pytest.mark.local_only("a client's folder means nothing to a pod")
def test_a_missing_working_directory_is_named(
    kernel_name: str, places: Places, runners: Runners
) -> None:
    missing = places.work / "not" / "there"

    error = _fails(kernel_name, "WorkingDirectoryMissing", cwd=str(missing))

    assert str(missing) in error.message
    assert runners.uids() == {}


@pytest.mark.local_only("pods have none")
def test_an_unusable_state_folder_is_named(kernel_name: str, places: Places) -> None:
    # A file in the way stops the superuser too, other than permissions.
    places.gra_state.write_text("in the way")

    error = _fails(kernel_name, "StateFolderUnusable")

    assert str(places.gra_state) in error.message
    assert error.hint


@pytest.mark.same_with_pods("nothing of it is left")
def test_a_kernel_starts_after_one_that_could_not(
    kernelspecs: KernelSpecs, kernel_name: str
) -> None:
    name = kernelspecs.write("absent", kernel_argv=["no-such-kernel", "-f", _CONNECTION_FILE])
    _fails(name, "KernelNotFound")

    kernel = StartedKernel.start(kernel_name)
    try:
        assert kernel.run("print(6 * 7)").text == "42\n"
    finally:
        kernel.stop()


@pytest.mark.same_with_pods("the reason is the same")
def test_nbclient_raises_the_reason_of_a_failed_launch(kernelspecs: KernelSpecs) -> None:
    name = kernelspecs.write("absent", kernel_argv=["no-such-kernel", "-f", _CONNECTION_FILE])
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")])

    with pytest.raises(GraError, match="no-such-kernel"):
        NotebookClient(notebook, kernel_name=name).execute()


@pytest.mark.local_only("pods have none")
def test_a_state_folder_deeper_than_a_sockets_path_may_be_long_works(
    monkeypatch: pytest.MonkeyPatch, places: Places, kernel_name: str
) -> None:
    deep = places.state / "/".join(["a-folder-with-a-long-name"] * 6)
    monkeypatch.setenv("XDG_STATE_HOME", str(deep))

    kernel = StartedKernel.start(kernel_name)
    try:
        assert kernel.run("print(6 * 7)").text == "42\n"
    finally:
        kernel.stop()

    assert list((deep / "gra" / "runners").iterdir()) == []


@pytest.mark.parametrize(
    "moment", [pytest.param(0.0, marks=_SAME), pytest.param(0.05, marks=_SAME), 0.2, 0.5, 1.0]
)
async def test_a_cancelled_launch_leaves_nothing(
    kernel_name: str, runners: Runners, moment: float
) -> None:
    manager = AsyncKernelManager(kernel_name=kernel_name)
    launch = asyncio.ensure_future(manager.start_kernel())
    await asyncio.sleep(moment)

    launch.cancel()

    with contextlib.suppress(asyncio.CancelledError):
        await launch
    if manager.has_kernel:
        # It was quicker than the cancellation.
        await manager.shutdown_kernel(now=True)
    await _nothing_left(runners)


async def test_a_launch_that_waits_for_its_kernel_can_be_cancelled(
    kernelspecs: KernelSpecs, runners: Runners
) -> None:
    program = "import time; time.sleep(1000)"
    name = kernelspecs.write("silent", kernel_argv=["python", "-c", program, _CONNECTION_FILE])
    manager = AsyncKernelManager(kernel_name=name)
    launch = asyncio.ensure_future(manager.start_kernel())
    await until_async(lambda: runners.runs(program), "the silent kernel's process")

    launch.cancel()

    with pytest.raises(asyncio.CancelledError):
        await launch
    await _nothing_left(runners)


async def _nothing_left(runners: Runners) -> None:
    await until_async(
        lambda: not runners.leftovers(), "the runner of a cancelled launch to be gone"
    )


@pytest.mark.same_with_pods("the events of a server are they too")
def test_the_phases_of_a_launch_are_logged(
    kernel_name: str, caplog: pytest.LogCaptureFixture, runners: Runners
) -> None:
    caplog.set_level(logging.INFO, logger="gra_provisioner")

    kernel = StartedKernel.start(kernel_name)
    name = runners.only()
    kernel.stop()

    lines = [r.getMessage() for r in caplog.records if r.name.startswith("gra_provisioner")]
    assert any(line.startswith(f"{name}: ") for line in lines)


@pytest.mark.local_only("the files are on this machine")
def test_a_kernels_log_and_files_are_gone_with_it(kernel: StartedKernel, places: Places) -> None:
    (folder,) = places.runner_folders()
    connection_file = Path(kernel.manager.connection_file)
    assert connection_file.exists()

    kernel.stop()

    assert not folder.exists()
    assert not connection_file.exists()
