"""A local runner's S3 mounts: real s3fs and FUSE, a real server."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.agents import connected_tunnel, running_agent
from tests.support.places import Places
from tests.support.s3 import S3Server
from tests.support.s3_mounts import document, key_of

pytestmark = [
    pytest.mark.gra_only,
    pytest.mark.local_only("mounts on this host; pods have tests of their own"),
]


@pytest.fixture
def point(places: Places) -> Path:
    """Where to mount: a folder that does not exist yet."""
    return places.work / "data" / "lake"


async def test_a_bucket_is_a_folder_of_the_runner(
    places: Places, s3_server: S3Server, bucket: str, point: Path
) -> None:
    s3_server.put(bucket, "a.txt", b"hello")
    async with (
        running_agent(places) as (backend, runner),
        connected_tunnel(backend, runner) as tunnel,
    ):
        mounts = [document(s3_server, bucket, point)]
        answer = await tunnel.request(
            "mounts.start", {"mounts": mounts, "credentials": key_of(s3_server)}
        )
        assert [m["state"] for m in answer["mounts"]] == ["mounted"]
        assert (point / "a.txt").read_bytes() == b"hello"
        (point / "ü b.txt").write_text("written")
        assert s3_server.get(bucket, "ü b.txt") == b"written"
        assert (await tunnel.request("info"))["mounts"] == answer["mounts"]
    assert not point.exists()
