"""The kernel's environment: what the user asked for, and nothing of the server's own."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.kernels import StartedKernel
from tests.support.kernelspecs import KernelSpecs
from tests.support.places import Places
from tests.support.runners import Runners
from tests.support.server import jupyter_server

pytestmark = pytest.mark.gra_only

_TOKEN = "sentinel-4f1c2d9ab7"
_SHOW = "import json, os; print(json.dumps(dict(os.environ)))"


def _environment(kernel: StartedKernel) -> dict[str, str]:
    values: dict[str, str] = json.loads(kernel.run(_SHOW).text)
    return values


def test_the_servers_own_environment_never_reaches_the_kernel(
    places: Places, runners: Runners, kernel_name: str
) -> None:
    own = {
        "JUPYTERHUB_API_TOKEN": _TOKEN,
        "AWS_SECRET_ACCESS_KEY": _TOKEN,
        "SOME_VARIABLE": _TOKEN,
        "HOME": str(places.home),
        "PATH": f"{places.work}/{_TOKEN}:{os.environ['PATH']}",
    }
    with jupyter_server(places, {**os.environ, **own}) as server:
        kernel = server.start_session(kernel_name, "folder-of.ipynb")
        values: dict[str, str] = json.loads(kernel.run(_SHOW).text)
        agent = runners.shell('tr "\\0" "\\n" < "/proc/$1/environ"', runners.agent_pid)
        assert runners.shell('[ -d "$1" ] && echo yes', values["HOME"]) == "yes\n"

    assert _TOKEN not in json.dumps(values)
    assert "PATH=" in agent
    assert _TOKEN not in agent
    assert values["JPY_SESSION_NAME"].endswith("folder-of.ipynb")
    for name in ("JPY_PARENT_PID", "JPY_INTERRUPT_EVENT", "XDG_STATE_HOME", "JUPYTER_DATA_DIR"):
        assert name not in values
    assert values["HOME"] != str(places.home)


@pytest.mark.same_with_pods("the environment is made up by the client")
def test_what_a_client_adds_or_changes_reaches_the_kernel(
    start_kernel: Callable[..., StartedKernel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHANGED", "old")
    monkeypatch.setenv("UNTOUCHED", _TOKEN)

    kernel = start_kernel(env={**os.environ, "ADDED": "new", "CHANGED": "changed"})

    values = _environment(kernel)
    assert values["ADDED"] == "new"
    assert values["CHANGED"] == "changed"
    assert "UNTOUCHED" not in values


@pytest.mark.same_with_pods("the environment is made up by the client")
def test_path_home_and_the_like_are_the_runners_even_if_a_client_changes_them(
    start_kernel: Callable[..., StartedKernel],
) -> None:
    changed = ("PATH", "HOME", "PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "TMPDIR")

    kernel = start_kernel(env={**os.environ, **dict.fromkeys(changed, f"/{_TOKEN}")})

    assert _TOKEN not in json.dumps(_environment(kernel))


@pytest.mark.same_with_pods("the environment is made up by the client")
def test_the_kernelspecs_env_reaches_the_kernel(
    kernelspecs: KernelSpecs, start_kernel: Callable[..., StartedKernel]
) -> None:
    kernel = start_kernel(kernelspecs.write("with-env", env={"FROM_THE_SPEC": "yes"}))

    assert _environment(kernel)["FROM_THE_SPEC"] == "yes"


@pytest.mark.same_with_pods("the environment is made up by the client")
def test_a_profiles_env_and_forwarded_variables_reach_the_kernel(
    places: Places,
    kernelspecs: KernelSpecs,
    start_kernel: Callable[..., StartedKernel],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    places.write_profiles(
        '[profiles.mine]\nextends = "small"\nforward_env = ["WANTED"]\n'
        '[profiles.mine.env]\nGIVEN = "by the profile"\nTAKEN = {from_env = "ELSEWHERE"}\n'
    )
    monkeypatch.setenv("WANTED", "forwarded")
    monkeypatch.setenv("ELSEWHERE", "taken")

    values = _environment(start_kernel(kernelspecs.write("mine", config={"profile": "mine"})))

    assert values["GIVEN"] == "by the profile"
    assert values["WANTED"] == "forwarded"
    assert values["TAKEN"] == "taken"
    assert "ELSEWHERE" not in values


@pytest.mark.same_with_pods("a restart is the agent's")
def test_the_environment_is_the_same_after_a_restart(
    kernelspecs: KernelSpecs, start_kernel: Callable[..., StartedKernel]
) -> None:
    kernel = start_kernel(kernelspecs.write("with-env", env={"FROM_THE_SPEC": "yes"}))
    before = _environment(kernel)

    kernel.manager.restart_kernel()
    kernel.reconnect()

    assert _environment(kernel) == before


@pytest.mark.local_only("a client's folder means nothing to a pod")
def test_the_kernel_runs_where_its_client_asked_for(
    start_kernel: Callable[..., StartedKernel], places: Places
) -> None:
    kernel = start_kernel(cwd=str(places.work))

    assert Path(kernel.run("import os; print(os.getcwd())").text.strip()) == places.work.resolve()
