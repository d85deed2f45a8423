"""Pictures for the documentation, of pages as they are: ``make screenshots`` puts them there.

Otherwise they go into ``build/screenshots``, and the tests only show that they can be made.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.support.browser import REPOSITORY
from tests.support.lab import Lab
from tests.support.lab_page import LabPage

pytestmark = pytest.mark.same_with_pods("pictures")

_FOLDER = Path(os.environ.get("GRA_SCREENSHOTS") or REPOSITORY / "build" / "screenshots")
_CHART = """\
import numpy as np, matplotlib.pyplot as plt
rng = np.random.default_rng(7)
days = np.arange(365)
temperature = 9 + 11 * np.sin((days - 105) / 58) + rng.normal(0, 2.2, 365)
ballast = np.ones(60_000_000)
fig, ax = plt.subplots(figsize=(8.2, 3.1))
ax.plot(days, temperature, lw=0.7, alpha=0.6)
ax.plot(days[14:-15], np.convolve(temperature, np.ones(30) / 30, "valid"), lw=2)
ax.set(xlabel="day", ylabel="°C", title="A year of temperatures")
plt.show()"""
_BUSY = """\
total = 0
while True:
    total += sum(i * i for i in range(100_000))"""
# Run beside a kernel: both are children of the agent.
_KILL_KERNEL = """\
import os, pathlib, signal
for process in pathlib.Path("/proc").glob("[0-9]*"):
    try:
        parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
        command = (process / "cmdline").read_text()
    except OSError:
        continue
    if parent == os.getppid() and "ipykernel" in command:
        os.kill(int(process.name), signal.SIGKILL)
"""
_PROFILES = """\
default_profile = "small"
[profiles.broken]
description = "A kernel that is not installed"
kernel_argv = ["/opt/kernels/no-such-kernel", "-f", "{connection_file}"]
"""


@pytest.fixture(scope="module")
def lab_options() -> dict[str, Any]:
    """A user with a name."""
    return {"environment": lambda variables: variables.update(GRA_OWNER="ada")}


def _picture(page: LabPage, name: str) -> None:
    _FOLDER.mkdir(parents=True, exist_ok=True)
    # Where the pointer is something is drawn otherwise.
    page.page.mouse.move(700, 2)
    page.page.screenshot(path=_FOLDER / f"{name}.png", animations="disabled")


def _widen(page: LabPage, width: int = 330) -> None:
    """Pull the border of the side bar."""
    handle = page.page.locator("#jp-main-split-panel > .lm-SplitPanel-handle").first
    box = handle.bounding_box()
    assert box is not None
    page.page.mouse.move(box["x"] + 1, box["y"] + 300)
    page.page.mouse.down()
    page.page.mouse.move(width, box["y"] + 300)
    page.page.mouse.up()


def test_runners_beside_a_notebook_in_light_and_dark(lab: Lab, page: LabPage) -> None:
    lab.write_notebook("temperatures.ipynb", _CHART, _BUSY)
    page.open()
    page.open_panel()
    expect(page.panel).to_contain_text("No runners.")
    _widen(page)
    _picture(page, "panel-empty")

    ended = lab.rest.ok("POST", "runners", {"kernel": False, "ttl": {"orphan": "1s"}})["name"]
    expect(page.state(ended)).to_have_text("Ended")
    dead = lab.rest.ok("POST", "runners", {"profile": "medium"})["name"]
    lab.rest.ok("POST", f"runners/{dead}/exec", {"code": _KILL_KERNEL})
    expect(page.row(dead)).to_contain_text("killed by signal 9")
    page.command("docmanager:open", path="temperatures.ipynb")
    page.notebook.wait_for()
    page.until_kernel_is("idle")
    # Its last cell never ends, and the command with it.
    page.page.evaluate("() => void window.jupyterapp.commands.execute('notebook:run-all-cells')")
    mine = page.rows.filter(has_text="temperatures.ipynb")
    expect(mine).to_contain_text("Busy")
    expect(page.notebook.locator("img")).to_be_visible()
    # Some looks at what is used.
    page.page.wait_for_timeout(12_000)
    for theme, name in (("JupyterLab Light", "panel-light"), ("JupyterLab Dark", "panel-dark")):
        page.theme(theme)
        # Toolbars measure their items anew.
        page.page.evaluate("() => void window.dispatchEvent(new Event('resize'))")
        page.page.wait_for_timeout(1000)
        _picture(page, name)
    page.theme("JupyterLab Light")

    mine.click()
    page.press("Delete")
    expect(page.dialog).to_contain_text("what its kernel is computing now")
    _picture(page, "panel-delete")
    page.press("Escape")

    page.page.get_by_role("button", name="New runner…").first.click()
    page.dialog.get_by_label("Memory").fill("2 elephants")
    page.watch.expect("422 .*")
    page.dialog.get_by_role("button", name="Start").click()
    expect(page.dialog.get_by_role("alert")).to_contain_text("memory")
    _picture(page, "panel-new-runner")
    page.press("Escape")


def test_a_start_that_failed(lab: Lab, page: LabPage) -> None:
    (lab.places.config / "gra").mkdir(exist_ok=True)
    (lab.places.config / "gra" / "config.toml").write_text(_PROFILES)
    page.open()
    page.open_panel()
    _widen(page)
    page.watch.expect("50. .*")
    page.page.get_by_role("button", name="New runner…").first.click()
    page.dialog.get_by_label("Profile").select_option("broken")
    page.dialog.get_by_role("button", name="Start").click()
    expect(page.notifications).to_contain_text("no-such-kernel")
    expect(page.dialog.get_by_role("alert")).to_contain_text("no-such-kernel")
    page.dialog.get_by_role("button", name="Cancel").click()
    page.notifications.get_by_role("button", name="Show details").click()
    expect(page.dialog).to_contain_text("Where the time went")
    _picture(page, "panel-failed")


def test_many_runners(lab: Lab, page: LabPage) -> None:
    page.open()
    page.open_panel()
    _widen(page)
    for number in range(14):
        profile = ("small", "medium", "large")[number % 3]
        body = {"profile": profile, "kernel": number % 4 == 0, "ttl": {"orphan": "1h"}}
        lab.rest.ok("POST", "runners", body)
    expect(page.rows.first.locator(".gra-Meter")).to_have_count(2)
    page.page.wait_for_timeout(6000)
    _picture(page, "panel-many")
