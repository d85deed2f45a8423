"""Which HTTP status each error has."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import gra_provisioner
from gra_provisioner import errors
from gra_provisioner.backends.kubernetes import refusals
from gra_provisioner.backends.kubernetes.reasons import Reason
from gra_provisioner.kernel_launch import LaunchFailed
from gra_provisioner.server import handlers, status
from gra_provisioner.server.status import status_of

ROOT = Path(__file__).parents[3]
ERRORS = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
SERVER = Path(status.__file__).parent


def _all_errors() -> list[type[errors.GraError]]:
    """Every class that gra has, wherever it is defined, but for those of commands only."""
    for module in pkgutil.walk_packages(gra_provisioner.__path__, "gra_provisioner."):
        # What is run, and not imported.
        if not module.name.endswith("__main__") and ".cli" not in module.name:
            importlib.import_module(module.name)
    found = [
        kind
        for kind in errors._tree(errors.GraError)
        if kind.__module__.startswith("gra_provisioner") and ".cli" not in kind.__module__
    ]
    return sorted(found, key=lambda kind: kind.__name__)


@pytest.mark.parametrize("kind", _all_errors())
def test_every_error_has_a_status_that_is_no_fault_of_the_server(
    kind: type[errors.GraError],
) -> None:
    error = kind(errors.LaunchError("x")) if kind is LaunchFailed else kind("x")  # type: ignore[arg-type]
    assert (status_of(error) == 500) == (kind is errors.GraError)


def test_every_status_means_something() -> None:
    used = {*status.BY_CLASS.values()}
    for table in status.BY_REASON.values():
        used.update(table.values())
    assert used == set(status.MEANINGS)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.ConfigError("x"), 422),
        (errors.UnknownProfile("x"), 422),
        (errors.KubeconfigError("x"), 503),
        (errors.RunnerNotFound("x"), 404),
        (errors.StateFolderError("x"), 503),
        (errors.Unreachable("x"), 503),
        (errors.ClusterUnreachable("x"), 503),
        (errors.ClusterRefused("x", reason="Forbidden", status=403), 403),
        (errors.ClusterRefused("x", reason="QuotaExceeded", status=403), 429),
        (errors.ClusterRefused("x", reason="Unheard of"), 502),
        (errors.LaunchError("x", reason="ImageNotFound"), 502),
        (errors.RunnerStartError("x", reason="ClusterFull"), 503),
        (errors.RunnerStartError("x", reason="StartTimeout"), 504),
        (errors.WorkingDirectoryMissing("x"), 422),
        (errors.RunnerEnded("x"), 409),
        (errors.SessionLost("x"), 502),
        (errors.RequestError("x", reason="ExecutableNotFound"), 422),
        # The agent's fault, not the server's.
        (errors.RequestError("x", reason="InternalError"), 502),
        (errors.GraError("x", reason="InternalError"), 500),
        (errors.GraError("x", reason="NotYourRunner"), 403),
        (errors.GraError("x", reason="RunnerStarting"), 409),
    ],
)
def test_the_status_is_that_of_the_reason_or_else_of_the_class(
    error: errors.GraError, expected: int
) -> None:
    assert status_of(error) == expected


def test_every_refusal_of_a_cluster_has_a_status() -> None:
    given = re.findall(r"Reason\.([A-Z_]+)", inspect.getsource(refusals))
    assert {Reason[name].value for name in given} == set(status.OF_THE_CLUSTER)


def test_every_reason_of_a_launch_is_one_of_the_backends() -> None:
    assert set(status.OF_A_LAUNCH) <= {reason.value for reason in Reason}


def test_every_refusal_of_an_agent_has_a_status() -> None:
    section = ERRORS.partition("## Requests to the agent")[2].partition("Why a stream was reset")[0]
    documented = set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))
    # Of this machine's ports, which the API does not serve.
    assert documented - {"PortUnavailable"} <= {
        *status.OF_AN_AGENT,
        "InternalError",
    }
    kernels = {"KernelRunning", "NoKernel"}
    assert set(status.OF_AN_AGENT) <= documented | kernels


def _reasons_of_the_api() -> Iterator[str]:
    yield from handlers._REASONS.values()
    for path in SERVER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, "id", "")
            for keyword in node.keywords:
                # What is wrong with configuration has one status, whatever its reason.
                if name == "ConfigError":
                    break
                if keyword.arg == "reason" and isinstance(keyword.value, ast.Constant):
                    yield keyword.value.value
            if name == "invalid" and isinstance(node.args[1], ast.Constant):
                yield node.args[1].value


def test_every_reason_of_the_api_has_a_status() -> None:
    assert set(_reasons_of_the_api()) == set(status.OF_THE_API)
