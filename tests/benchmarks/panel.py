"""How JupyterLab's panel is with thousands of runners, measured in Chromium by the page itself."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Browser, Page

from tests.benchmarks.clusters import Place
from tests.benchmarks.figures import Bar, Row, Summary, Table
from tests.benchmarks.options import Sizes
from tests.support.browser import chromium, running_browser
from tests.support.lab import Lab, running_lab
from tests.support.places import Places
from tests.support.pods import PodRunners
from tools import frontend

_PAINT_BAR = 100.0
# What browsers call a long task (https://www.w3.org/TR/longtasks-1/).
_TASK_BAR = 50.0
_STEPS = 60

# Notes when the last byte of the list was read, when the first row was painted, and which tasks
# took long.
_TRACE = """
() => {
    const trace = (window.graTrace = { streams: 0, synced: null, painted: null, tasks: [] });
    const decoder = new TextDecoder();
    const fetched = window.fetch;
    window.fetch = async (...request) => {
        const response = await fetched(...request);
        if (!/runners\\/watch/.test(response.url)) {
            return response;
        }
        trace.streams += 1;
        const look = new TransformStream({
            transform(chunk, controller) {
                controller.enqueue(chunk);
                if (trace.synced === null && decoder.decode(chunk).includes('event: synced')) {
                    trace.synced = performance.now();
                }
            }
        });
        return new Response(response.body.pipeThrough(look), response);
    };
    const observer = new MutationObserver(() => {
        if (document.querySelector('.gra-Row[data-runner]')) {
            observer.disconnect();
            requestAnimationFrame(() => setTimeout(() => (trace.painted = performance.now())));
        }
    });
    observer.observe(document, { childList: true, subtree: true });
    new PerformanceObserver(list => {
        trace.tasks.push(...list.getEntries().map(entry => entry.duration));
    }).observe({ type: 'longtask' });
}
"""
_OPEN = """
() => {
    const opened = performance.now();
    window.jupyterapp.shell.activateById('gra-runners');
    return opened;
}
"""
_FRAME = "() => new Promise(done => requestAnimationFrame(() => setTimeout(done)))"


@dataclass
class _Figures:
    painted: list[float] = field(default_factory=list)
    tasks: list[float] = field(default_factory=list)
    streams: list[float] = field(default_factory=list)
    rows: list[float] = field(default_factory=list)
    searched: list[float] = field(default_factory=list)


def look(place: Place, sizes: Sizes, remove: Callable[[], object]) -> list[Table]:
    """The table of this benchmark; none where there is no Chromium.

    The runners that there are, which must be others', are removed at its end by ``remove``.
    """
    program = chromium()
    if program is None:
        print("the panel is not measured: there is no Chromium.", file=sys.stderr)
        return []
    frontend.build()
    places = Places(Path(tempfile.mkdtemp(prefix="gra-bench-")))
    places.make()
    runners = PodRunners(places, place.cluster, place.namespace)
    try:
        with running_browser(program) as browser, running_lab(places, runners) as lab:
            figures = _Figures()
            try:
                for _ in range(sizes.panel_rounds):
                    _round(browser, lab, sizes.listed, figures)
            finally:
                remove()
    finally:
        shutil.rmtree(places.root, ignore_errors=True)
    return [_table(figures, sizes)]


def _round(browser: Browser, lab: Lab, count: int, figures: _Figures) -> None:
    with browser.new_context(viewport={"width": 1280, "height": 800}) as context:
        page = context.new_page()
        page.add_init_script(f"({_TRACE})()")
        page.goto(lab.address("lab?reset"))
        page.wait_for_function("() => window.jupyterapp?.restored.then(() => true)")
        page.wait_for_function("() => window.graTrace.synced !== null")
        # What belongs to the opening of the page is over.
        page.wait_for_timeout(2000)
        opened = page.evaluate(_OPEN)
        page.wait_for_function("() => window.graTrace.painted !== null")
        shown = page.locator(".gra-Group-count").first.inner_text()
        if shown != str(count):
            raise RuntimeError(f"the panel shows {shown} runners")
        figures.painted.append(page.evaluate("() => window.graTrace.painted") - opened)
        figures.tasks.append(_scroll(page))
        figures.rows.append(page.locator(".gra-Row").count())
        figures.searched.append(_search(page, f"runner-{count}"))
        figures.streams.append(page.evaluate("() => window.graTrace.streams"))


def _scroll(page: Page) -> float:
    """The longest of the long tasks while the list is scrolled, in milliseconds; 0 for none."""
    page.evaluate("() => { window.graTrace.tasks.length = 0; }")
    box = page.locator(".gra-List").bounding_box()
    if box is None:
        raise RuntimeError("the list is not to be seen")
    page.mouse.move(box["x"] + 100, box["y"] + 200)
    for step in range(_STEPS):
        page.mouse.wheel(0, 3000 if step % 2 else 300)
        page.evaluate(_FRAME)
    return max(page.evaluate("() => window.graTrace.tasks"), default=0.0)


def _search(page: Page, name: str) -> float:
    """Milliseconds from a name's being typed until its row is painted, as the first."""
    return float(
        page.evaluate(
            """
            async name => {
                const input = document.querySelector('.gra-Filters-search');
                const { set } = Object.getOwnPropertyDescriptor(
                    HTMLInputElement.prototype, 'value'
                );
                const begun = performance.now();
                set.call(input, name);
                input.dispatchEvent(new Event('input', { bubbles: true }));
                const first = () => document.querySelector('.gra-Row[data-runner]');
                while (first()?.dataset.runner !== name) {
                    await new Promise(requestAnimationFrame);
                }
                await new Promise(done => requestAnimationFrame(() => setTimeout(done)));
                return performance.now() - begun;
            }
            """,
            name,
        )
    )


def _table(figures: _Figures, sizes: Sizes) -> Table:
    def row(label: str, values: list[float], unit: str, bar: float | None = None) -> Row:
        bars = [] if bar is None else [Bar("value", bar)]
        return Row(label, {"value": Summary.of(values, unit)}, bars)

    return Table(
        "JupyterLab's panel with many runners",
        f"{sizes.listed:,} runners. From the panel's being opened, the list being there, "
        "to the first row's being painted; the longest task of the page while the list is scrolled "
        f"(0: none took {_TASK_BAR:.0f} ms); from a search's being typed to what was found.",
        [
            row("first row painted", figures.painted, "ms", _PAINT_BAR),
            row("longest task while scrolling", figures.tasks, "ms", _TASK_BAR),
            row("search", figures.searched, "ms"),
            row("rows in the page", figures.rows, ""),
            row("streams of events", figures.streams, "", 1.0),
        ],
    )
