"""The S3 server that other tests use does what they take for granted."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.s3 import S3Error, S3Server

pytestmark = [
    pytest.mark.gra_only,
    pytest.mark.local_only("no runner is used"),
]


def test_objects_stay_when_it_is_killed_and_started_again(s3_folder: Path) -> None:
    with S3Server(s3_folder) as server:
        server.make_bucket("lake")
        server.put("lake", "team/ü b.txt", b"hello")
        before = server.endpoint
        server.stop()
        with pytest.raises(OSError):
            server.get("lake", "team/ü b.txt")
        server.start()

        assert server.endpoint == before
        assert server.get("lake", "team/ü b.txt") == b"hello"
        assert server.keys("lake", "team/") == ["team/ü b.txt"]


def test_users_may_do_what_they_are_given_until_their_key_is_revoked(s3_folder: Path) -> None:
    with S3Server(s3_folder) as server:
        server.make_bucket("lake")
        key = server.add_user("reader")
        with pytest.raises(S3Error, match="AccessDenied"):
            server.request("GET", "/lake", key=key)
        server.give_bucket("lake", "reader")
        server.request("GET", "/lake", key=key)

        changed = server.change_secret("reader")
        with pytest.raises(S3Error, match="SignatureDoesNotMatch"):
            server.request("GET", "/lake", key=key)
        server.request("GET", "/lake", key=changed)
        server.remove_user("reader")
        with pytest.raises(S3Error, match="InvalidAccessKeyId"):
            server.request("GET", "/lake", key=changed)


def test_it_has_a_certificate_that_nobody_else_vouches_for(s3_folder: Path) -> None:
    with S3Server(s3_folder, tls=True) as server:
        server.make_bucket("lake")
        server.put("lake", "a", b"1")

        assert server.endpoint.startswith("https://")
        assert server.get("lake", "a") == b"1"
        server.add_user("someone")
