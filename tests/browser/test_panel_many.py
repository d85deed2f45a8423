"""The panel with many runners: those in sight are in the page, and one stream tells of them."""

from __future__ import annotations

import pytest
from playwright.sync_api import Request, expect

from tests.support.cluster import Cluster
from tests.support.fake_pods import fake_runners
from tests.support.lab_page import LabPage

pytestmark = pytest.mark.pods_only("pods that no node runs can be as many as one likes")

_COUNT = 400
# A screen has some twenty.
_DRAWN = 60


def test_of_hundreds_of_runners_only_those_in_sight_are_drawn_and_asked(
    cluster: Cluster, namespace: str, page: LabPage
) -> None:
    with fake_runners(cluster.kubeconfig, namespace, _COUNT):
        streams: list[Request] = []
        page.page.on(
            "request",
            lambda request: streams.append(request) if "/runners/watch" in request.url else None,
        )
        page.open().open_panel()
        expect(page.panel.locator(".gra-Group-count")).to_have_text(str(_COUNT))
        expect(page.grid).to_have_attribute("aria-rowcount", str(_COUNT + 1))
        expect(page.row("runner-1")).to_be_visible()
        assert page.page.locator(".gra-Row").count() < _DRAWN

        with page.page.expect_request(lambda request: "inspect=true" in request.url) as asked:
            page.grid.focus()
            page.press("End")
            expect(page.row(f"runner-{_COUNT}")).to_be_visible()
        assert asked.value.url.count("name=") < _DRAWN
        expect(page.row("runner-1")).to_have_count(0)
        assert page.page.locator(".gra-Row").count() < _DRAWN

        page.panel.get_by_role("searchbox").fill("work/77.ipynb")
        expect(page.rows).to_have_count(1)
        expect(page.row("runner-77")).to_be_visible()
        assert len(streams) == 1
    expect(page.panel).to_contain_text("No runners.")
