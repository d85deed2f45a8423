"""Why a kernel ended, in words."""

from __future__ import annotations

import json
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gra_provisioner.agent.death import Exit, explain, signal_name

MIB = 2**20
GIB = 2**30


@pytest.mark.parametrize(
    ("end", "reason", "words"),
    [
        (Exit(0, None, "", False, []), "Exited", "code 0"),
        (Exit(3, None, "", False, ["why"]), "ExitCode", "code 3"),
        (Exit(None, 9, "", False, []), "KilledBySignal", "signal 9 (SIGKILL)"),
        (Exit(None, 11, "", False, []), "KilledBySignal", "signal 11 (SIGSEGV)"),
        (Exit(None, 9, "", True, []), "OutOfMemory", "out of memory."),
        (Exit(None, 9, "", True, [], 2 * GIB), "OutOfMemory", "out of memory. The runner may"),
        (Exit(None, 200, "", False, []), "KilledBySignal", "signal 200."),
    ],
)
def test_the_reason_of_an_end(end: Exit, reason: str, words: str) -> None:
    report = explain(end)

    assert report["reason"] == reason
    assert words in report["message"]


def test_who_was_killed_from_outside_learns_what_to_look_for() -> None:
    assert "memory" in explain(Exit(None, signal.SIGKILL, "", False, []))["hint"]
    assert "faulthandler" in explain(Exit(None, signal.SIGSEGV, "", False, []))["hint"]
    assert "more memory" in explain(Exit(None, signal.SIGKILL, "", True, []))["hint"]


def test_a_kernel_out_of_memory_is_told_use_and_limit() -> None:
    report = explain(Exit(None, signal.SIGKILL, "", True, [], 256 * MIB, 255 * MIB))

    assert "out of memory. The runner used 255 MiB of the 256 MiB that it may" in report["message"]
    assert "more memory" in report["hint"]


def test_a_limit_that_was_not_reached_means_that_the_node_ran_out_of_memory() -> None:
    report = explain(Exit(None, signal.SIGKILL, "", True, [], 2 * GIB, 1536 * MIB))

    assert report["reason"] == "OutOfMemory"
    assert "its node was out of memory. The runner used 1.5 GiB of the 2 GiB" in report["message"]
    assert "pod.requests.memory" in report["hint"]


def test_last_lines_are_pointed_at_only_where_there_are_any() -> None:
    assert "last lines" in explain(Exit(1, None, "", False, ["why"]))["hint"]
    assert explain(Exit(1, None, "", False, []))["hint"] == ""


def test_signals_have_their_names() -> None:
    assert signal_name(15) == "signal 15 (SIGTERM)"
    assert signal_name(250) == "signal 250"


@given(
    st.none() | st.integers(0, 255),
    st.none() | st.integers(1, 127),
    st.sampled_from(["", "shutdown", "signal"]),
    st.booleans(),
    st.lists(st.text(), max_size=3),
    st.none() | st.integers(0, 2**63),
    st.none() | st.integers(0, 2**63),
)
def test_any_end_has_a_report_of_json_types(
    code: int | None,
    signum: int | None,
    requested: str,
    oom: bool,
    stderr: list[str],
    limit: int | None,
    peak: int | None,
) -> None:
    report = explain(Exit(code, signum, requested, oom, stderr, limit, peak))

    assert json.loads(json.dumps(report)) == report
    assert report["reason"]
    assert report["message"].endswith(".")
    assert (report["code"], report["signal"], report["stderr"]) == (code, signum, stderr)
    assert (report["memory"] is not None) == bool(oom and limit)
    assert report["requested"] == requested
