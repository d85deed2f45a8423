"""A mount that cannot be made says why at once, with what to do, instead of a folder that hangs."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gra_provisioner.agent.s3.mount import Mount
from gra_provisioner.agent.s3.probe import probe
from gra_provisioner.agent.s3.signing import Credentials
from gra_provisioner.errors import GraError
from gra_provisioner.tunnel.client import Tunnel
from tests.support.agents import connected_tunnel, running_agent
from tests.support.places import Places
from tests.support.s3 import S3Server, policy
from tests.support.s3_mounts import document, key_of
from tests.support.scripted_http import answering

pytestmark = [
    pytest.mark.gra_only,
    pytest.mark.local_only("what is wrong is told by the same code for pods"),
]

# What a user waits at the most, and a little for a busy machine.
_BOUND = 8.0


@pytest.fixture
async def tunnel(places: Places) -> AsyncIterator[Tunnel]:
    """To a runner's agent."""
    async with (
        running_agent(places) as (backend, runner),
        connected_tunnel(backend, runner) as tunnel,
    ):
        yield tunnel


@pytest.fixture
def point(places: Places) -> Path:
    return places.work / "lake"


async def _refused(
    tunnel: Tunnel, mount: dict[str, Any], credentials: dict[str, Any] | None
) -> GraError:
    """How the mount fails; its state and the runner's folders say so too."""
    args = {"mounts": [mount], "credentials": credentials or {}}
    with pytest.raises(GraError) as raised:
        await tunnel.request("mounts.start", args, timeout=_BOUND)
    (status,) = (await tunnel.request("info"))["mounts"]
    assert status["state"] in ("failed", "waiting", "starting")
    assert raised.value.hint
    return raised.value


async def test_no_credentials(
    tunnel: Tunnel, s3_server: S3Server, bucket: str, point: Path
) -> None:
    error = await _refused(tunnel, document(s3_server, bucket, point), None)
    assert error.code == "S3CredentialsMissing"


async def test_an_unknown_access_key(
    tunnel: Tunnel, s3_server: S3Server, bucket: str, point: Path
) -> None:
    key = Credentials("nobodyskey", s3_server.root.secret_key)
    error = await _refused(tunnel, document(s3_server, bucket, point), key_of(s3_server, key))
    assert error.code == "S3AccessKeyUnknown"


async def test_a_wrong_secret_key_and_then_the_right_one(
    tunnel: Tunnel, s3_server: S3Server, bucket: str, point: Path
) -> None:
    key = Credentials(s3_server.root.access_key, "not-the-secret-key")
    mount = document(s3_server, bucket, point)
    error = await _refused(tunnel, mount, key_of(s3_server, key))

    assert error.code == "S3SecretKeyWrong"
    assert "not-the-secret-key" not in str(error.to_dict())
    answer = await tunnel.request(
        "mounts.start", {"mounts": [mount], "credentials": key_of(s3_server)}, timeout=_BOUND
    )
    assert answer["mounts"][0]["state"] == "mounted"


async def test_a_key_that_may_not_use_the_bucket(
    tunnel: Tunnel, s3_server: S3Server, bucket: str, point: Path
) -> None:
    key = s3_server.add_user(f"user-{bucket}")
    error = await _refused(tunnel, document(s3_server, bucket, point), key_of(s3_server, key))
    assert error.code == "S3AccessDenied"


async def test_a_missing_bucket(tunnel: Tunnel, s3_server: S3Server, point: Path) -> None:
    mount = document(s3_server, "no-such-bucket", point)
    error = await _refused(tunnel, mount, key_of(s3_server))

    assert error.code == "S3BucketMissing"
    assert "no-such-bucket" in error.message


async def test_a_wrong_region(
    tunnel: Tunnel, s3_server: S3Server, bucket: str, point: Path
) -> None:
    mount = document(s3_server, bucket, point, region="eu-west-1")
    error = await _refused(tunnel, mount, key_of(s3_server))
    assert error.code == "S3WrongRegion"


def test_a_clock_that_is_an_hour_off(s3_server: S3Server, bucket: str) -> None:
    mount = Mount.parse(document(s3_server, bucket, "/data/lake"))
    error = probe(mount, s3_server.root, lambda: time.time() - 3600)

    assert error is not None
    assert error.reason == "S3ClockSkew"
    assert "behind" in error.message


async def test_nobody_listens(
    tunnel: Tunnel, s3_server: S3Server, bucket: str, point: Path
) -> None:
    mount = document(s3_server, bucket, point, endpoint="http://127.0.0.1:1")
    error = await _refused(tunnel, mount, key_of(s3_server))
    assert error.code == "S3EndpointUnreachable"


async def test_a_name_that_does_not_exist(
    tunnel: Tunnel, s3_server: S3Server, bucket: str, point: Path
) -> None:
    mount = document(s3_server, bucket, point, endpoint="http://no-such-host.invalid")
    error = await _refused(tunnel, mount, key_of(s3_server))
    assert error.code == "S3EndpointUnreachable"


async def test_a_server_that_takes_connections_and_never_answers(
    tunnel: Tunnel, s3_folder: Path, point: Path
) -> None:
    with S3Server(s3_folder / "server") as server:
        server.make_bucket("lake")
        server.pause()
        error = await _refused(tunnel, document(server, "lake", point), key_of(server))

    assert error.code == "S3EndpointUnreachable"
    assert "waiting for the answer" in error.message


async def test_a_certificate_that_nobody_vouches_for_and_then_its_bundle(
    tunnel: Tunnel, s3_folder: Path, point: Path
) -> None:
    with S3Server(s3_folder / "server", tls=True) as server:
        server.make_bucket("lake")
        error = await _refused(tunnel, document(server, "lake", point), key_of(server))
        assert error.code == "S3TlsRefused"


async def test_a_bucket_behind_tls_with_a_certificate_authority_of_its_own(
    tunnel: Tunnel, s3_folder: Path, point: Path
) -> None:
    with S3Server(s3_folder / "server", tls=True) as server:
        server.make_bucket("lake")
        mount = document(server, "lake", point, ca=str(server.ca))
        args = {"mounts": [mount], "credentials": key_of(server)}
        await tunnel.request("mounts.start", args, timeout=_BOUND)
        (point / "a").write_text("1")

        assert server.get("lake", "a") == b"1"
        await tunnel.request("shutdown", {"grace": 0})


async def test_https_where_the_server_speaks_http(
    tunnel: Tunnel, s3_server: S3Server, bucket: str, point: Path
) -> None:
    endpoint = s3_server.endpoint.replace("http://", "https://")
    mount = document(s3_server, bucket, point, endpoint=endpoint)
    error = await _refused(tunnel, mount, key_of(s3_server))
    assert error.code == "S3TlsRefused"


async def test_a_web_site(tunnel: Tunnel, s3_server: S3Server, point: Path) -> None:
    with answering(200, b"<html>hello</html>", "text/html") as url:
        mount = document(s3_server, "lake", point, endpoint=url)
        error = await _refused(tunnel, mount, key_of(s3_server))
    assert error.code == "S3NotS3"


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [(400, "ExpiredToken", "S3TokenExpired"), (503, "SlowDown", "S3ServerTrouble")],
)
async def test_what_no_server_here_can_be_made_to_say(
    tunnel: Tunnel, s3_server: S3Server, point: Path, status: int, code: str, reason: str
) -> None:
    body = f"<Error><Code>{code}</Code><Message>m</Message></Error>".encode()
    with answering(status, body) as url:
        mount = document(s3_server, "lake", point, endpoint=url)
        error = await _refused(tunnel, mount, key_of(s3_server))
    assert error.code == reason


async def test_a_folder_with_something_in_it(
    tunnel: Tunnel, s3_server: S3Server, bucket: str, point: Path
) -> None:
    point.mkdir()
    (point / "mine").write_text("kept")
    error = await _refused(tunnel, document(s3_server, bucket, point), key_of(s3_server))

    assert error.code == "S3MountPointUnusable"
    assert (point / "mine").read_text() == "kept"


async def test_the_runners_own_folder(
    tunnel: Tunnel, places: Places, s3_server: S3Server, bucket: str
) -> None:
    (runner,) = places.runners.iterdir()
    mount = document(s3_server, bucket, runner / "lake")
    error = await _refused(tunnel, mount, key_of(s3_server))
    assert error.code == "S3MountPointUnusable"


async def test_what_s3fs_says_of_an_option_that_it_does_not_have(
    tunnel: Tunnel, s3_server: S3Server, bucket: str, point: Path
) -> None:
    mount = document(s3_server, bucket, point, options={"no_such_option": "1"})
    error = await _refused(tunnel, mount, key_of(s3_server))

    assert error.code == "S3MountFailed"
    assert "no_such_option" in error.message


async def test_a_public_bucket_needs_no_key(
    tunnel: Tunnel, s3_server: S3Server, bucket: str, point: Path
) -> None:
    s3_server.put(bucket, "a", b"public")
    mount = document(s3_server, bucket, point, credentials="anonymous", read_only=True)
    error = await _refused(tunnel, mount, None)
    assert error.code == "S3AccessDenied"

    allowed = policy("*", bucket, "s3:ListBucket", "s3:GetObject")
    s3_server.request("PUT", f"/{bucket}", {"policy": ""}, allowed)
    answer = await tunnel.request("mounts.start", {"mounts": [mount]}, timeout=_BOUND)
    assert answer["mounts"][0]["state"] == "mounted"
    assert (point / "a").read_bytes() == b"public"


def test_the_probe_leaves_nothing_open(s3_server: S3Server, bucket: str) -> None:
    mount = Mount.parse(document(s3_server, bucket, "/data/lake"))
    before = len(list(Path("/proc/self/fd").iterdir()))

    assert probe(mount, s3_server.root) is None
    assert len(list(Path("/proc/self/fd").iterdir())) == before
