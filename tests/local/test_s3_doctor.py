"""``gra doctor --profile`` on a real S3 server: credentials, and whether it answers."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.cli import gra
from tests.support.places import Places
from tests.support.s3 import S3Server

pytestmark = [
    pytest.mark.gra_only,
    pytest.mark.local_only("what pods may do is tested on the cluster"),
]


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A server with the bucket ``lake``."""
    with S3Server(tmp_path_factory.mktemp("s3")) as server:
        server.make_bucket("lake")
        yield server


def _profile(places: Places, **bucket: Any) -> None:
    """A profile ``lake`` with one bucket."""
    fields = {"via": "fsspec", "bucket": "lake", **bucket}
    places.write_profiles(
        "[[profiles.lake.s3]]\n"
        + "".join(
            f"{name} = {value if name == 'credentials' else json.dumps(value)}\n"
            for name, value in fields.items()
        )
    )


def _findings(s3: S3Server | None, *, exit_code: int) -> dict[str, dict[str, str]]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    if s3 is not None:
        env["AWS_ACCESS_KEY_ID"] = s3.root.access_key
        env["AWS_SECRET_ACCESS_KEY"] = s3.root.secret_key
    result = gra("doctor", "--profile", "lake", "--json", env=env)
    assert result.returncode == exit_code, result.stderr
    if s3 is not None:
        assert s3.root.secret_key not in result.stdout + result.stderr
    found = json.loads(result.stdout)["findings"]
    return {finding["name"]: finding for finding in found if finding["name"].startswith("s3[")}


def _ways() -> int:
    """Whether the kernel's Python of these tests has fsspec, which is not what they are about."""
    result = gra("doctor", "--profile", "lake", "--json")
    found = json.loads(result.stdout)["findings"]
    (way,) = (finding for finding in found if finding["name"] == "s3-fsspec")
    return 0 if way["status"] == "ok" else 1


def test_a_bucket_that_answers_is_well(places: Places, s3: S3Server) -> None:
    _profile(places, endpoint=s3.endpoint)

    found = _findings(s3, exit_code=_ways())

    assert list(found) == ["s3[0].credentials", "s3[0].server"]
    assert {finding["status"] for finding in found.values()} == {"ok"}


def test_without_credentials_it_is_said_where_they_were_looked_for(
    places: Places, s3: S3Server
) -> None:
    _profile(places, endpoint=s3.endpoint)

    found = _findings(None, exit_code=1)

    assert list(found) == ["s3[0].credentials"]
    assert found["s3[0].credentials"]["reason"] == "S3CredentialsMissing"
    assert "AWS_ACCESS_KEY_ID" in found["s3[0].credentials"]["message"]


@pytest.mark.parametrize(
    ("bucket", "reason"),
    [
        ({"bucket": "swamp"}, "S3BucketMissing"),
        ({"region": "eu-central-1"}, "S3WrongRegion"),
        ({"endpoint": "http://127.0.0.1:1"}, "S3EndpointUnreachable"),
        ({"credentials": "{anonymous = true}"}, "S3AccessDenied"),
    ],
)
def test_what_is_wrong_with_a_bucket_has_its_reason_and_hint(
    places: Places, s3: S3Server, bucket: dict[str, str], reason: str
) -> None:
    _profile(places, **{"endpoint": s3.endpoint, **bucket})

    server = _findings(s3, exit_code=1)["s3[0].server"]

    assert (server["status"], server["reason"]) == ("failure", reason)
    assert server["hint"]


def test_a_secret_is_nothing_for_local_runners(places: Places, s3: S3Server) -> None:
    _profile(places, endpoint=s3.endpoint, credentials='{secret = "lake-key"}')

    found = _findings(s3, exit_code=1)

    assert found["s3[0].credentials"]["status"] == "failure"
    assert "lake-key" in found["s3[0].credentials"]["message"]
    # It answers, if only to refuse who has no key.
    assert found["s3[0].server"]["status"] == "ok"
