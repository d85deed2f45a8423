"""Commands on a pod that is starting, will never start, or ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pexpect
import pytest

from tests.support.cells import TIMEOUT
from tests.support.cli import GRA, gra, gra_json, read_line, stop
from tests.support.cluster import Cluster
from tests.support.cluster_lab import Lab, gra_process, lab_on
from tests.support.waiting import until

_GATE = "example.com/not-yet"
_PROFILES = """
[profiles.gated]
extends = "small"
pod = {{patch = {{spec = {{schedulingGates = [{{name = "{gate}"}}]}}}}}}
[profiles.nowhere]
extends = "small"
image = "example.com/never:1"
"""


@pytest.fixture
def lab(cluster: Cluster, namespace: str) -> Iterator[Lab]:
    with lab_on(cluster, namespace) as lab:
        lab.places.write_profiles(_PROFILES.format(gate=_GATE))
        yield lab


def _make(lab: Lab, profile: str) -> str:
    made = gra("create", "--profile", profile, "--no-wait")
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


def _open_gate(lab: Lab, name: str) -> None:
    remove = [{"op": "remove", "path": "/spec/schedulingGates"}]
    lab.kubectl("patch", "pod", name, "--type=json", f"--patch={json.dumps(remove)}")


def test_a_command_waits_for_a_runner_that_is_starting_and_shows_how_it_goes(lab: Lab) -> None:
    name = _make(lab, "gated")
    terminal = pexpect.spawn(
        sys.executable,
        [*GRA[1:], "exec", name, "--", "echo", "it", "runs"],
        env={**os.environ, "TERM": "xterm"},
        encoding="utf-8",
        dimensions=(24, 120),
        timeout=TIMEOUT,
    )
    try:
        terminal.expect_exact("waiting for a node")
        _open_gate(lab, name)
        terminal.expect_exact("it runs\r\n")
        terminal.expect(pexpect.EOF)
        terminal.wait()
    finally:
        terminal.close(force=True)
    assert terminal.exitstatus == 0
    assert gra("delete", name).returncode == 0


def test_waiting_for_a_start_ends_with_ctrl_c(lab: Lab) -> None:
    name = _make(lab, "gated")
    for command in (("exec", name, "--", "true"), ("port", name, "0:80")):
        with gra_process(*command) as process:
            until(lambda: gra_json("get", name)["status"] == "starting", "the start to be seen")
            assert stop(process, signal.SIGINT, f"gra {command[0]}") in (0, 130)
    assert gra("delete", name).returncode == 0


def test_a_command_on_a_runner_that_will_never_start_says_why(lab: Lab) -> None:
    name = _make(lab, "nowhere")
    result = gra("exec", name, "--json", "--", "true", timeout=TIMEOUT)
    assert result.returncode == 5
    error = json.loads(result.stderr)
    assert error["reason"] == "ImageNotOnNode"
    assert "example.com/never:1" in error["message"]
    assert error["hint"]
    assert gra("delete", name).returncode == 0


def test_a_command_whose_runner_is_deleted_says_who_did_it(lab: Lab) -> None:
    made = gra("create", "--no-kernel")
    assert made.returncode == 0, made.stderr
    name = made.stdout.strip()
    script = "trap '' HUP TERM; echo going; sleep 1000"
    command = [*GRA, "exec", name, "--", "sh", "-c", script]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert read_line(process.stdout, "the command's word", TIMEOUT) == "going\n"
        assert gra("delete", name).returncode == 0
        assert process.wait(TIMEOUT) == 6
        assert f"{name} was deleted by " in process.stderr.read().decode()
    gone = gra("exec", name, "--", "true")
    assert gone.returncode == 3
