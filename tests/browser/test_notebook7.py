"""Notebook 7: what its shell has room for, and nothing that breaks it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.support.lab import Lab
from tests.support.lab_page import LabPage


@pytest.fixture(scope="module")
def lab_options() -> dict[str, Any]:
    return {"app": "notebook"}


def test_a_notebook_of_notebook_7_has_its_runner_in_its_toolbar_and_in_the_left_side_bar(
    page: LabPage, lab: Lab
) -> None:
    lab.write_settings("gra-provisioner:runners", {"usageInterval": 1})
    lab.write_notebook("analysis.ipynb", "")
    page.open("analysis.ipynb")
    page.until_kernel_is("idle")
    name = lab.runners.only()
    badge = page.notebook.locator(".gra-Badge-button")
    expect(badge).to_have_text(re.compile(rf"{name} · small"))

    badge.click()
    expect(page.panel).to_be_visible()
    expect(page.row(name)).to_have_attribute("aria-selected", "true")
    expect(page.state(name)).to_have_text("Idle")
    expect(page.row(name)).to_contain_text("analysis.ipynb")

    page.page.locator("#jp-left-stack .jp-SidePanel-collapse").click()
    expect(page.panel).to_be_hidden()
    page.page.get_by_role("menuitem", name="View", exact=True).click()
    page.menu_item("Show Runners").click()
    expect(page.panel).to_be_visible()

    page.choose(name, "Delete Runner…")
    page.dialog.get_by_role("button", name="Delete").click()
    expect(page.panel).to_contain_text("No runners.")


@pytest.mark.same_with_pods("there are no runners")
def test_the_tree_of_notebook_7_opens_without_complaints(page: LabPage) -> None:
    page.open()

    expect(page.page.get_by_role("tab", name="Files")).to_be_visible()
    expect(page.dialog).to_have_count(0)
    expect(page.notifications).to_have_count(0)
