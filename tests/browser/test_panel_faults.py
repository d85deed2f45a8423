"""What the page shows while its server, or the cluster behind it, does not answer."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from playwright.sync_api import Request, expect

from tests.browser.conftest import Browse
from tests.support.cluster import Cluster
from tests.support.cutter import Cutter
from tests.support.lab import Lab
from tests.support.lab_page import LabPage
from tests.support.places import Places
from tests.support.pods import PodRunners
from tests.support.waiting import until

# What Chromium says of requests that nobody answers, and Lab of its kernels' websockets.
_AWAY = r"ERR_|WebSocket|Failed to fetch|NetworkError|Connection lost|50\d \("
_STREAM = "/gra/api/runners/watch"


def test_a_server_that_is_killed_and_started_again_is_waited_for_and_nothing_disappears(
    start_lab: Callable[..., Lab], browse: Browse
) -> None:
    # Else each server makes up a token of its own.
    lab = start_lab(environment=lambda env: env.update(JUPYTER_TOKEN="the-same"))
    name = lab.rest.ok("POST", "runners", {})["name"]
    page = browse(lab).open()
    page.watch.expect(_AWAY)
    page.open_panel()
    expect(page.state(name)).to_have_text("Idle")

    lab.server.kill()
    expect(page.panel).to_contain_text("The Jupyter server does not answer.")
    expect(page.panel).to_contain_text("Runners go on.")
    expect(page.row(name)).to_be_visible()
    expect(page.grid).to_have_class(re.compile("gra-mod-old"))

    with lab.started_again() as again:
        expect(page.panel).not_to_contain_text("does not answer")
        expect(page.state(name)).to_have_text("Idle")
        other = again.rest.ok("POST", "runners", {"kernel": False})["name"]
        expect(page.row(other)).to_be_visible()


@pytest.fixture
def network(cluster: Cluster, namespace: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cutter]:
    """Between a Jupyter server that is started now and the API server."""
    folder = Path(tempfile.mkdtemp(prefix="gra-"))
    try:
        runners = PodRunners(Places(folder), cluster, namespace)
        with runners.bad_network(monkeypatch) as (network,):
            yield network
    finally:
        shutil.rmtree(folder)


@contextmanager
def _away(network: Cutter) -> Iterator[None]:
    """The API server cannot be reached in the block."""
    network.refuse()
    try:
        yield
    finally:
        network.heal()


@pytest.mark.pods_only("what local runners do is known without a network")
def test_while_the_cluster_is_away_its_runners_stay_and_are_marked_as_old(
    network: Cutter, start_lab: Callable[..., Lab], browse: Browse
) -> None:
    behind = os.environ["GRA_KUBECONFIG"]
    lab = start_lab(environment=lambda env: env.update(GRA_KUBECONFIG=behind))
    page = browse(lab).open()
    page.watch.expect("503 .*gra/api")
    page.open_panel()
    name = lab.rest.ok("POST", "runners", {})["name"]
    expect(page.state(name)).to_have_text("Idle")

    with _away(network):
        expect(page.panel).to_contain_text(re.compile(r"What is shown is \d+ (s|min) old: "))
        expect(page.state(name)).to_have_text("Idle")
        expect(page.grid).to_have_class(re.compile("gra-mod-old"))

    expect(page.panel).not_to_contain_text("What is shown is")
    expect(page.state(name)).to_have_text("Idle")
    expect(page.grid).not_to_have_class(re.compile("gra-mod-old"))


# The browser itself never hides a page of a test.
_HIDE = """
hidden => {
    const state = hidden ? 'hidden' : 'visible';
    Object.defineProperty(document, 'visibilityState', { configurable: true, get: () => state });
    Object.defineProperty(document, 'hidden', { configurable: true, get: () => hidden });
    document.dispatchEvent(new Event('visibilitychange'));
}
"""


@pytest.mark.same_with_pods("no backend has a part in it")
def test_a_page_that_is_hidden_for_long_ends_its_stream_until_it_is_seen(
    page: LabPage, lab: Lab
) -> None:
    begun: list[str] = []
    ended: list[str] = []

    def note(kind: list[str], request: Request) -> None:
        if _STREAM in request.url:
            kind.append(request.url)

    page.page.on("request", partial(note, begun))
    page.page.on("requestfailed", partial(note, ended))
    page.page.clock.install()
    page.open().open_panel()
    expect(page.panel).to_contain_text("No runners.")
    assert (len(begun), len(ended)) == (1, 0)

    page.page.evaluate(_HIDE, True)
    page.page.clock.fast_forward("00:30")
    # Whoever looks elsewhere for less than a minute finds all as it was.
    page.page.evaluate(_HIDE, False)
    page.page.evaluate(_HIDE, True)
    assert (len(begun), len(ended)) == (1, 0)
    page.page.clock.fast_forward("01:10")
    # Playwright tells of it only while it is asked for something.
    until(lambda: page.page.evaluate("() => true") and ended, "the stream to be ended")
    name = lab.rest.ok("POST", "runners", {"kernel": False})["name"]

    page.page.evaluate(_HIDE, False)
    expect(page.row(name)).to_be_visible()
    assert len(begun) == 2
