"""``gra logs`` of pods: of several containers, of those that start, and who may not see them."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.cli import GRA, gra, read_line, running_gra, stop
from tests.support.launches import Site, limited_user
from tests.support.waiting import until

_BOUND = 60.0
_SECURITY = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
# The bytes are no UTF-8, a line is longer than Kubernetes keeps in one piece, the last has no end.
_PREPARE = r"""
echo preparing
printf '\377\376 no text\n'
head -c 100000 /dev/zero | tr '\0' x
echo
printf 'no end'
"""
_TICK = "i=0; while true; do i=$((i+1)); echo tick $i; sleep 0.1; done"


def _container(site: Site, name: str, script: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "image": site.cluster.image("python"),
        "command": ["sh", "-c", script],
        "securityContext": _SECURITY,
        **more,
    }


def _pod(**containers: Any) -> dict[str, Any]:
    return {"pod": {"patch": {"spec": containers}}}


def _create(*options: str) -> str:
    created = gra("create", "--no-kernel", *options)
    assert created.returncode == 0, created.stderr
    return created.stdout.strip()


def _lines(*arguments: str) -> list[dict[str, Any]]:
    done = gra("logs", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def _texts(*arguments: str) -> list[str]:
    return [line["text"] for line in _lines(*arguments)]


def _next(process: subprocess.Popen[bytes], what: str) -> str:
    assert process.stdout is not None
    return read_line(process.stdout, what, _BOUND).rstrip("\n")


@pytest.fixture
def sidecars(site: Site) -> Iterator[str]:
    """A runner whose pod has two more containers and one that ran before."""
    site.configure(
        side=_pod(
            containers=[_container(site, "ticker", _TICK)],
            initContainers=[
                _container(site, "prepare", _PREPARE),
                _container(site, "proxy", _TICK, restartPolicy="Always"),
            ],
        )
    )
    name = _create("--profile", "side")
    yield name
    gra("delete", name, "--grace", "1")


def test_lines_of_all_containers_come_by_time(sidecars: str) -> None:
    def there() -> list[dict[str, Any]]:
        lines = _lines(sidecars)
        known = {line["source"] for line in lines}
        return lines if known == {"agent", "prepare", "proxy", "ticker"} else []

    lines = until(there, "lines of every container")
    assert [line["text"] for line in lines if line["source"] == "prepare"] == [
        "preparing",
        "\ufffd\ufffd no text",
        "x" * 100_000,
        "no end",
    ]
    assert lines[0]["source"] == "prepare"
    times = [line["time"] for line in lines]
    assert times == sorted(times)
    done = subprocess.run(
        [*GRA, "logs", sidecars, "--source", "prepare"], stdout=subprocess.PIPE, check=True
    )
    assert done.stdout.startswith(b"preparing\n\xff\xfe no text\nxxx")


def test_containers_are_chosen_by_name(sidecars: str) -> None:
    until(lambda: "tick 20" in _texts(sidecars, "-s", "ticker"), "twenty lines of a sidecar")

    assert {line["source"] for line in _lines(sidecars, "-s", "agent", "-s", "ticker")} == {
        "agent",
        "ticker",
    }
    assert len(_texts(sidecars, "-n", "7")) == 7
    assert _texts(sidecars, "-s", "prepare", "-n", "2") == ["x" * 100_000, "no end"]
    done = gra("logs", sidecars, "-s", "tickr")
    assert done.returncode == 2
    assert "agent, kernel, stdout, stderr, prepare, proxy, ticker" in done.stderr


@pytest.mark.parametrize("sources", [(), ("-s", "ticker"), ("-s", "proxy")])
def test_a_follower_of_sidecars_ends_with_the_runner(
    site: Site, sidecars: str, sources: tuple[str, ...]
) -> None:
    with running_gra("logs", "--follow", sidecars, "-n", "0", *sources) as process:
        assert "tick" in _next(process, "a line of a sidecar")
        # The agent ends in peace, the sidecar that is none for Kubernetes goes on.
        words = ("exec", sidecars, "--container=runner", "--", "sh", "-c", "kill 1")
        site.cluster.kubectl("--namespace", site.namespace, *words)
        assert process.stdout is not None
        rest = process.stdout.read().decode()
        assert process.wait(_BOUND) == 0
        assert ("agent   ending: Terminated" in rest) == (not sources)
    assert "ending: Terminated" in _texts(sidecars, "-s", "agent")[-1]


def test_a_runner_that_is_starting_is_waited_for_if_it_is_followed(site: Site) -> None:
    script = "echo preparing; sleep 5; echo prepared"
    site.configure(slow=_pod(initContainers=[_container(site, "prepare", script)]))
    name = _create("--no-wait", "--profile", "slow")
    try:
        done = gra("logs", name, "-s", "agent")
        assert done.returncode == 1
        assert f"{name} is starting and has no log yet" in done.stderr
        assert "Reason: LogUnavailable" in done.stderr

        with running_gra("logs", "--follow", name) as process:
            assert _next(process, "the first container's line") == "prepare  preparing"
            assert _next(process, "its second line") == "prepare  prepared"
            assert _next(process, "the agent's line").startswith("agent   agent ready")
            assert stop(process, signal.SIGINT, "gra logs to end") == 0
            assert process.stderr is not None
            assert f"{name} is starting: " in process.stderr.read().decode()
    finally:
        gra("delete", name, "--grace", "1")


def test_a_runner_that_never_starts_ends_its_follower_with_the_reason(site: Site) -> None:
    site.configure(
        none={"image": "localhost/gra-test/none:1", "pod": {"image_pull_policy": "Never"}},
        failing=_pod(initContainers=[_container(site, "prepare", "echo tried; exit 3")]),
    )
    name = _create("--no-wait", "--profile", "none")
    done = gra("logs", "-f", name, "--json")
    assert (done.returncode, done.stdout) == (5, "")
    assert json.loads(done.stderr.splitlines()[-1])["reason"] == "ImageNotOnNode"
    gra("delete", name, "--grace", "1")

    name = _create("--no-wait", "--profile", "failing")
    with running_gra("logs", "--follow", name) as process:
        assert _next(process, "the container's line") == "prepare  tried"
        assert process.wait(_BOUND) == 5
        assert process.stderr is not None
        assert "Reason: InitContainerFailed" in process.stderr.read().decode()
    # What there is can be read afterwards; of the runner's own container there is nothing.
    assert _texts(name) == ["tried"]
    done = gra("logs", name, "-s", "agent")
    assert done.returncode == 1
    assert f"{name} has ended and has no log" in done.stderr
    gra("delete", name, "--grace", "1")


def test_who_may_not_read_logs_is_told_the_missing_right(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = _create()
    may = limited_user(site, "get,list,watch pods")
    with monkeypatch.context() as patch:
        patch.setenv("GRA_KUBECONFIG", str(may))
        for options in ((), ("-f",)):
            done = gra("logs", name, *options)
            assert (done.returncode, done.stdout) == (4, "")
            assert "may not get pods/log" in " ".join(done.stderr.split())
            assert 'resources: ["pods/log"]' in done.stderr
            assert 'verbs: ["get"]' in done.stderr
    gra("delete", name, "--grace", "1")
