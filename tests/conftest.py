"""Options and rules of the whole test suite."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

# These come first, being many: the other tests are spread one by one.
_STOP_PARTS = frozenset(
    f"tests/cluster/{name}.py"
    for name in ("test_cluster", "test_deaths_node", "test_faults_parts", "test_outages")
)

# How long an example takes is the machine's business, also while it is generated.
settings.register_profile("gra", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("gra")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--kernel",
        default="gra",
        help="the kernel that the tests with real kernels use; `python3` tries the tests "
        "themselves against jupyter_client's own provisioner (default: gra)",
    )
    parser.addoption(
        "--backend",
        choices=["local", "kubernetes", "both"],
        default="both",
        help="what the runners of the tests with real kernels are. `both`: local processes for "
        "all tests, pods for those that could say something new with them; `kubernetes`: pods "
        "for all tests but those about the local backend itself (default: both)",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "gra_only: says something that holds for gra's kernels and for no others"
    )
    config.addinivalue_line(
        "markers", "local_only(why): is about the local backend itself, or needs its own means"
    )
    config.addinivalue_line(
        "markers", "pods_only(why): needs what only a cluster does, beside tests of both backends"
    )
    config.addinivalue_line(
        "markers",
        "same_with_pods(why): is run with pods too if they are asked for (--backend kubernetes)",
    )


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: (not _stops_parts(item), _uses_cluster(item)))
    if config.getoption("--kernel") == "gra":
        return
    others = [item for item in items if item.get_closest_marker("gra_only")]
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if item not in others]


class _Together(LoadScopeScheduling):
    """Of several workers, one does all tests that stop parts of the cluster, one all in a browser.

    While parts are stopped the others do what needs no cluster; and a machine has cores for one
    browser.  Both are known by the module: the marker that pytest-xdist has for this
    (``xdist_group``) does nothing with pytest 9.2.
    """

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        if module.startswith("tests/browser/"):
            return "browser"
        return "parts of the cluster" if module in _STOP_PARTS else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> _Together:
    return _Together(config, log)


def _stops_parts(item: pytest.Item) -> bool:
    return "parts" in getattr(item, "fixturenames", ())


def _uses_cluster(item: pytest.Item) -> bool:
    if "cluster" in getattr(item, "fixturenames", ()) or "benchmarks" in item.path.parts:
        return True
    return isinstance(item, pytest.Function) and (
        hasattr(item, "callspec") and item.callspec.params.get("backend") == "kubernetes"
    )


def _forbid_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """On CI everything that a test needs is there, so what is skipped would go unnoticed."""
    if report.skipped and os.environ.get("CI") == "true" and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped although CI=true: {report.longrepr}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _forbid_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _forbid_skip(report)
    return report
