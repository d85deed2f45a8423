"""Runners show up in the panel by themselves, whoever made them, and say how far they are."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Browse
from tests.support.lab import REPOSITORY, Lab
from tests.support.lab_page import LabPage
from tests.support.places import Places
from tests.support.rest import Rest, rest_server

_PAGE_ONLY = pytest.mark.same_with_pods("the page is told of runners alike")

# Notes when each runner's row was first in the page, in milliseconds since the epoch.
_NOTE_ROWS = """
() => {
    const seen = (window.seenRunners = {});
    const look = () => {
        for (const row of document.querySelectorAll('[data-runner]')) {
            seen[row.dataset.runner] ??= Date.now();
        }
    };
    new MutationObserver(look).observe(document.body, {
        childList: true, subtree: true, attributes: true, attributeFilter: ['data-runner']
    });
}
"""

# In seconds.  A row is to be there within one of its runner's being made.  A cluster tells that
# moment cut to the second, so that up to one more is seen, and where kernel, server, browser and
# other tests share two processors everything takes its turn.
_SHOWN_WITHIN = 3.0


def _shown_at(page: Page, runner: str) -> float:
    """When a row was first in the page, in seconds since the epoch."""
    seen: float = page.evaluate("name => window.seenRunners[name]", runner)
    return seen / 1000


def test_a_notebook_from_the_launcher_shows_up_within_a_second_and_says_what_it_does(
    panel_page: LabPage, lab: Lab
) -> None:
    page = panel_page.page
    page.evaluate(_NOTE_ROWS)
    panel_page.launch_notebook("small runner")

    row = panel_page.rows.first
    row.wait_for()
    (runner,) = lab.rest.ok("GET", "runners?inspect=false")["runners"]
    name = runner["name"]
    assert _shown_at(page, name) - runner["created"] < _SHOWN_WITHIN
    expect(row).to_contain_text(name)
    expect(row).to_contain_text("small · 2 CPU, 2 GiB")
    notebook = row.locator(".gra-Row-document")
    expect(notebook).to_have_text("Untitled.ipynb")
    expect(panel_page.state(name)).to_have_text("Idle")
    expect(row.get_by_role("meter", name="Memory")).to_be_visible()

    cell = panel_page.run_cell("input()")
    expect(panel_page.state(name)).to_have_text("Busy")
    answer = cell.locator(".jp-Stdin-input")
    answer.fill("go on")
    answer.press("Enter")
    expect(panel_page.state(name)).to_have_text("Idle")

    # The first time a notebook is saved Lab asks for its name.
    panel_page.press("Control+s")
    panel_page.dialog.get_by_role("textbox").fill("results.ipynb")
    panel_page.press("Enter")
    expect(notebook).to_have_text("results.ipynb")
    notebook.click()
    expect(page.locator(".jp-mod-current", has_text="results.ipynb").first).to_be_visible()


@_PAGE_ONLY
def test_runners_that_a_terminal_or_another_server_makes_appear_without_a_reload(
    panel_page: LabPage, lab: Lab, another_server: Rest
) -> None:
    by_terminal = lab.gra("create", "--no-kernel").strip()
    expect(panel_page.state(by_terminal)).to_have_text("No kernel")
    with another_server.runner(profile="medium") as by_server:
        expect(panel_page.row(by_server)).to_contain_text("medium")
        expect(panel_page.rows).to_have_count(2)
    expect(panel_page.row(by_server)).to_have_count(0)
    lab.gra("delete", by_terminal)
    expect(panel_page.panel).to_contain_text("No runners.")


@pytest.fixture
def another_server(lab: Lab) -> Iterator[Rest]:
    """A second Jupyter server of the same user's."""
    with tempfile.TemporaryDirectory(prefix="gra-") as folder:
        places = Places(Path(folder))
        places.make()
        same = {"XDG_STATE_HOME": str(lab.places.state)}
        with rest_server(places, {**lab.environment, **places.environment(), **same}) as rest:
            yield rest


def test_two_tabs_agree(panel_page: LabPage, lab: Lab, browse: Browse) -> None:
    other = browse(lab, beside=panel_page).open()
    other.open_panel()
    name = lab.rest.ok("POST", "runners", {})["name"]
    for tab in (panel_page, other):
        expect(tab.state(name)).to_have_text("Idle")

    other.choose(name, "Delete Runner…")
    other.dialog.get_by_role("button", name="Delete").click()

    for tab in (panel_page, other):
        expect(tab.panel).to_contain_text("No runners.")
