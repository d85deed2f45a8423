"""Runners are deleted from the panel: what is lost is said before, and why it is gone after."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.support.lab import Lab
from tests.support.lab_page import LabPage
from tests.support.waiting import until

_PAGE_ONLY = pytest.mark.same_with_pods("the page does the same")


def _delete(page: LabPage) -> None:
    page.dialog.get_by_role("button", name="Delete").click()


def test_two_rows_are_deleted_by_the_keyboard_and_the_notebook_says_so(
    panel_page: LabPage, lab: Lab
) -> None:
    page = panel_page
    page.launch_notebook("small runner")
    assert page.run("print(6 * 7)") == "42"
    cell = page.run_cell("import time; print('going', flush=True); time.sleep(1000)")
    expect(cell).to_contain_text("going")
    first = page.rows.first.get_attribute("data-runner") or ""
    second = lab.rest.ok("POST", "runners", {})["name"]
    expect(page.state(first)).to_have_text("Busy")
    expect(page.state(second)).to_have_text("Idle")
    kernel = lab.rest.ok("GET", f"runners/{first}?inspect=false")["kernel_id"]
    assert lab.kernels() == [kernel]

    page.row(first).locator(".gra-Row-name").click()
    page.press("Shift+ArrowDown", "Delete")
    expect(page.dialog).to_contain_text("Delete 2 runners?")
    for name in (first, second):
        lost = page.dialog.get_by_role("listitem").filter(has_text=name)
        expect(lost).to_contain_text("all variables of its kernel")
        expect(lost).to_contain_text(
            re.compile("computing now" if name == first else re.escape(second))
        )
        if lab.runners.backend == "kubernetes":
            expect(lost).to_contain_text("files in it that are on no storage of their own")
    expect(page.dialog).to_contain_text("Untitled.ipynb")
    # Enter loses nothing.
    expect(page.dialog.get_by_role("button", name="Cancel")).to_be_focused()
    page.press("Enter")
    expect(page.dialog).to_have_count(0)
    assert set(lab.runners.uids()) == {first, second}

    page.press("Delete")
    _delete(page)
    expect(page.panel).to_contain_text("No runners.")
    until(lambda: not lab.runners.uids(), "both runners to be gone")
    until(lambda: not lab.kernels(), "the kernel to be off the server's list")
    expect(cell).to_contain_text("KernelDied")
    expect(cell).to_contain_text(f"{first} was deleted by")
    expect(page.notebook.locator(".jp-Toolbar-kernelName")).to_have_text("No Kernel")
    expect(page.dialog).to_have_count(0)
    # It was no accident, so nothing is told beside.
    expect(page.notifications).to_have_count(0)


@_PAGE_ONLY
def test_the_deletion_of_anothers_runner_is_refused_with_the_servers_words(
    panel_page: LabPage, lab: Lab
) -> None:
    page = panel_page
    page.watch.expect("403 .*gra/api/runners")
    with lab.anothers_runner() as name:
        expect(page.row(name)).to_contain_text("ada")
        expect(page.panel).to_contain_text("Others: Running")

        page.row(name).get_by_role("button", name=f"Delete {name}").click()
        expect(page.dialog).to_contain_text("of ada")
        _delete(page)

        expect(page.dialog).to_contain_text(f"{name} was not deleted")
        _, error = lab.rest.error("DELETE", f"runners/{name}")
        expect(page.dialog).to_contain_text(error["message"])
        expect(page.dialog).to_contain_text(error["hint"])
        page.dialog.get_by_role("button", name="Close").click()
        expect(page.state(name)).to_have_text("No kernel")
        assert list(lab.runners.uids()) == [name]


def test_prune_removes_those_that_have_ended_and_no_others(panel_page: LabPage, lab: Lab) -> None:
    page = panel_page
    ended = lab.rest.ok("POST", "runners", {"kernel": False, "ttl": {"lifetime": 1}})["name"]
    expect(page.state(ended)).to_have_text("Ended")
    expect(page.row(ended)).to_contain_text("lifetime")
    prune = page.page.get_by_role("button", name="Prune")
    running = lab.rest.ok("POST", "runners", {"kernel": False})["name"]
    expect(page.rows).to_have_count(2)

    prune.click()
    expect(page.dialog).to_contain_text(f"Delete {ended}?")
    expect(page.dialog).not_to_contain_text(running)
    _delete(page)

    expect(page.row(ended)).to_have_count(0)
    assert list(lab.runners.uids()) == [running]
    expect(prune).to_have_attribute("aria-disabled", "true")


@_PAGE_ONLY
def test_what_somebody_else_has_deleted_meanwhile_is_no_error(
    panel_page: LabPage, lab: Lab
) -> None:
    page = panel_page
    page.watch.expect("404 .*gra/api/runners")
    name = lab.rest.ok("POST", "runners", {"kernel": False})["name"]
    page.row(name).click()
    page.press("Delete")
    expect(page.dialog).to_contain_text(f"Delete {name}?")

    lab.rest.ok("DELETE", f"runners/{name}")
    expect(page.row(name)).to_have_count(0)
    _delete(page)

    expect(page.dialog).to_have_count(0)
    expect(page.panel).to_contain_text("No runners.")
    expect(page.notifications).to_have_count(0)
