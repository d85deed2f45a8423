"""The panel with many runners: those in sight are in the page, and one stream tells of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from playwright.sync_api import Request, expect

from tests.support.cluster import Cluster
from tests.support.fake_pods import api_client, make_fake_pods, remove_all_pods
from tests.support.lab_page import LabPage

pytestmark = pytest.mark.pods_only("pods that no node runs can be as many as one likes")

_COUNT = 400
# A screen has some twenty.
_DRAWN = 60


@contextmanager
def _many(cluster: Cluster, namespace: str) -> Iterator[None]:
    async def make() -> None:
        async with api_client(cluster.kubeconfig, namespace) as client:
            await make_fake_pods(client, range(1, _COUNT + 1), "ada")

    async def remove() -> None:
        async with api_client(cluster.kubeconfig, namespace) as client:
            await remove_all_pods(client)

    # Playwright has a loop of its own in this thread.
    with ThreadPoolExecutor(1) as elsewhere:
        try:
            elsewhere.submit(asyncio.run, make()).result()
            yield
        finally:
            elsewhere.submit(asyncio.run, remove()).result()


def test_of_hundreds_of_runners_only_those_in_sight_are_drawn_and_asked(
    cluster: Cluster, namespace: str, page: LabPage
) -> None:
    with _many(cluster, namespace):
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
