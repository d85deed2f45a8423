"""Buckets of S3 in the panel: asked for in the dialog, mounted, gone and back again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from tests.support.browser import described, violations
from tests.support.lab import Lab
from tests.support.lab_page import LabPage
from tests.support.s3 import S3Server

# A mount is asked for its health every ten seconds; the page asks the runner every second.
_NOTICED = 60_000


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A server with the bucket ``lake``."""
    with S3Server(tmp_path_factory.mktemp("s3")) as server:
        server.make_bucket("lake")
        server.put("lake", "team/a/hello.txt", b"hello from the lake")
        yield server


@pytest.fixture(scope="module")
def lab_options(s3: S3Server) -> dict[str, Any]:
    """The Jupyter server's own credentials are those of the S3 server's root."""

    def environment(variables: dict[str, str]) -> None:
        variables["AWS_ACCESS_KEY_ID"] = s3.root.access_key
        variables["AWS_SECRET_ACCESS_KEY"] = s3.root.secret_key

    return {"environment": environment}


def _new_runner(page: LabPage) -> Locator:
    page.page.get_by_role("button", name="New runner…").first.click()
    # The dialog takes the focus once it is there, and keys that are pressed before with it.
    expect(page.dialog.get_by_label("Profile")).to_be_focused()
    return page.dialog


def _add_bucket(form: Locator, number: int = 1, **fields: str) -> Locator:
    """Add a bucket by the keyboard, and fill its fields in."""
    form.get_by_role("button", name="Add a bucket").press("Enter")
    bucket = form.get_by_role("group", name=f"Bucket {number}")
    for label, text in fields.items():
        bucket.get_by_label(label, exact=True).fill(text)
    return bucket


@pytest.mark.same_with_pods("the page does the same")
def test_what_is_wrong_with_a_bucket_is_said_at_its_field_and_nothing_typed_is_lost(
    panel_page: LabPage, lab: Lab
) -> None:
    page = panel_page
    page.watch.expect("422 .*gra/api/kernels")
    form = _new_runner(page)
    first = _add_bucket(form, Name="lake", Folder="/data/lake", Server="https://s3.example.com")
    second = _add_bucket(form, 2, Name="Lake House", Folder="/data/house")
    # On the server of the one before it.
    expect(second.get_by_label("Server", exact=True)).to_have_value("https://s3.example.com")

    form.get_by_role("button", name="Start").click()

    expect(form.get_by_role("alert")).to_contain_text("s3[1].bucket")
    name = second.get_by_label("Name", exact=True)
    expect(name).to_have_attribute("aria-invalid", "true")
    expect(name).to_be_focused()
    expect(name).to_have_value("Lake House")
    expect(first.get_by_label("Name", exact=True)).to_have_attribute("aria-invalid", "false")
    expect(first.get_by_label("Folder", exact=True)).to_have_value("/data/lake")
    found = violations(form)
    assert not found, described(found)

    form.get_by_role("button", name="Remove bucket 2").click()
    expect(form.get_by_role("group", name=re.compile(r"^Bucket \d"))).to_have_count(1)
    # Of a local runner there are neither Secrets nor volumes, and keys cannot be typed.
    options = first.get_by_label("Credentials").get_by_role("option")
    expect(options).to_have_count(3)
    first.get_by_label("Reached").select_option("fsspec")
    expect(first.get_by_label("Folder", exact=True)).to_have_count(0)
    assert lab.runners.uids() == {}


@pytest.mark.local_only("what pods mount is tested on the cluster")
def test_a_bucket_is_mounted_from_the_dialog_and_its_troubles_are_told(
    panel_page: LabPage, lab: Lab, s3: S3Server, tmp_path: Path
) -> None:
    page = panel_page
    folder = str(tmp_path / "lake")
    page.watch.expect("50. .*gra/api/kernels")
    form = _new_runner(page)
    bucket = _add_bucket(form, Name="swamp", Folder=folder, Server=s3.endpoint)
    form.get_by_role("button", name="Start").click()
    # The bucket's name is what is wrong with it.
    expect(form.get_by_role("alert")).to_contain_text("swamp")
    name = bucket.get_by_label("Name", exact=True)
    expect(name).to_have_attribute("aria-invalid", "true")
    # Said once more where it is seen.
    expect(bucket).to_contain_text("There is no bucket swamp")
    name.fill("lake")
    bucket.get_by_label("Only below").fill("team/a")
    form.get_by_role("button", name="Start").click()
    page.notebook.wait_for()
    assert page.run(f"print(open({folder!r} + '/hello.txt').read())") == "hello from the lake"

    runner = lab.runners.only()
    expect(page.row(runner).locator(".gra-Row-mounts")).to_contain_text(folder)
    expect(page.row(runner).locator(".gra-Row-problem")).to_have_count(0)

    s3.stop()
    problem = page.row(runner).locator(".gra-Row-problem")
    expect(problem).to_contain_text(f"{folder} does not work", timeout=_NOTICED)
    told = page.notifications.filter(has_text="does not work")
    expect(told).to_have_count(1)
    told.get_by_role("button", name="Show details").click()
    expect(page.dialog).to_contain_text("S3EndpointUnreachable")
    expect(page.dialog).to_contain_text("s3://lake/team/a")
    found = violations(page.dialog)
    assert not found, described(found)
    page.press("Escape")

    s3.start()
    expect(problem).to_have_count(0, timeout=_NOTICED)
    expect(page.notifications.filter(has_text="is back")).to_have_count(1)
    assert page.run(f"print(open({folder!r} + '/hello.txt').read())") == "hello from the lake"
