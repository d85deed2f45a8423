"""Runners show up in the panel by themselves, whoever made them, and say how far they are."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Browse
from tests.cluster import images
from tests.cluster.layout import Layout
from tests.support.cluster import Cluster
from tests.support.kernelspecs import IPYKERNEL_ARGV, KernelSpecs
from tests.support.lab import Lab
from tests.support.lab_page import LabPage
from tests.support.places import Places
from tests.support.registry import Registry, forgotten, running
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


# -- slow and failing starts -------------------------------------------------------------------

# A kernel that starts once a file is there.
_PATIENT = """
import os, pathlib, sys, time
while not pathlib.Path(sys.argv[1]).exists(): time.sleep(0.02)
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


def test_a_slow_start_tells_its_phase_and_its_time_until_it_is_ready(
    page: LabPage, lab: Lab
) -> None:
    argv = ["python", "-c", _PATIENT, str(lab.runners.work / "go-on"), *IPYKERNEL_ARGV[1:]]
    _kernelspec(lab, "patient", kernel_argv=argv)
    page.open().open_panel()
    page.launch_notebook("patient")

    told = page.notifications
    expect(told).to_contain_text(
        re.compile(r"runner-\d+ for Untitled\.ipynb: Starting the kernel… [2-9] s")
    )
    assert told.count() == 1
    expect(page.state(lab.runners.only())).to_have_text(re.compile("[Kk]ernel"))

    lab.runners.touch("go-on")
    expect(told).to_contain_text(re.compile(r"is ready after \d"))
    page.until_kernel_is("idle")
    assert page.run("print(6 * 7)") == "42"


@pytest.mark.pods_only("local runners have no images")
def test_an_image_that_comes_slowly_is_seen_being_pulled(
    page: LabPage, lab: Lab, registry: Registry
) -> None:
    archive = images.built(Layout.of_user().cache) / "images.tar"
    image = registry.serving("slow/kernel", archive, f"{images.PREFIX}/python:1", _SLOW)
    _kernelspec(lab, "slow-image", config={"image": image})
    page.open().open_panel()
    page.launch_notebook("slow-image")

    row = page.rows.first
    expect(page.panel).to_contain_text("Starting 1")
    expect(page.notifications).to_contain_text(re.compile(r"Pulling the image… \d+ s"))
    expect(page.notifications).to_contain_text(re.compile(r"is ready after \d"))
    expect(row.locator(".gra-Row-state")).to_have_text("Idle")


@pytest.mark.pods_only("local runners have no images")
def test_a_start_that_fails_tells_its_reason_and_all_details(
    page: LabPage, lab: Lab, registry: Registry
) -> None:
    image = registry.name("nobody/nothing")
    _kernelspec(lab, "no-image", config={"image": image})
    page.watch.expect(*_FAILED)
    page.open().open_panel()
    page.launch_notebook("no-image")

    told = page.notifications
    expect(told).to_contain_text("could not start")
    expect(told).to_contain_text("There is no image")
    expect(told.get_by_role("button", name="Try again")).to_be_visible()
    _decline(page)
    told.get_by_role("button", name="Show details").click()

    for words in ("ImageNotFound", f"There is no image '{image}'", "RUNNER_IMAGE"):
        expect(page.dialog).to_contain_text(words)
    phases = page.dialog.get_by_role("table").first
    expect(phases.get_by_role("row").filter(has_text="Pulling the image")).to_be_visible()
    expect(page.dialog).to_contain_text(re.compile("Failed.*not found"))
    page.dialog.get_by_role("button", name="Close").click()
    # It is there for another try.
    expect(told).to_be_visible()


def test_a_kernel_that_is_not_there_tells_what_is_missing(page: LabPage, lab: Lab) -> None:
    _kernelspec(lab, "absent", kernel_argv=["no-such-kernel", "-f", "{connection_file}"])
    page.watch.expect(*_FAILED)
    page.open()
    page.launch_notebook("absent")

    told = page.notifications
    expect(told).to_contain_text("could not start")
    expect(told).to_contain_text("no-such-kernel")
    _decline(page)
    told.get_by_role("button", name="Show details").click()
    expect(page.dialog).to_contain_text("KernelNotFound")
    assert lab.runners.uids() == {}


# In seconds.
_SLOW = 6.0
# The session that was to be, and what is asked about a runner that is gone by then.
_FAILED = (r"50\d .*api/(sessions|kernels)", r"(404|409|502) .*gra/api/runners/.*/(events|logs)")


def _decline(page: LabPage) -> None:
    """Close the dialogs by which Lab itself tells that there is no kernel, and asks for another."""
    page.dialog.get_by_role("button", name="Ok").click()
    page.dialog.get_by_role("button", name="No Kernel").click()
    expect(page.dialog).to_have_count(0)


def _kernelspec(lab: Lab, name: str, **spec: Any) -> None:
    """A card more in the launcher."""
    KernelSpecs(lab.places.data, on_runners=True).write(name, **spec)


@pytest.fixture
def registry(cluster: Cluster) -> Iterator[Registry]:
    """A registry that the node reaches."""
    # Another cluster's nodes are on other hosts: the test is skipped there.
    _ = cluster.parts
    with running() as registry, forgotten(registry):
        yield registry
