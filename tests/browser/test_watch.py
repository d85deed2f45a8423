"""What a page must not do is noticed: the ground that the other tests in a browser stand on."""

from __future__ import annotations

import pytest

from tests.support.lab_page import LabPage
from tests.support.waiting import WaitTimeout

pytestmark = pytest.mark.same_with_pods("there are no runners")

_ELSEWHERE = "http://elsewhere.invalid/news"


def _until(page: LabPage, what: str, count: int) -> None:
    for _ in range(200):
        if len(page.watch.faults()) >= count:
            return
        # Playwright hears of events only while it waits for something.
        page.page.wait_for_timeout(50)
    raise WaitTimeout(what, 10)


def test_a_page_that_asks_another_host_is_refused_and_noticed(page: LabPage) -> None:
    page.open()
    page.watch.expect("Failed to load resource")

    answered = page.page.evaluate(f"fetch('{_ELSEWHERE}').then(() => true, () => false)")

    assert not answered
    _until(page, "the request", 1)
    assert page.watch.faults() == [f"asked for {_ELSEWHERE}"]
    page.watch.elsewhere.clear()


def test_errors_in_the_console_and_uncaught_ones_are_noticed(page: LabPage) -> None:
    page.open()

    page.page.evaluate("() => { console.error('one'); setTimeout(() => { throw Error('two'); }); }")

    _until(page, "both errors", 2)
    first, second = page.watch.faults()
    assert first.startswith("console: one")
    assert second.startswith("uncaught: Error: two")
    page.watch.expect("console: one", "uncaught: Error: two")
    assert page.watch.faults() == []
