"""JupyterLab and Notebook 7 open with the extension, and as before where the server has none."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Browse
from tests.support.browser import described, violations
from tests.support.lab import Lab
from tests.support.lab_page import LabPage

_PACKAGE = "gra-provisioner"
_NO_RUNNERS = pytest.mark.same_with_pods("there are no runners")


@_NO_RUNNERS
def test_lab_opens_with_the_extension_and_without_complaints(page: LabPage) -> None:
    page.open()

    assert page.plugins(_PACKAGE)
    assert all(map(page.has_plugin, page.plugins(_PACKAGE)))
    expect(page.panel_tab).to_be_visible()
    expect(page.page.get_by_role("tab", name="Launcher")).to_be_visible()


@_NO_RUNNERS
def test_the_empty_panel_is_accessible(page: LabPage) -> None:
    found = violations(page.open().open_panel())

    assert not found, described(found)


@_NO_RUNNERS
def test_without_the_server_extension_lab_opens_and_shows_no_panel(
    start_lab: Callable[..., Lab], browse: Browse
) -> None:
    page = browse(start_lab(has_extension=False)).open()

    expect(page.page.get_by_role("tab", name="Launcher")).to_be_visible()
    expect(page.panel_tab).to_have_count(0)
    expect(page.notifications).to_have_count(0)
    expect(page.dialog).to_have_count(0)


@_NO_RUNNERS
def test_notebook_7_opens_with_the_extension_and_without_complaints(
    start_lab: Callable[..., Lab], browse: Browse
) -> None:
    page = browse(start_lab(app="notebook")).open()

    assert page.plugins(_PACKAGE)


def test_a_notebook_from_the_launcher_runs_on_a_runner(page: LabPage, lab: Lab) -> None:
    page.open().launch_notebook("small runner")

    assert page.run("print(6 * 7)") == "42"
    assert len(lab.runners.uids()) == 1
