"""The ground of the tests in a browser: a real server, real runners, Debian's Chromium.

What a test asks for:

``lab``
    JupyterLab, started once for a module and backend; what a test has started there is ended after
    it, and its files and settings are gone.  ``lab.rest`` asks the REST API (``lab.rest.runner()``
    makes a runner), ``lab.runners`` sees them from outside, ``lab.server`` is the process,
    ``lab.write_settings`` and ``lab.write_notebook`` come before opening a page.
``lab_options``
    To be overridden by a module, in a fixture of scope ``module``: the arguments of
    :func:`tests.support.lab.running_lab` for ``lab``, as ``{"app": "notebook"}`` for Notebook 7.
``start_lab``
    Starts further servers, or one that the test kills: ``start_lab(has_extension=False)``.  They
    are ended with the test.
``page``
    A tab on ``lab`` in a context of its own: a :class:`tests.support.lab_page.LabPage`, to be
    opened by ``page.open()``.  Its methods say what somebody does, ``page.page`` is Playwright's.
``panel_page``
    The same, opened, with the panel in front, which looks at its runners every second.
``browse``
    Makes further tabs, of any server: ``browse(lab)``.  Each has its own context; two tabs of one
    context are ``browse(lab, beside=page)``.
``browser``
    Chromium itself, one for a module.

A test fails if a page asks for anything but its own server, has an uncaught error, or says an error
in the console that was not expected: ``page.watch.expect("404 .*gra/api")``.  What a failed test's
pages looked like and said is in ``build/browser/NAME``, with the server's log.

``tests.support.browser.violations(page.panel)`` asks axe.  Playwright's ``expect(locator)`` waits,
as its methods do, for up to :data:`tests.support.browser.PATIENCE` seconds.

Tests here are no coroutines (see :mod:`tests.support.browser`).  One worker of pytest-xdist runs
all of them, so that there is one browser at a time.  Each runs with either backend
(``--backend``), unless ``same_with_pods`` or ``local_only`` says that it need not.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest
from playwright.sync_api import Browser, BrowserContext, ViewportSize, expect

from tests.cluster.locks import Use
from tests.support.backends import (
    backend,
    bound_without_fixtures,
    choose,
    cluster,
    cluster_use,
    namespace,
    parametrize,
    shared,
)
from tests.support.browser import PATIENCE, Watch, chromium, keep, running_browser
from tests.support.lab import Lab, running_lab
from tests.support.lab_page import LabPage
from tests.support.places import Places
from tests.support.pods import PodRunners
from tests.support.runners import LocalRunners, Runners
from tools import frontend

# pytest takes fixtures from here.
__all__ = ["backend", "cluster", "cluster_use", "namespace"]

_FAILED = pytest.StashKey[bool]()
# Notebook 7 asks for its shortcuts' settings before it has them, whatever else is installed.
_SHORTCUTS = r"uncaught: TypeError: .*reading 'schema'.*\n.*/static/notebook/notebook_core"
_VIEWPORT: ViewportSize = {"width": 1280, "height": 800}


class Browse(Protocol):
    def __call__(self, lab: Lab, beside: LabPage | None = None, **context: Any) -> LabPage: ...


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    parametrize(metafunc)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    choose(config, items, here)
    for item in items:
        if item.path.is_relative_to(here):
            # The first one may have to fetch what the front end is built with.
            bound_without_fixtures(item)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        item.stash[_FAILED] = True
    return report


@pytest.fixture(scope="session")
def _front_end() -> None:
    """The extension as it is in the tree, in this environment."""
    frontend.build()


@pytest.fixture(scope="session")
def _chromium() -> str:
    program = chromium()
    if program is None:
        pytest.skip("there is no Chromium; on Debian and Ubuntu: sudo apt-get install chromium")
    return program


@pytest.fixture(scope="module")
def browser(_chromium: str) -> Iterator[Browser]:
    """Chromium without a window."""
    expect.set_options(timeout=PATIENCE * 1000)
    with running_browser(_chromium) as browser:
        yield browser


@pytest.fixture(scope="module")
def _new_runners(backend: str, request: pytest.FixtureRequest) -> Callable[[Places], Runners]:
    if backend == "local":
        return LocalRunners
    on: tuple[Any, str] = (
        request.getfixturevalue("cluster"),
        request.getfixturevalue("namespace"),
    )
    return lambda places: PodRunners(places, *on)


@pytest.fixture(autouse=True)
def _cluster_is_used(backend: str, request: pytest.FixtureRequest) -> Iterator[None]:
    """Nobody stops a part of the cluster while a test with pods runs."""
    if backend == "local":
        yield
        return
    use: Use = request.getfixturevalue("cluster_use")
    with shared(use):
        yield


@pytest.fixture(scope="module")
def lab_options() -> dict[str, Any]:
    """How ``lab`` is started."""
    return {}


@pytest.fixture(scope="module")
def _module_lab(
    _front_end: None,
    _new_runners: Callable[[Places], Runners],
    lab_options: dict[str, Any],
) -> Iterator[Lab]:
    with ExitStack() as stack:
        yield _start(stack, _new_runners, lab_options)


@pytest.fixture
def lab(_module_lab: Lab) -> Iterator[Lab]:
    """The module's server."""
    yield _module_lab
    _module_lab.restore()


@pytest.fixture
def start_lab(
    _front_end: None, _new_runners: Callable[[Places], Runners]
) -> Iterator[Callable[..., Lab]]:
    """Starts servers of the test's own."""
    with ExitStack() as stack:

        def start(**options: Any) -> Lab:
            return _start(stack, _new_runners, options)

        yield start


def _start(
    stack: ExitStack, new_runners: Callable[[Places], Runners], options: dict[str, Any]
) -> Lab:
    root = Path(tempfile.mkdtemp(prefix="gra-"))
    stack.callback(shutil.rmtree, root, ignore_errors=True)
    places = Places(root)
    places.make()
    return stack.enter_context(running_lab(places, new_runners(places), **options))


@pytest.fixture
def browse(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Browse]:
    """Makes tabs, which are watched."""
    opened: dict[BrowserContext, tuple[Lab, Watch]] = {}

    def browse(lab: Lab, beside: LabPage | None = None, **options: Any) -> LabPage:
        if beside is not None:
            return LabPage(lab, beside.page.context.new_page(), beside.watch)
        context = browser.new_context(viewport=_VIEWPORT, **options)
        context.set_default_timeout(PATIENCE * 1000)
        watch = Watch(lab.origin)
        if lab.app == "notebook":
            watch.expect(_SHORTCUTS)
        watch.attach(context)
        opened[context] = (lab, watch)
        return LabPage(lab, context.new_page(), watch)

    yield browse
    faults = [fault for _, watch in opened.values() for fault in watch.faults()]
    for number, (context, (lab, watch)) in enumerate(opened.items()):
        if faults or request.node.stash.get(_FAILED, False):
            name = f"{request.node.name}-{number}" if number else request.node.name
            print(f"kept in {keep(context, watch, lab.server.log, name)}")
        context.close()
    if faults:
        pytest.fail("pages did what they should not:\n" + "\n".join(faults), pytrace=False)


@pytest.fixture
def page(lab: Lab, browse: Browse) -> LabPage:
    """A tab on ``lab``, not yet opened."""
    return browse(lab)


@pytest.fixture
def panel_page(lab: Lab, page: LabPage) -> LabPage:
    """A tab on ``lab`` in which the panel is open."""
    lab.write_settings("gra-provisioner:runners", {"usageInterval": 1})
    page.open().open_panel()
    return page
