"""All that the extension adds can be read and used by everybody: axe finds nothing serious."""

from __future__ import annotations

import pytest
from playwright.sync_api import Locator, expect

from tests.support.browser import described, violations
from tests.support.lab import Lab
from tests.support.lab_page import LabPage

pytestmark = pytest.mark.local_only("the page looks the same with pods")

_THEMES = ("JupyterLab Light", "JupyterLab Dark", "JupyterLab Dark High Contrast")


def _is_accessible(page: LabPage, *parts: Locator) -> None:
    """Ask axe about parts of the page in all themes."""
    for theme in _THEMES:
        page.theme(theme)
        for part in parts:
            expect(part).to_be_visible()
            found = violations(part)
            assert not found, f"{theme}: {described(found)}"


def test_the_panel_can_be_read_by_everybody_empty_or_full(panel_page: LabPage, lab: Lab) -> None:
    page = panel_page
    region = page.page.get_by_role("region", name="Runners", exact=True)
    expect(page.panel).to_contain_text("No runners.")
    _is_accessible(page, region)

    running = lab.rest.ok("POST", "runners", {})["name"]
    ended = lab.rest.ok("POST", "runners", {"kernel": False, "ttl": {"lifetime": 1}})["name"]
    with lab.anothers_runner() as anothers:
        lab.rest.ok("POST", "runners", {"kernel": False})
        killed = lab.rest.ok("POST", "runners", {})["name"]
        lab.kill_agent(killed)
        expect(page.state(ended)).to_have_text("Ended")
        expect(page.state(running)).to_have_text("Idle")
        expect(page.row(running).get_by_role("meter").first).to_be_visible()
        expect(page.row(anothers)).to_be_visible()
        expect(page.row(killed).locator(".gra-Row-problem")).to_be_visible()
        page.row(running).locator(".gra-Row-name").click()
        _is_accessible(page, region)


def test_the_dialogs_can_be_read_by_everybody(panel_page: LabPage, lab: Lab) -> None:
    page = panel_page
    page.watch.expect("422 .*gra/api/kernels")
    name = lab.rest.ok("POST", "runners", {"kernel": False})["name"]

    page.page.get_by_role("button", name="New runner…").first.click()
    page.dialog.get_by_label("Memory").fill("much")
    page.dialog.get_by_role("button", name="Start").click()
    expect(page.dialog.get_by_role("alert")).to_be_visible()
    _is_accessible(page, page.dialog)
    page.press("Escape")

    page.choose(name, "Delete Runner…")
    _is_accessible(page, page.dialog)
    page.press("Escape")

    page.choose(name, "Show Details")
    expect(page.dialog).to_contain_text("Last lines of the log")
    _is_accessible(page, page.dialog)


def test_the_log_and_the_badge_can_be_read_by_everybody(page: LabPage, lab: Lab) -> None:
    page.open().launch_notebook("small runner")
    page.until_kernel_is("idle")
    _is_accessible(page, page.notebook.locator(".gra-Badge"))

    page.command("gra-provisioner:open-logs", name=lab.runners.only())
    log = page.page.locator(".gra-Logs:visible")
    expect(log.locator(".gra-Logs-line").first).to_be_visible()
    log.get_by_role("searchbox", name="Search the log").fill("kernel")
    expect(log.locator("mark").first).to_be_visible()
    _is_accessible(page, log)
