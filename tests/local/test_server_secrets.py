"""Secrets: on no command line, in no log, in no file that another user may read."""

from __future__ import annotations

import logging
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.cli import gra
from tests.support.kernels import StartedKernel
from tests.support.kernelspecs import KernelSpecs
from tests.support.places import Places
from tests.support.processes import command_lines
from tests.support.runners import Runners

pytestmark = pytest.mark.gra_only

_SECRET = "secret-8e02b7d15c"
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@pytest.fixture
def kernel(
    places: Places,
    kernelspecs: KernelSpecs,
    start_kernel: Callable[..., StartedKernel],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> StartedKernel:
    """A kernel whose profile has a secret, logged in full."""
    caplog.set_level(logging.DEBUG, logger="gra_provisioner")
    monkeypatch.setenv("VAULT", _SECRET)
    places.write_profiles(
        '[profiles.private]\nextends = "small"\n'
        '[profiles.private.env]\nAPI_KEY = {from_env = "VAULT", secret = true}\n'
    )
    return start_kernel(kernelspecs.write("private", config={"profile": "private"}))


def _secrets(kernel: StartedKernel) -> tuple[str, str]:
    return _SECRET, kernel.manager.session.key.decode()


def _contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.same_with_pods("the environment is made up by the client")
def test_the_kernel_has_the_secret(kernel: StartedKernel) -> None:
    assert kernel.run("import os; print(os.environ['API_KEY'])").text == f"{_SECRET}\n"


def test_no_command_line_has_a_secret(kernel: StartedKernel) -> None:
    for secret in _secrets(kernel):
        assert [pid for pid, line in command_lines().items() if secret in line] == []


def test_no_log_has_a_secret(
    kernel: StartedKernel, runners: Runners, caplog: pytest.LogCaptureFixture
) -> None:
    kernel.run("1 / 0")
    kernel.manager.restart_kernel()
    kernel.reconnect()

    log = runners.log()

    assert "starting" in caplog.text
    for secret in _secrets(kernel):
        assert secret not in log
        assert secret not in caplog.text


def test_what_is_stored_of_a_runner_has_no_secret(kernel: StartedKernel, runners: Runners) -> None:
    stored = runners.stored()

    assert runners.uids()[runners.only()] in stored
    for secret in _secrets(kernel):
        assert secret not in stored


@pytest.mark.same_with_pods("it prints the same")
def test_what_gra_prints_has_no_secret(kernel: StartedKernel) -> None:
    outputs = [
        gra(*arguments)
        for arguments in (("list", "--json"), ("get", "runner-1", "--json"), ("get", "runner-1"))
    ]

    assert all(output.returncode == 0 for output in outputs)
    for secret in _secrets(kernel):
        assert all(secret not in output.stdout + output.stderr for output in outputs)


@pytest.mark.same_with_pods("the error is the same")
def test_the_error_of_a_failed_launch_has_no_secret(
    kernelspecs: KernelSpecs, places: Places, caplog: pytest.LogCaptureFixture
) -> None:
    places.write_profiles(
        '[profiles.private]\nextends = "small"\n'
        f'[profiles.private.env]\nAPI_KEY = {{value = "{_SECRET}", secret = true}}\n'
    )
    argv = ["no-such-kernel", "-f", "{connection_file}"]
    kernelspecs.write("broken", kernel_argv=argv, config={"profile": "private"})

    with pytest.raises(Exception, match="no-such-kernel") as raised:
        StartedKernel.start("broken")

    assert _SECRET not in str(raised.value)
    assert _SECRET not in repr(raised.value)
    assert _SECRET not in caplog.text


@pytest.mark.local_only("pods have no state on this machine")
def test_the_state_is_closed_to_other_users(kernel: StartedKernel, places: Places) -> None:
    (folder,) = places.runner_folders()

    assert stat.S_IMODE(places.runners.stat().st_mode) == 0o700
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "agent.sock").stat().st_mode) == 0o600
    open_to_others = [path for path in folder.rglob("*") if path.lstat().st_mode & _OTHERS]
    assert open_to_others == []
    assert not Path(kernel.manager.connection_file).stat().st_mode & _OTHERS


@pytest.mark.same_with_pods("the files are this machine's")
def test_secrets_are_only_in_files_of_the_users_own(kernel: StartedKernel, places: Places) -> None:
    for secret in _secrets(kernel):
        for path, text in _contents(places.root).items():
            if secret.encode() in text:
                assert not path.stat().st_mode & _OTHERS, path
    # The value of the environment is not written at all: it goes from memory to memory.
    assert [p for p, text in _contents(places.state).items() if _SECRET.encode() in text] == []
