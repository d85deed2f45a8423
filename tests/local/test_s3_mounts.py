"""A local runner's S3 mounts: real s3fs and FUSE, a real server."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gra_provisioner.errors import GraError
from gra_provisioner.tunnel.client import Tunnel
from tests.support.agents import connected_tunnel, running_agent
from tests.support.places import Places
from tests.support.processes import until_ended
from tests.support.s3 import S3Server
from tests.support.s3_mounts import document, key_of, mounts_below, s3fs_of
from tests.support.waiting import WaitTimeout, until_async

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


async def _start(tunnel: Tunnel, mount: dict[str, Any], server: S3Server) -> None:
    args = {"mounts": [mount], "credentials": key_of(server)}
    answer = await tunnel.request("mounts.start", args, timeout=30)
    assert [mount["state"] for mount in answer["mounts"]] == ["mounted"]


@pytest.fixture
async def tunnel(places: Places) -> AsyncIterator[Tunnel]:
    """To a runner's agent; when it is gone, so are its mounts."""
    async with (
        running_agent(places) as (backend, runner),
        connected_tunnel(backend, runner) as tunnel,
    ):
        yield tunnel
    assert mounts_below(places.root) == []


async def test_files_are_written_appended_renamed_listed_and_deleted(
    tunnel: Tunnel, s3_server: S3Server, bucket: str, point: Path
) -> None:
    await _start(tunnel, document(s3_server, bucket, point), s3_server)
    name = "Übersicht 2026 ⛰ a+b&c=d%20.csv"
    (point / name).write_text("a,b\n")
    with (point / name).open("a") as file:
        file.write("1,2\n")
    (point / "folder").mkdir()
    (point / name).rename(point / "folder" / name)
    (point / "gone").write_text("x")
    (point / "gone").unlink()

    assert [path.name for path in (point / "folder").iterdir()] == [name]
    assert s3_server.get(bucket, f"folder/{name}") == b"a,b\n1,2\n"
    assert sorted(s3_server.keys(bucket)) == ["folder/", f"folder/{name}"]


async def test_a_read_only_mount_refuses_every_change(
    tunnel: Tunnel, s3_server: S3Server, bucket: str, point: Path
) -> None:
    s3_server.put(bucket, "a", b"kept")
    await _start(tunnel, document(s3_server, bucket, point, read_only=True), s3_server)

    for change in (
        lambda: (point / "a").write_text("changed"),
        lambda: (point / "b").write_text("new"),
        (point / "a").unlink,
        lambda: (point / "a").rename(point / "b"),
        (point / "folder").mkdir,
    ):
        with pytest.raises(OSError, match="Read-only"):
            change()
    assert s3_server.keys(bucket) == ["a"]
    assert s3_server.get(bucket, "a") == b"kept"


async def test_nothing_leads_out_of_the_prefix(
    tunnel: Tunnel, s3_server: S3Server, bucket: str, point: Path
) -> None:
    s3_server.put(bucket, "secret", b"of others")
    s3_server.put(bucket, "team/ab", b"of others")
    s3_server.put(bucket, "team/a/mine", b"mine")
    await _start(tunnel, document(s3_server, bucket, point, prefix="team/a"), s3_server)
    (point / "link").symlink_to("../../secret")

    assert sorted(path.name for path in point.iterdir()) == ["link", "mine"]
    # As the system understands it: the folder that the mount is in.
    assert (point / "..").resolve() == point.parent.resolve()
    for way in ("../secret", "../../secret", "link", "../ab"):
        with pytest.raises(OSError):
            (point / way).read_bytes()
    (point / "new").write_text("x")
    assert "team/a/new" in s3_server.keys(bucket)


async def test_a_prefix_under_which_nothing_is_yet_can_be_written_to(
    tunnel: Tunnel, s3_server: S3Server, bucket: str, point: Path
) -> None:
    await _start(tunnel, document(s3_server, bucket, point, prefix="new/team"), s3_server)
    (point / "a").write_text("x")

    assert s3_server.get(bucket, "new/team/a") == b"x"


async def test_two_runners_see_each_others_closed_files(
    tunnel: Tunnel, places: Places, s3_server: S3Server, bucket: str, point: Path
) -> None:
    other = places.work / "other"
    await _start(tunnel, document(s3_server, bucket, point), s3_server)
    async with (
        running_agent(places) as (backend, runner),
        connected_tunnel(backend, runner) as second,
    ):
        await _start(second, document(s3_server, bucket, other), s3_server)
        (point / "a").write_text("from the first")
        assert (other / "a").read_text() == "from the first"
        (other / "b").write_text("from the second")
        assert (point / "b").read_text() == "from the second"


# In a process of its own, as a kernel is: one that starts others with files open here would have
# each of them flush these as it closes its copy.
_COPIES = """
import sys
from pathlib import Path
old, new = (Path(sys.argv[1], name).open(mode) for name, mode in (("old", "rb"), ("new", "wb")))
with old, new:
    new.write(old.read(1 << 20))
    new.flush()
    print("begun", flush=True)
    sys.stdin.readline()
    print("going on", flush=True)
    new.write(old.read())
print("closed", flush=True)
"""


async def test_an_outage_in_the_middle_of_a_read_and_a_write_is_survived(
    tunnel: Tunnel, s3_folder: Path, point: Path
) -> None:
    content = os.urandom(30 << 20)
    with S3Server(s3_folder / "server") as server:
        server.make_bucket("lake")
        server.put("lake", "old", content)
        await _start(tunnel, document(server, "lake", point), server)
        copying = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", _COPIES, str(point)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert copying.stdin is not None
        assert copying.stdout is not None
        assert await copying.stdout.readline() == b"begun\n"
        server.stop()
        copying.stdin.write(b"\n")
        assert await copying.stdout.readline() == b"going on\n"
        status = await _until_state(tunnel, "failing")
        assert status["reason"] == "S3EndpointUnreachable"
        server.start()
        assert await asyncio.wait_for(copying.stdout.readline(), 60) == b"closed\n"
        assert await copying.wait() == 0

        await _until_state(tunnel, "mounted")
        assert server.get("lake", "new") == content


async def test_a_revoked_key_is_said_and_a_new_one_of_the_user_is_taken(
    tunnel: Tunnel, s3_folder: Path, point: Path
) -> None:
    with S3Server(s3_folder / "server") as server:
        server.make_bucket("lake")
        key = server.add_user("me", "admin")
        mount = document(server, "lake", point)
        await tunnel.request(
            "mounts.start", {"mounts": [mount], "credentials": key_of(server, key)}, timeout=30
        )
        changed = server.change_secret("me")
        status = await _until_state(tunnel, "failing")
        assert status["reason"] == "S3SecretKeyWrong"

        answer = await tunnel.request(
            "mounts.start", {"mounts": [mount], "credentials": key_of(server, changed)}, timeout=30
        )
        assert answer["mounts"][0]["state"] == "mounted"
        (point / "a").write_text("x")
        assert server.get("lake", "a") == b"x"


async def test_a_killed_s3fs_fails_what_was_under_way_and_the_mount_is_back(
    tunnel: Tunnel, places: Places, s3_server: S3Server, bucket: str, point: Path
) -> None:
    s3_server.put(bucket, "kept", b"before")
    await _start(tunnel, document(s3_server, bucket, point), s3_server)
    (s3fs,) = s3fs_of(places.root)
    file = os.open(point / "kept", os.O_WRONLY)
    os.write(file, b"after ")
    s3fs.kill()
    # Who closes a file hears that it is not in the bucket.
    with pytest.raises(OSError):
        os.close(file)
    await until_async(lambda: _is_listed(point, "kept"), "the mount to be back")

    assert s3_server.get(bucket, "kept") == b"before"
    (point / "new").write_text("x")
    assert s3_server.get(bucket, "new") == b"x"


async def test_a_killed_agent_leaves_no_mount(
    places: Places, s3_server: S3Server, bucket: str, point: Path
) -> None:
    async with running_agent(places) as (backend, runner):
        async with connected_tunnel(backend, runner) as tunnel:
            await _start(tunnel, document(s3_server, bucket, point), s3_server)
            os.kill((await tunnel.request("info"))["pid"], signal.SIGKILL)
        await until_async(lambda: not mounts_below(places.root), "the mount to be gone")
        await until_async(lambda: not s3fs_of(places.root), "s3fs to be gone")
        await until_async(lambda: not point.exists(), "the folder to be removed")


async def test_a_killed_mounter_is_started_again(
    tunnel: Tunnel, places: Places, s3_server: S3Server, bucket: str, point: Path
) -> None:
    await _start(tunnel, document(s3_server, bucket, point), s3_server)
    (s3fs,) = s3fs_of(places.root)
    mounter = s3fs.parent()
    assert mounter is not None
    mounter.kill()
    until_ended(mounter.pid, "the mounter")
    await until_async(
        lambda: any(found.pid != s3fs.pid for found in s3fs_of(places.root)), "another s3fs"
    )
    # Nothing keeps root from writing into the bare folder.
    await until_async(point.is_mount, "the mount to be back")
    await until_async(lambda: _writes(point / "a"), "the mount to answer")

    assert s3_server.get(bucket, "a") == b"x"


async def test_mounts_that_are_there_are_left_alone_when_they_are_asked_for_again(
    tunnel: Tunnel, places: Places, s3_server: S3Server, bucket: str, point: Path
) -> None:
    mount = document(s3_server, bucket, point)
    await _start(tunnel, mount, s3_server)
    before = [process.pid for process in s3fs_of(places.root)]
    await _start(tunnel, mount, s3_server)
    await tunnel.request("mounts.start", {}, timeout=30)

    assert [process.pid for process in s3fs_of(places.root)] == before
    with pytest.raises(GraError) as raised:
        await _start(tunnel, {**mount, "bucket": "another"}, s3_server)
    assert raised.value.code == "BadRequest"
    assert (await tunnel.request("info"))["mounts"][0]["state"] == "mounted"


async def _until_state(tunnel: Tunnel, state: str) -> dict[str, Any]:
    deadline = asyncio.get_running_loop().time() + 40
    while asyncio.get_running_loop().time() < deadline:
        (status,) = (await tunnel.request("info"))["mounts"]
        if status["state"] == state:
            return dict(status)
        await asyncio.sleep(0.1)
    raise WaitTimeout(f"the mount to be {state}", 40)


def _is_listed(folder: Path, name: str) -> bool:
    try:
        return name in [path.name for path in folder.iterdir()]
    except OSError:
        return False


def _writes(path: Path) -> bool:
    try:
        path.write_text("x")
    except OSError:
        return False
    return path.parent.is_mount()
