"""A pod's S3 sidecar: mounts come into the container of the kernel, and nowhere else."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gra_provisioner.errors import GraError
from gra_provisioner.tunnel.client import Tunnel
from tests.support.s3 import S3Server
from tests.support.s3_mounts import document, key_of, mounts_below
from tests.support.s3_sidecar import USER, Pod
from tests.support.waiting import until, until_async

pytestmark = [
    pytest.mark.gra_only,
    pytest.mark.local_only("plays a pod on this host"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to make mount namespaces"),
]

MakePod = Callable[..., Pod]


@pytest.fixture
def make_pod(s3_folder: Path) -> Iterator[MakePod]:
    """Makes a pod with one mount, at ``/…/lake``, and starts both of its containers."""
    made: list[Pod] = []

    def make(server: S3Server, bucket: str, **changes: Any) -> Pod:
        point = s3_folder / "pod" / "lake"
        point.parent.mkdir()
        mount = document(server, bucket, point, uid=USER, gid=USER, **changes)
        pod = Pod(s3_folder / "pod", [mount])
        made.append(pod)
        pod.start_sidecar()
        pod.start_container()
        return pod

    yield make
    for pod in made:
        pod.close()
    assert mounts_below(s3_folder) == []


async def _start(tunnel: Tunnel, credentials: dict[str, Any]) -> list[dict[str, Any]]:
    answer = await tunnel.request("mounts.start", {"credentials": credentials}, timeout=60)
    return list(answer["mounts"])


async def test_a_bucket_is_in_the_containers_mount_table_and_not_in_the_hosts(
    make_pod: MakePod, s3_server: S3Server, bucket: str
) -> None:
    s3_server.put(bucket, "a.txt", b"hello")
    pod = make_pod(s3_server, bucket)
    lake = pod.folder / "lake"
    async with pod.tunnel() as tunnel:
        mounts = await _start(tunnel, key_of(s3_server))

        assert [mount["state"] for mount in mounts] == ["mounted"]
        assert pod.run(f"cat {lake}/a.txt && echo 1 > '{lake}/ü b'").stdout == "hello"
        assert s3_server.get(bucket, "ü b") == b"1\n"
        assert mounts_below(pod.folder) == []
        assert not list(lake.iterdir())


async def test_nothing_can_be_written_where_the_bucket_is_not_mounted_yet(
    make_pod: MakePod, s3_server: S3Server, bucket: str
) -> None:
    pod = make_pod(s3_server, bucket)
    written = pod.run(f"echo lost > {pod.folder}/lake/a")

    assert written.returncode != 0
    assert "Read-only" in written.stderr
    async with pod.tunnel() as tunnel:
        await until_async(pod.socket.exists, "the sidecar")
        with pytest.raises(GraError) as raised:
            await _start(tunnel, {})
    assert raised.value.code == "S3CredentialsMissing"


async def test_a_killed_sidecar_is_given_everything_again_and_mounts_again(
    make_pod: MakePod, s3_server: S3Server, bucket: str
) -> None:
    events: list[dict[str, Any]] = []
    pod = make_pod(s3_server, bucket)
    lake = pod.folder / "lake"
    async with pod.tunnel(lambda name, data: events.append(data)) as tunnel:
        await _start(tunnel, key_of(s3_server))
        pod.kill_sidecar()
        # What is left is a mount that nobody serves, never the folder below it.
        written = pod.run(f"echo lost > {lake}/a")
        assert written.returncode != 0
        await until_async(
            lambda: any(_reason(event) == "S3SidecarGone" for event in events), "the event"
        )
        pod.start_sidecar()
        await until_async(lambda: _state(events[-1]) == "mounted", "the mount to be back")

        assert pod.run(f"echo kept > {lake}/a").returncode == 0
        assert s3_server.get(bucket, "a") == b"kept\n"


def _state(event: dict[str, Any]) -> str:
    return str(event["mounts"][0]["state"]) if event.get("mounts") else ""


def _reason(event: dict[str, Any]) -> str:
    return str(event["mounts"][0]["reason"]) if event.get("mounts") else ""


async def test_a_killed_s3fs_is_back_and_what_was_written_meanwhile_failed(
    make_pod: MakePod, s3_server: S3Server, bucket: str
) -> None:
    pod = make_pod(s3_server, bucket)
    lake = pod.folder / "lake"
    async with pod.tunnel() as tunnel:
        await _start(tunnel, key_of(s3_server))
        (before,) = pod.s3fs()
        before.kill()
        # Each attempt either fails or is in the bucket.
        loop = (
            f"n=0; while ! echo $n > {lake}/n; do n=$((n+1)); sleep 0.05; "
            "[ $n -lt 400 ] || exit 1; done; echo $n"
        )
        done = pod.run(loop)
        assert done.returncode == 0
        assert s3_server.get(bucket, "n").decode() == done.stdout
        assert before.pid not in [process.pid for process in pod.s3fs()]


async def test_s3fs_that_hangs_is_killed_and_the_kernel_gets_errors_instead_of_waiting_for_ever(
    make_pod: MakePod, s3_server: S3Server, bucket: str
) -> None:
    events: list[dict[str, Any]] = []
    pod = make_pod(s3_server, bucket)
    pod.kill_sidecar()
    pod.start_sidecar("--patience", "2")
    async with pod.tunnel(lambda name, data: events.append(data)) as tunnel:
        await _start(tunnel, key_of(s3_server))
        (s3fs,) = pod.s3fs()
        s3fs.suspend()
        await until_async(lambda: _reason(events[-1]) == "S3Stuck", "the event")
        await until_async(lambda: _state(events[-1]) == "mounted", "the mount to be back")

        assert not s3fs.is_running()
        assert pod.run(f"ls {pod.folder}/lake").returncode == 0


async def test_a_secrets_key_is_used_at_once_and_read_again_when_it_is_refused(
    make_pod: MakePod, s3_folder: Path
) -> None:
    with S3Server(s3_folder / "server") as server:
        server.make_bucket("lake")
        key = server.add_user("reader", "admin")
        pod = make_pod(server, "lake", credentials="secret")
        _write_secret(pod, key)
        async with pod.tunnel() as tunnel:
            await until_async(
                lambda: pod.agent_log.exists() and "is mounted" in pod.agent_log.read_text(),
                "the mount",
            )
            assert (await _start(tunnel, {}))[0]["state"] == "mounted"
            changed = server.change_secret("reader")
            _write_secret(pod, changed)
            until(lambda: "S3SecretKeyWrong" in pod.agent_log.read_text(), "the refusal")
            until(lambda: pod.agent_log.read_text().count("is mounted") == 2, "the new key")
            assert pod.run(f"echo 1 > {pod.folder}/lake/a").returncode == 0
            assert server.get("lake", "a") == b"1\n"


def _write_secret(pod: Pod, key: Any) -> None:
    folder = pod.secrets / "0"
    folder.mkdir(exist_ok=True)
    for name, value in key._asdict().items():
        (folder / name).write_text(value)
        (folder / name).chmod(0o400)


async def test_a_write_that_was_closed_before_the_end_is_in_the_bucket(
    make_pod: MakePod, s3_server: S3Server, bucket: str
) -> None:
    pod = make_pod(s3_server, bucket)
    lake = pod.folder / "lake"
    async with pod.tunnel() as tunnel:
        await _start(tunnel, key_of(s3_server))
        assert pod.run(f"head -c 30000000 /dev/zero > {lake}/big").returncode == 0
    pod.close()
    assert len(s3_server.get(bucket, "big")) == 30_000_000


async def test_no_credential_is_where_others_look(
    make_pod: MakePod, s3_server: S3Server, bucket: str
) -> None:
    pod = make_pod(s3_server, bucket)
    async with pod.tunnel() as tunnel:
        await _start(tunnel, key_of(s3_server))
        answer = str(await tunnel.request("info"))
        lines = [
            path.read_bytes().decode(errors="replace")
            for path in Path("/proc").glob("[0-9]*/cmdline")
            if path.exists()
        ]
        logs = pod.log.read_text() + pod.agent_log.read_text()
        for text in (answer, *lines, logs):
            assert s3_server.root.secret_key not in text
            assert s3_server.root.access_key not in text
