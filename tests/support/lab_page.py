"""What somebody does in JupyterLab or Notebook 7, by what is to be seen there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from playwright.sync_api import Locator, Page, expect

from tests.support.browser import PATIENCE, Watch
from tests.support.lab import Lab

_MILLISECONDS = PATIENCE * 1000
_RUN_COMMAND = "([id, args]) => window.jupyterapp.commands.execute(id, args).then(() => null)"
_HAS_COMMAND = "id => window.jupyterapp.commands.hasCommand(id)"
_KERNEL_IS = """
states => {
    const kernel = window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel;
    return kernel?.connectionStatus === 'connected' && states.includes(kernel.status);
}
"""


@dataclass(frozen=True)
class LabPage:
    """One tab of a browser.  ``page`` is Playwright's, for all that has no method here."""

    lab: Lab
    page: Page
    watch: Watch

    # -- opening it ---------------------------------------------------------------------------

    def open(self, path: str = "") -> LabPage:
        """Open a clean workspace, or a page of Notebook 7, and wait until it can be used.

        ``path`` is a file below the folder of notebooks.
        """
        if self.lab.app == "lab":
            self.page.goto(self.lab.address(f"lab{f'/tree/{path}' if path else ''}?reset"))
            self.page.locator("#jupyterlab-splash").wait_for(state="detached")
        else:
            self.page.goto(self.lab.address(f"notebooks/{path}" if path else "tree"))
        self.page.wait_for_function("() => window.jupyterapp?.restored.then(() => true)")
        return self

    def reload(self) -> None:
        """Load the page again, in the workspace as it is."""
        self.page.reload()
        self.page.wait_for_function("() => window.jupyterapp?.restored.then(() => true)")

    # -- the application ----------------------------------------------------------------------

    def command(self, id: str, **arguments: Any) -> None:
        """Run a command of the application, and wait until it is done."""
        self.page.evaluate(_RUN_COMMAND, [id, arguments])

    def has_command(self, id: str) -> bool:
        """Whether the application has a command."""
        known: bool = self.page.evaluate(_HAS_COMMAND, id)
        return known

    def has_plugin(self, id: str) -> bool:
        """Whether a plugin has been activated."""
        active: bool = self.page.evaluate("id => window.jupyterapp.isPluginActivated(id)", id)
        return active

    def plugins(self, package: str) -> list[str]:
        """The plugins of an extension that the page has loaded."""
        known: list[str] = self.page.evaluate("() => window.jupyterapp.listPlugins()")
        return [plugin for plugin in known if plugin.startswith(f"{package}:")]

    def theme(self, name: str) -> None:
        """Change the theme: ``JupyterLab Dark`` and so on."""
        self.command("apputils:change-theme", theme=name)
        expect(self.page.locator("body")).to_have_attribute("data-jp-theme-name", name)
        # Lab would take it away twice if the next theme came sooner.
        self.page.locator("#jupyterlab-splash").wait_for(state="detached")

    @property
    def notifications(self) -> Locator:
        """The notifications that are shown at the moment."""
        return self.page.locator(".Toastify__toast")

    @property
    def dialog(self) -> Locator:
        """The dialog that is open."""
        return self.page.get_by_role("dialog")

    # -- notebooks ----------------------------------------------------------------------------

    def launch_notebook(self, kernel: str) -> None:
        """Make a notebook from the launcher's card; ``kernel`` is a part of what that says.

        Does not wait for the kernel.
        """
        cards = self.page.locator('.jp-LauncherCard[data-category="Notebook"]:visible')
        cards.filter(has_text=kernel).first.click()
        self.notebook.wait_for()

    @property
    def notebook(self) -> Locator:
        """The notebook in front."""
        return self.page.locator(".jp-NotebookPanel:visible")

    def until_kernel_is(self, *states: str) -> None:
        """Wait for the kernel of the notebook in front to be connected, in one of these states.

        The application is asked: its toolbar says idle before there is a kernel, and cells that
        are run then are not run.
        """
        self.page.wait_for_function(_KERNEL_IS, arg=list(states))

    def run_cell(self, code: str) -> Locator:
        """Type into the last cell, or one below if that has text, and run it.  Returns the cell."""
        # Lab may say of a restarted kernel that it starts, or nothing, until a cell has run.
        self.until_kernel_is("idle", "busy", "starting", "unknown")
        cells = self.notebook.locator(".jp-CodeCell")
        last = cells.count() - 1
        cells.nth(last).get_by_role("textbox").first.click()
        if cells.nth(last).locator(".cm-content").inner_text().strip():
            last += 1
            for key in ("Escape", "b", "Enter"):
                self.page.keyboard.press(key)
        cell = cells.nth(last)
        expect(cell.get_by_role("textbox").first).to_be_focused()
        self.page.keyboard.insert_text(code)
        self.page.keyboard.press("Shift+Enter")
        return cell

    def output(self, cell: Locator) -> str:
        """What a cell has put out, without white space around it, once it has ended."""
        expect(cell.locator(".jp-InputPrompt")).to_have_text(
            re.compile(r"^\[\d+\]:$"), timeout=_MILLISECONDS
        )
        return "\n".join(cell.locator(".jp-OutputArea-output").all_inner_texts()).strip()

    def run(self, code: str) -> str:
        """Run a cell and return what it has put out."""
        return self.output(self.run_cell(code))

    # -- runners ------------------------------------------------------------------------------

    @property
    def panel_tab(self) -> Locator:
        """The tab of the panel of runners, in a side bar."""
        return self.page.locator('.jp-SideBar [role="tab"][title^="Runners"]')

    def open_panel(self) -> Locator:
        """Open the panel of runners where it is not open yet.  Returns it."""
        if not self.panel.is_visible():
            self.panel_tab.click()
        self.panel.wait_for()
        return self.panel

    @property
    def panel(self) -> Locator:
        """The panel of runners, without its toolbar."""
        return self.page.locator(".gra-Panel-body")

    @property
    def grid(self) -> Locator:
        """The runners in the panel; there is none while there are no runners."""
        return self.panel.get_by_role("treegrid", name="Runners")

    @property
    def rows(self) -> Locator:
        """The rows of runners that are drawn, without those of groups."""
        return self.grid.locator('[role="row"][data-runner]')

    def row(self, runner: str) -> Locator:
        """The row of a runner."""
        return self.grid.locator(f'[role="row"][data-runner="{runner}"]')

    def state(self, runner: str) -> Locator:
        """What the row of a runner says that it does."""
        return self.row(runner).locator(".gra-Row-state")

    def choose(self, runner: str, label: str) -> None:
        """Choose from the menu of a runner's row."""
        self.row(runner).click(button="right")
        self.menu_item(label).click()

    def menu_item(self, label: str) -> Locator:
        """An item of the menu that is open, by all of its label."""
        labelled = self.page.get_by_text(label, exact=True)
        return self.page.get_by_role("menuitem").filter(has=labelled)

    def press(self, *keys: str) -> None:
        """Press keys, one after the other, wherever the focus is."""
        for key in keys:
            self.page.keyboard.press(key)
