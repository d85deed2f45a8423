"""Kernels that die under a notebook: the page says why, and offers what helps."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.support.kernelspecs import KernelSpecs
from tests.support.lab import Lab
from tests.support.lab_page import LabPage
from tests.support.waiting import until

_ALLOCATES = "kept = []\nwhile True: kept.append(bytearray(1 << 20))"


@pytest.mark.pods_only("local runners are not held to their size")
def test_a_kernel_out_of_memory_is_explained_and_goes_on_with_a_larger_runner(
    page: LabPage, lab: Lab
) -> None:
    config = {"profile": "small", "resources": {"memory": "256Mi"}}
    KernelSpecs(lab.places.data, on_runners=True).write("tight", config=config)
    lab.write_settings("gra-provisioner:runners", {"usageInterval": 1})
    page.watch.expect("Could not restore the debugger state")
    page.open().open_panel()
    page.launch_notebook("tight")
    assert page.run("print(6 * 7)") == "42"
    first = lab.runners.only()
    expect(page.row(first)).to_contain_text("of 256 MiB")

    cell = page.run_cell(_ALLOCATES)
    told = page.notifications
    expect(told).to_contain_text(
        re.compile(r"Untitled\.ipynb: out of memory, \d+ of 256 MiB\. Pick \w+, or free memory\.")
    )
    expect(page.row(first)).to_contain_text("out of memory")
    expect(cell).to_contain_text("KernelDied")
    expect(told.get_by_role("button", name="Restart", exact=True)).to_be_visible()
    _dismiss(page)
    told.get_by_role("button", name="Restart with").click()

    expect(page.row(first)).to_have_count(0)
    expect(page.rows).to_have_count(1)
    page.until_kernel_is("idle")
    assert page.run("print(6 * 7)") == "42"
    (runner,) = lab.rest.ok("GET", "runners?inspect=false")["runners"]
    assert runner["resources"]["memory"] > 256 << 20
    until(lambda: lab.left() == [runner["name"]], "the first runner to be gone")


def test_a_kernel_that_a_signal_has_killed_is_explained_and_starts_again(
    page: LabPage, lab: Lab
) -> None:
    # The server starts it anew meanwhile, and Lab asks the dead one.
    page.watch.expect(
        "Could not restore the debugger state",
        "uncaught: Error: Canceled future for kernel_info_request",
    )
    page.open().launch_notebook("small runner")
    assert page.run("print(6 * 7)") == "42"
    cell = page.run_cell("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")

    told = page.notifications
    expect(told).to_contain_text("Untitled.ipynb: ")
    expect(told).to_contain_text("SIGKILL")
    expect(cell).to_contain_text("KernelDied")
    expect(told.get_by_role("button", name="Restart with")).to_have_count(0)
    _dismiss(page)
    told.get_by_role("button", name="Show details").click()
    expect(page.dialog).to_contain_text("KilledBySignal")
    page.dialog.get_by_role("button", name="Close").click()

    told.get_by_role("button", name="Restart").click()
    page.until_kernel_is("idle")
    assert page.run("print(6 * 7)") == "42"


def _dismiss(page: LabPage) -> None:
    """Close the dialog by which Lab itself tells that a kernel died."""
    page.dialog.get_by_role("button", name="Ok").click()
    expect(page.dialog).to_have_count(0)
