"""``gra create``: runners that stay, and why one could not be made."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import venv

import pexpect
import pytest

from gra_provisioner.errors import KernelStartError
from gra_provisioner.profiles import load_config, resolve
from gra_provisioner.service import RunnerService, labels_of_this_process, start_kernel
from gra_provisioner.tunnel.channels import KernelChannels
from gra_provisioner.tunnel.kernel import RemoteKernel
from tests.support.cells import run
from tests.support.cli import GRA, attached, gra, gra_json, stop
from tests.support.kernels import connected
from tests.support.places import Places
from tests.support.runners import Runners
from tests.support.waiting import until

pytestmark = pytest.mark.gra_only

_TIMEOUT = 60

_SAME = pytest.mark.same_with_pods("both signals end the launch in one way")

_SILENT = """
[profiles.silent]
extends = "small"
kernel_argv = ["python", "-c", "import time; time.sleep(1000)", "{connection_file}"]
"""


def test_a_created_runner_stays_and_its_kernel_can_be_attached_to(runners: Runners) -> None:
    result = gra("create", "--profile", "medium")

    assert (result.returncode, result.stdout) == (0, "runner-1\n")
    backend, *_, summary, hint = result.stderr.splitlines()
    assert backend.startswith(f"Backend: {runners.backend} (")
    assert summary.startswith("runner-1 ready in ")
    assert "starting " in summary
    assert "kernel " in summary
    assert hint == "Attach to its kernel: gra attach runner-1"
    assert gra_json("get", "runner-1")["profile"] == "medium"
    with attached("runner-1") as said, connected(said["connection_file"]) as client:
        assert run(client, "print(6 * 7)").text == "42\n"
    assert gra("delete", "runner-1").returncode == 0


def test_json_has_the_runner_its_phases_and_why_it_is_there() -> None:
    runner = gra_json("create")

    assert (runner["name"], runner["status"], runner["kernel"]) == ("runner-1", "running", "idle")
    assert [phase["phase"] for phase in runner["phases"]][-2:] == ["starting", "kernel"]
    shown = gra_json("get", "runner-1")
    assert runner["uid"] == shown["uid"]
    assert runner["backend_reason"] == shown["backend_reason"] != ""
    assert gra("delete", "runner-1").returncode == 0


@pytest.mark.same_with_pods("there is less to do than with one")
def test_a_runner_without_a_kernel_has_none() -> None:
    result = gra("create", "--no-kernel")

    assert (result.returncode, result.stdout) == (0, "runner-1\n")
    assert "gra attach" not in result.stderr
    assert gra_json("get", "runner-1")["kernel"] == "none"
    assert gra("delete", "runner-1").returncode == 0


def test_a_kernel_gets_the_folder_and_what_the_profile_forwards(
    places: Places, runners: Runners, monkeypatch: pytest.MonkeyPatch
) -> None:
    places.write_profiles('[profiles.open]\nextends = "small"\nforward_env = ["COLOUR"]\n')
    monkeypatch.setenv("COLOUR", "green")
    monkeypatch.chdir(places.work)

    assert gra("create", "--profile", "open").returncode == 0

    code = "import os; print(os.environ['COLOUR'], os.getcwd())"
    with attached("runner-1") as said, connected(said["connection_file"]) as client:
        assert run(client, code).text.split() == [
            "green",
            str(runners.home or places.work.resolve()),
        ]
    assert gra("delete", "runner-1").returncode == 0


@pytest.mark.local_only("the Python is one of this machine; for pods it is the image")
def test_a_python_without_ipykernel_is_told_what_to_run(places: Places) -> None:
    folder = places.work / "bare env"
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    argv = json.dumps([str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"])
    places.write_profiles(f"[profiles.bare]\nkernel_argv = {argv}\n")

    result = gra("create", "--profile", "bare")

    assert result.returncode == 5
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert "No module named ipykernel_launcher" in result.stderr
    assert "Reason: KernelStartFailed" in lines
    assert f"Hint: Install what is missing: '{python}' -m pip install ipykernel" in lines
    assert any(line.startswith("Phases: starting ") for line in lines)
    assert gra_json("list") == []


@pytest.mark.local_only("the Python is one of this machine; for pods it is the image")
async def test_an_image_without_ipykernel_is_told_what_to_put_into_it(places: Places) -> None:
    folder = places.work / "env"
    venv.create(folder, with_pip=False)
    argv = [str(folder / "bin" / "python"), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    places.write_profiles(f"[profiles.bare]\nkernel_argv = {json.dumps(argv)}\n")
    config = load_config(os.environ)
    spec = resolve(config, {"profile": "bare"}, "test")
    labels = labels_of_this_process()

    async with RunnerService.from_config(config) as service:
        runner = await service.create(spec, labels)
        kernel = RemoteKernel(KernelChannels("key", "hmac-sha256"))
        try:
            await service.connect(runner, kernel)
            # What the agent in a pod says is the same; only the advice is another.
            pod = dataclasses.replace(runner, backend="kubernetes")
            with pytest.raises(KernelStartError) as raised:
                await start_kernel(kernel, pod, spec, labels, {}, None)
        finally:
            await kernel.close()
            await service.delete(runner)

    assert "has no ipykernel" in raised.value.hint
    assert "RUN python3 -m pip install ipykernel" in raised.value.hint


def test_a_failure_for_programs_has_reason_hint_and_phases(places: Places) -> None:
    places.write_profiles(
        '[profiles.absent]\nextends = "small"\nkernel_argv = ["no-such", "{connection_file}"]\n'
    )

    result = gra("create", "--profile", "absent", "--json")

    assert (result.returncode, result.stdout) == (5, "")
    error = json.loads(result.stderr)
    assert error["reason"] == "KernelNotFound"
    assert error["hint"]
    assert error["details"]["phase"] == "kernel"
    assert [phase["phase"] for phase in error["details"]["phases"]][-2:] == ["starting", "kernel"]


@pytest.mark.same_with_pods("no runner is made")
def test_an_unknown_profile_is_wrong_usage() -> None:
    result = gra("create", "--profile", "smal")

    assert result.returncode == 2
    assert "Reason: UnknownProfile" in result.stderr.splitlines()


@pytest.mark.parametrize(
    ("signum", "code"),
    [
        pytest.param(signal.SIGINT, 130, id="Ctrl-C"),
        pytest.param(signal.SIGTERM, 143, id="SIGTERM", marks=_SAME),
    ],
)
def test_giving_up_leaves_nothing(places: Places, runners: Runners, signum: int, code: int) -> None:
    places.write_profiles(_SILENT)
    with subprocess.Popen(
        [*GRA, "create", "--profile", "silent"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        until(lambda: runners.runs("time.sleep(1000)"), "the silent kernel's process")

        assert stop(process, signum, "gra create") == code

        assert process.stdout is not None
        assert process.stdout.read() == b""
    assert gra_json("list") == []


# On a terminal.


def _spawn(*arguments: str, **options: object) -> pexpect.spawn:
    return pexpect.spawn(
        sys.executable,
        list(arguments),
        encoding="utf-8",
        timeout=_TIMEOUT,
        dimensions=(40, 200),
        # Not that of whoever runs the tests, who may have none.
        env={**os.environ, "TERM": "xterm"},
        **options,
    )


@pytest.mark.same_with_pods("the line is the same")
def test_a_terminal_shows_the_phase_and_its_seconds_on_one_line(places: Places) -> None:
    places.write_profiles(_SILENT)
    terminal = _spawn(*GRA[1:], "create", "--profile", "silent")
    try:
        terminal.expect_exact("\r\x1b[Krunner-1: starting the kernel … 0 s")
        terminal.expect_exact("\r\x1b[Krunner-1: starting the kernel … 1 s")
        terminal.sendintr()
        terminal.expect_exact("\r\x1b[K")
        terminal.expect(pexpect.EOF)
        assert "\n" not in terminal.before.strip("^C\r\n")
        terminal.wait()
    finally:
        terminal.close(force=True)
    assert terminal.exitstatus == 130
    assert gra_json("list") == []


def test_a_terminal_is_left_with_the_summary_only() -> None:
    terminal = _spawn(*GRA[1:], "create")
    try:
        terminal.expect_exact("\r\x1b[K")
        terminal.expect_exact("\r\x1b[Krunner-1: starting the kernel")
        terminal.expect(
            r"\r\x1b\[Krunner-1 ready in [\d.]+ s "
            r"\((\w+ [\d.]+, )*starting [\d.]+, kernel [\d.]+\)\r\n"
        )
        terminal.expect_exact("runner-1\r\n")
        terminal.expect(pexpect.EOF)
    finally:
        terminal.close(force=True)
    assert gra("delete", "runner-1").returncode == 0


# A kernel that takes a moment, started as nbclient and consoles do.
_CLIENT = """
import sys
from jupyter_client.manager import KernelManager
manager = KernelManager(kernel_name="gra")
manager.start_kernel()
print("started", flush=True)
manager.restart_kernel(now=True)
print("started again", flush=True)
manager.shutdown_kernel(now=True)
"""


@pytest.mark.same_with_pods("the line is the same")
def test_a_client_in_a_terminal_shows_the_first_start_of_its_kernel() -> None:
    terminal = _spawn("-c", _CLIENT)
    try:
        terminal.expect_exact("\r\x1b[Krunner-1: starting the kernel … 0 s")
        terminal.expect_exact("\r\x1b[Kstarted\r\n")
        terminal.expect_exact("started again\r\n")
        assert terminal.before == ""
        terminal.expect(pexpect.EOF)
        assert terminal.before == ""
    finally:
        terminal.close(force=True)


@pytest.mark.same_with_pods("shown or not, it is the same line")
def test_a_client_shows_nothing_without_a_terminal_or_if_told_so(places: Places) -> None:
    result = subprocess.run(
        [sys.executable, "-c", _CLIENT],
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
        check=True,
    )
    assert result.stderr == ""

    quiet = _CLIENT.replace(
        "manager =",
        "from traitlets.config import Config\n"
        "config = Config({'GraProvisioner': {'show_progress': 'never'}})\n"
        "manager =",
    ).replace('"gra")', '"gra", config=config)')
    terminal = _spawn("-c", quiet)
    try:
        terminal.expect(pexpect.EOF)
    finally:
        terminal.close(force=True)
    assert terminal.before == "started\r\nstarted again\r\n"
