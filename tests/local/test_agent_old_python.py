"""The agent under the oldest Python that it promises to run on."""

from __future__ import annotations

from pathlib import Path

import pytest

from gra_provisioner import agent
from tests.support.agents import Pipe, connected_tunnel, kernel_answers, running_agent
from tests.support.places import Places
from tests.support.pythons import needs_no_more_than_python_38, oldest, version

pytestmark = [
    pytest.mark.gra_only,
    pytest.mark.local_only("the test holds the agent's process and its socket in its own hands"),
]

_PYTHON = oldest()


def test_the_agent_needs_nothing_newer_than_python_38() -> None:
    needs_no_more_than_python_38(Path(agent.__file__).parent)


async def test_an_agent_under_an_old_python_runs_a_kernel_and_programs(places: Places) -> None:
    async with (
        running_agent(places, python=_PYTHON) as (backend, runner),
        connected_tunnel(backend, runner) as tunnel,
    ):
        major, minor = version(_PYTHON)
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
