"""The agent under the oldest Python that it promises to run on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gra_provisioner import agent
from tests.support.agents import Pipe, connected_tunnel, kernel_answers, running_agent
from tests.support.places import Places

pytestmark = [
    pytest.mark.gra_only,
    pytest.mark.local_only("the test holds the agent's process and its socket in its own hands"),
]

# Looked up at import: a test's HOME is another one.
_PYENV = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))


def _version(python: str) -> tuple[int, ...]:
    """The version of an interpreter, or nothing if it does not run."""
    code = "import sys; print(*sys.version_info[:2])"
    run = subprocess.run([python, "-c", code], capture_output=True, check=False, timeout=30)
    # A shim of pyenv's is there for versions that are not installed, too.
    return tuple(map(int, run.stdout.split())) if run.returncode == 0 else ()


def _oldest() -> str:
    """The oldest interpreter of this host that the agent promises to run on."""
    names = [f"python3.{minor}" for minor in range(8, sys.version_info.minor)]
    found = [path for name in names if (path := shutil.which(name)) is not None]
    found += map(str, _PYENV.glob("versions/3.*/bin/python3"))
    usable = {path: version for path in found if (version := _version(path)) >= (3, 8)}
    return min(usable, key=lambda path: usable[path], default=sys.executable)


_PYTHON = _oldest()


def test_the_agent_needs_nothing_newer_than_python_38() -> None:
    vermin = str(Path(sys.executable).with_name("vermin"))
    command = [vermin, "-t=3.8-", "--no-tips", "--violations", str(Path(agent.__file__).parent)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)

    assert run.returncode == 0, run.stdout


async def test_an_agent_under_an_old_python_runs_a_kernel_and_programs(places: Places) -> None:
    async with (
        running_agent(places, python=_PYTHON) as (backend, runner),
        connected_tunnel(backend, runner) as tunnel,
    ):
        major, minor = _version(_PYTHON)
        assert tunnel.agent["python"].startswith(f"{major}.{minor}.")
        await kernel_answers(tunnel)
        info = await tunnel.request("info")
        assert info["kernel"]["state"] == "idle"
        assert info["usage"]["memory"] > 1 << 20

        argv = ["python3", "-c", "import sys; print(input()); print('err', file=sys.stderr)"]
        answer = await tunnel.request("exec.start", {"argv": argv})
        stdio = Pipe.open(tunnel, kind="exec", exec=answer["exec"], fd="stdio")
        stderr = Pipe.open(tunnel, kind="exec", exec=answer["exec"], fd="stderr")
        stdio.write(b"hello\n")
        assert await stdio.ended("stdout") == b"hello\n"
        assert await stderr.ended("stderr") == b"err\n"

        iopub = Pipe.open(tunnel, kind="kernel", channel="iopub")
        await iopub.until(b"READY")
        assert await tunnel.request("kernel.signal", {"signum": 9}) == {"delivered": True}
        await iopub.ended("the connection to a kernel that was killed")
