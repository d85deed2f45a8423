"""Chromium for tests, and what a page must not do: go elsewhere, or complain in the console.

Playwright's synchronous interface.  While it is in use an event loop runs in this thread, so no
test beside it may be a coroutine.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Error,
    Locator,
    Page,
    Route,
    WebError,
    WebSocket,
    sync_playwright,
)

from tests.support import network_blind

REPOSITORY = Path(__file__).parents[2]
#: What is kept of tests that fail.
KEPT = REPOSITORY / "build" / "browser"
#: How long a page may take for anything, in seconds; a machine may be busy.
PATIENCE = 30.0

_CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
_OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # A small /dev/shm, as containers have it, would end a page.
    "--disable-dev-shm-usage",
)
_AXE = REPOSITORY / "labextension" / "node_modules" / "axe-core" / "axe.min.js"
_VIOLATIONS = """
(element, rules) => axe
    .run(element, { resultTypes: ['violations'], ...rules })
    .then(result => result.violations)
"""


def chromium() -> str | None:
    """Where this machine has Chromium.  Playwright's own is never downloaded."""
    return next(filter(None, map(shutil.which, _CHROMIUM)), None)


@contextmanager
def running_browser(program: str) -> Iterator[Browser]:
    """A browser without a window, ended with the block.  The network may change beside it."""
    with TemporaryDirectory(prefix="gra-") as folder, sync_playwright() as playwright:
        # Playwright starts one file.
        launcher = Path(folder, "chromium")
        command = shlex.join((sys.executable, network_blind.__file__, program))
        launcher.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        launcher.chmod(0o700)
        browser = playwright.chromium.launch(executable_path=launcher, args=list(_OPTIONS))
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Watch:
    """What the pages of one context have done that they should not.

    ``origin`` is the only one that they may ask.
    """

    origin: str
    complaints: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    _expected: list[re.Pattern[str]] = field(default_factory=list)

    def expect(self, *patterns: str) -> None:
        """Errors in the console that match one of these are no fault.  Before or after them."""
        self._expected += map(re.compile, patterns)

    def faults(self) -> list[str]:
        """What fails the test."""
        unexpected = [
            text
            for text in self.complaints
            if not any(pattern.search(text) for pattern in self._expected)
        ]
        return [*unexpected, *(f"asked for {address}" for address in self.elsewhere)]

    def attach(self, context: BrowserContext) -> None:
        """Watch a context's pages, and keep them from going elsewhere."""
        host = self.origin.partition("://")[2]
        # Only what goes elsewhere comes to this process.
        context.route(re.compile(rf"^(?!(https?|wss?)://{re.escape(host)}/)"), self._refuse)
        context.on("console", self._hear)
        context.on("weberror", self._fail)
        context.on("page", lambda page: page.on("websocket", self._see_socket))

    def _refuse(self, route: Route) -> None:
        self.elsewhere.append(route.request.url)
        route.abort()

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            place = message.location.get("url", "")
            self.complaints.append(f"console: {message.text} ({_without_token(place)})")

    def _fail(self, error: WebError) -> None:
        self.complaints.append(f"uncaught: {error.error.stack or error.error.message}")

    def _see_socket(self, socket: WebSocket) -> None:
        if not socket.url.startswith(self.origin.replace("http", "ws", 1) + "/"):
            self.elsewhere.append(_without_token(socket.url))


def _without_token(address: str) -> str:
    return re.sub(r"token=[^&#]*", "token=…", address)


def keep(context: BrowserContext, watch: Watch, log: Path, name: str) -> Path:
    """Write down what a failed test's pages look like and have said.  Returns the folder."""
    folder = KEPT / re.sub(r"[^\w.-]+", "-", name).strip("-")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for number, page in enumerate(context.pages):
        _picture(page, folder / f"page-{number}.png", watch)
    (folder / "console.txt").write_text("\n".join([*watch.complaints, *watch.elsewhere]))
    if log.exists():
        shutil.copy(log, folder / "server.log")
    return folder


def _picture(page: Page, file: Path, watch: Watch) -> None:
    # A page that hangs or has crashed has none.
    try:
        page.screenshot(path=file, timeout=10_000)
    except Error as error:
        watch.complaints.append(f"no screenshot: {error.message}")


def violations(part: Locator, *, without: Sequence[str] = ()) -> list[dict[str, Any]]:
    """What axe finds serious or critical in a part of a page, as one entry for each rule.

    ``without`` names rules that are not asked about.  https://github.com/dequelabs/axe-core
    """
    page: Page = part.page
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(_AXE.read_text(encoding="utf-8"))
    rules = {"rules": {rule: {"enabled": False} for rule in without}}
    found: list[dict[str, Any]] = part.evaluate(_VIOLATIONS, rules)
    return [
        {
            "rule": violation["id"],
            "impact": violation["impact"],
            "help": violation["help"],
            "where": [node["html"] for node in violation["nodes"]],
            "why": [node["failureSummary"] for node in violation["nodes"]],
        }
        for violation in found
        if violation["impact"] in {"serious", "critical"}
    ]


def described(found: Sequence[dict[str, Any]]) -> str:
    """:func:`violations` for a person."""
    return json.dumps(list(found), indent=2, ensure_ascii=False)
