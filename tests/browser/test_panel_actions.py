"""What is done with runners and their kernels from the panel, by mouse and by keyboard."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Browse
from tests.support.lab import Lab
from tests.support.lab_page import LabPage
from tests.support.waiting import until

_PAGE_ONLY = pytest.mark.same_with_pods("the page does the same")


@pytest.fixture
def kernel(panel_page: LabPage, lab: Lab) -> str:
    """The name of a runner whose kernel is the server's, without a notebook."""
    started = lab.rest.ok("POST", "kernels", {})
    name: str = started["runner"]["name"]
    # The page learns of the server's kernels by asking every now and then.
    panel_page.command("gra-provisioner:refresh")
    expect(panel_page.state(name)).to_have_text("Idle")
    return name


def test_a_notebook_and_a_console_opened_on_a_runners_kernel_share_its_variables(
    panel_page: LabPage, lab: Lab, kernel: str
) -> None:
    page = panel_page
    page.choose(kernel, "New Notebook on Kernel")
    page.notebook.wait_for()
    assert page.run("answer = 6 * 7; print(answer)") == "42"

    page.choose(kernel, "New Console on Kernel")
    console = page.page.locator(".jp-ConsolePanel:visible")
    # What is typed before is lost.
    expect(console).to_contain_text("IPython")
    prompt = console.locator(".jp-CodeConsole-promptCell").get_by_role("textbox")
    prompt.click()
    page.page.keyboard.insert_text("print(answer + 1)")
    page.press("Shift+Enter")
    expect(console.locator(".jp-OutputArea-output").last).to_have_text("43")
    assert list(lab.runners.uids()) == [kernel]


# Notes what the page learns of its kernel's states.
_NOTE_STATES = """
() => {
    const states = (window.kernelStates = []);
    const { sessionContext } = window.jupyterapp.shell.currentWidget;
    sessionContext.statusChanged.connect((_, state) => states.push(state));
}
"""


def test_a_kernel_is_interrupted_restarted_and_shut_down_from_its_row(
    panel_page: LabPage, lab: Lab
) -> None:
    page = panel_page
    page.launch_notebook("small runner")
    assert page.run("answer = 42; print(answer)") == "42"
    name = lab.runners.only()
    cell = page.run_cell("import time; print('going', flush=True); time.sleep(1000)")
    expect(cell).to_contain_text("going")

    page.choose(name, "Interrupt Kernel")
    expect(cell).to_contain_text("KeyboardInterrupt")

    page.page.evaluate(_NOTE_STATES)
    page.choose(name, "Restart Kernel…")
    expect(page.dialog).to_contain_text("All its variables are lost")
    page.dialog.get_by_role("button", name="Restart").click()
    # What is run before that would go to the kernel that ends.
    page.page.wait_for_function("() => window.kernelStates.includes('restarting')")
    cell = page.run_cell("answer")
    expect(cell).to_contain_text("NameError")
    assert lab.runners.only() == name

    page.choose(name, "Shut Down Kernel…")
    expect(page.dialog).to_contain_text("its runner ends with it")
    page.dialog.get_by_role("button", name="Shut Down").click()
    expect(page.row(name)).to_have_count(0)
    until(lambda: not lab.runners.uids(), "the runner to be gone")
    expect(page.notebook.locator(".jp-Toolbar-kernelName")).to_have_text("No Kernel")


@_PAGE_ONLY
def test_the_command_that_attaches_a_terminal_is_copied(lab: Lab, browse: Browse) -> None:
    page = browse(lab, permissions=["clipboard-read", "clipboard-write"]).open()
    page.open_panel()
    name = lab.rest.ok("POST", "runners", {})["name"]
    page.choose(name, "Copy Attach Command")

    expect(page.notifications).to_contain_text(f"gra attach {name}")
    assert page.page.evaluate("() => navigator.clipboard.readText()") == f"gra attach {name}"


def test_the_dialog_for_a_new_runner_keeps_what_is_typed_and_says_which_field_is_wrong(
    panel_page: LabPage, lab: Lab
) -> None:
    page = panel_page
    page.watch.expect("422 .*gra/api/kernels")
    page.page.get_by_role("button", name="New runner…").first.click()
    form = page.dialog
    form.get_by_label("Profile").select_option("medium")
    form.get_by_label("CPU").fill("0.5")
    form.get_by_label("Memory").fill("much")
    form.get_by_role("button", name="Start").click()

    expect(form.get_by_role("alert")).to_contain_text("resources.memory")
    memory = form.get_by_label("Memory")
    expect(memory).to_have_attribute("aria-invalid", "true")
    expect(memory).to_be_focused()
    expect(memory).to_have_value("much")
    expect(form.get_by_label("CPU")).to_have_value("0.5")
    expect(form.get_by_label("Profile")).to_have_value("medium")
    assert lab.runners.uids() == {}

    memory.fill("300 MiB")
    form.get_by_role("button", name="Start").click()
    page.notebook.wait_for()
    assert page.run("print(6 * 7)") == "42"
    expect(page.row(lab.runners.only())).to_contain_text("medium · 0.50 CPU, 300 MiB")


def test_the_log_is_shown_live_and_searched(panel_page: LabPage, lab: Lab, kernel: str) -> None:
    page = panel_page
    page.choose(kernel, "New Notebook on Kernel")
    page.notebook.wait_for()
    assert "ok" in page.run("import os; os.write(1, b'one fish\\nred fish\\n'); print('ok')")
    page.choose(kernel, "Open Log")
    log = page.page.locator(".gra-Logs:visible")
    lines = log.locator(".gra-Logs-line")
    expect(lines.filter(has_text="red fish")).to_be_visible()

    later = "import os, threading; threading.Timer(0.5, os.write, (1, b'blue fish\\n')).start()"
    kernel_id = lab.kernels()[0]
    lab.server.connect(kernel_id).run(later)
    expect(lines.filter(has_text="blue fish")).to_be_visible()

    log.get_by_role("searchbox", name="Search the log").fill("fish")
    expect(log.locator(".gra-Logs-count")).to_have_text("3 matches")
    expect(log.locator("mark")).to_have_count(3)
    page.press("Enter", "Enter")
    expect(log.locator(".gra-Logs-count")).to_have_text("2 of 3")
    log.get_by_role("button", name="Show only lines that match").click()
    expect(lines).to_have_count(3)


def test_a_terminal_in_the_runner_runs_commands(panel_page: LabPage, lab: Lab) -> None:
    page = panel_page
    name = lab.rest.ok("POST", "runners", {"kernel": False})["name"]
    page.choose(name, "Open Terminal")
    terminal = page.page.locator(".jp-Terminal:visible")
    terminal.locator(".xterm-helper-textarea").wait_for(state="attached")
    page.page.wait_for_function(_TERMINAL_SAYS, arg="[$#] ?$")
    terminal.click()
    page.page.keyboard.type("echo $((6*7))-$HOSTNAME-here\n")
    page.page.wait_for_function(_TERMINAL_SAYS, arg="\n42-.*-here")


# What is drawn on a canvas is in the terminal's buffer.
_TERMINAL_SAYS = """
pattern => {
    const terminal = window.jupyterapp.shell.currentWidget?.content?._term;
    if (!terminal) { return false; }
    const buffer = terminal.buffer.active;
    const lines = Array.from(
        { length: buffer.length }, (_, i) => buffer.getLine(i).translateToString(true)
    );
    return new RegExp(pattern).test(lines.join('\\n').trimEnd());
}
"""


def test_the_notebooks_badge_leads_to_its_row_and_lab_lists_the_runner_as_running(
    page: LabPage, lab: Lab
) -> None:
    page.open().launch_notebook("small runner")
    page.until_kernel_is("idle")
    name = lab.runners.only()
    badge = page.notebook.locator(".gra-Badge-button")
    expect(badge).to_have_text(re.compile(rf"{name} · small · [\d.]+ (MiB )?of 2 GiB"))
    expect(page.panel).to_be_hidden()

    badge.click()
    expect(page.row(name)).to_have_attribute("aria-selected", "true")
    expect(page.grid).to_be_focused()

    page.page.locator('.jp-SideBar [role="tab"][data-id="jp-running-sessions"]').click()
    section = page.page.locator("#jp-running-sessions").get_by_text(f"{name} · Untitled.ipynb")
    section.click()
    expect(page.panel).to_be_visible()


@_PAGE_ONLY
def test_runners_are_searched_filtered_and_sorted(panel_page: LabPage, lab: Lab) -> None:
    page = panel_page
    first = lab.rest.ok("POST", "runners", {"kernel": False, "profile": "medium"})["name"]
    second = lab.rest.ok("POST", "runners", {"kernel": False})["name"]
    ended = lab.rest.ok("POST", "runners", {"kernel": False, "ttl": {"lifetime": 1}})["name"]
    expect(page.state(ended)).to_have_text("Ended")

    def shown(*names: str) -> None:
        expect(page.rows).to_have_count(len(names))
        for number, name in enumerate(names):
            expect(page.rows.nth(number)).to_have_attribute("data-runner", name)

    shown(first, second, ended)
    page.panel.get_by_label("Sort by").select_option("profile")
    page.panel.get_by_role("button", name="The other way round").click()
    shown(second, first, ended)
    search = page.panel.get_by_role("searchbox")
    search.fill("medium")
    shown(first)
    search.fill("")
    chip = page.panel.get_by_role("button", name=re.compile("^Ended"))
    chip.click()
    shown(ended)
    search.fill("nothing")
    expect(page.panel).to_contain_text("No runner is as the filters ask for.")
    page.panel.get_by_role("button", name="Show all").click()
    expect(page.rows).to_have_count(3)


def test_the_keyboard_alone_reaches_a_row_its_menu_and_what_is_in_it(
    panel_page: LabPage, lab: Lab, kernel: str
) -> None:
    page = panel_page
    other = lab.rest.ok("POST", "runners", {"kernel": False})["name"]
    expect(page.rows).to_have_count(2)
    # As long as it is shown as starting it stands above the other.
    expect(page.state(other)).to_have_text("No kernel")
    page.panel.get_by_role("searchbox").focus()
    for _ in range(12):
        page.press("Tab")
        if page.grid.evaluate("grid => grid === document.activeElement"):
            break
    expect(page.grid).to_be_focused()

    page.press("Home", "ArrowDown")
    expect(page.row(kernel)).to_have_attribute("aria-selected", "true")
    page.press("ArrowDown")
    expect(page.row(other)).to_have_attribute("aria-selected", "true")
    active = page.grid.get_attribute("aria-activedescendant")
    assert active == page.row(other).get_attribute("id")
    page.press("ArrowUp", "Shift+F10")
    expect(page.menu_item("New Console on Kernel")).to_be_visible()
    page.press("ArrowDown", "ArrowDown", "ArrowDown", "Enter")

    expect(page.page.locator(".jp-ConsolePanel:visible")).to_be_visible()
    # Only its own kernel can be asked for a console.
    page.row(other).click()
    page.press("Shift+F10")
    expect(page.menu_item("New Console on Kernel")).to_have_attribute("aria-disabled", "true")
    page.press("Escape")
