"""What is to be mounted is checked before anything is started."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from gra_provisioner.agent.failure import AgentError
from gra_provisioner.agent.s3.mount import Mount, parse_all, parse_credentials
from gra_provisioner.agent.s3.s3fs import OLDEST, Cache, command, environment, parse_version
from gra_provisioner.agent.s3.signing import Credentials

_GOOD: dict[str, Any] = {
    "id": "0",
    "bucket": "lake",
    "prefix": "team/a",
    "path": "/data/lake",
    "endpoint": "https://s3.example.com",
    "region": "eu-central-1",
    "read_only": False,
    "path_style": True,
    "uid": 1000,
    "gid": 100,
    "umask": "0027",
    "credentials": "own",
    "options": {"retries": "3", "noxmlns": True},
    "ca": "",
}
_CACHE = Cache("/cache", 256 << 20)
_KEY = Credentials("the-access-key", "the-secret-key", "the-token")


def _options(words: list[str]) -> dict[str, str]:
    """Those after each ``-o``."""
    pairs = [word for before, word in itertools.pairwise(words) if before == "-o"]
    return {pair.partition("=")[0]: pair.partition("=")[2] for pair in pairs}


def test_the_command_line_shows_the_prefix_as_the_user_and_group_that_are_wanted() -> None:
    words = command(Mount.parse(_GOOD), "/staging/0", _CACHE, True, OLDEST)
    options = _options(words)

    assert words[:4] == ["s3fs", "lake:/team/a", "/staging/0", "-f"]
    assert options["url"] == "https://s3.example.com"
    assert options["endpoint"] == "eu-central-1"
    assert (options["uid"], options["gid"], options["mp_umask"]) == ("1000", "100", "0027")
    assert options["retries"] == "3"
    assert {"use_path_request_style", "allow_other", "noxmlns"} <= set(options)
    assert "ro" not in options


def test_read_only_anonymous_and_unprivileged_mounts_say_so_to_s3fs() -> None:
    mount = Mount.parse({**_GOOD, "read_only": True, "credentials": "anonymous", "prefix": ""})
    words = command(mount, "/staging/0", _CACHE, False, OLDEST)

    assert words[1] == "lake"
    assert _options(words)["public_bucket"] == "1"
    assert "ro" in _options(words)
    assert "allow_other" not in _options(words)


@pytest.mark.parametrize("size", [64, 256, 4096, 1 << 20])
def test_a_file_being_written_fits_the_cache(size: int) -> None:
    options = _options(command(Mount.parse(_GOOD), "/s", Cache("/c", size << 20), True, OLDEST))
    dirty, free = int(options["max_dirty_data"]), int(options["ensure_diskfree"])
    parallel = int(options["parallel_count"]) * int(options["multipart_size"])

    assert dirty >= 50
    assert max(dirty, parallel) + free <= size


def test_an_s3fs_that_uploads_while_it_writes_need_not_flush_before() -> None:
    newer = parse_version("Amazon Simple Storage Service File System V1.95 (commit:unknown)")
    options = _options(command(Mount.parse(_GOOD), "/s", _CACHE, True, newer))

    assert options["max_dirty_data"] == "-1"
    assert parse_version("what is this?") == OLDEST


def test_credentials_are_in_the_environment_and_not_on_the_command_line() -> None:
    mount = Mount.parse(_GOOD)
    base = {"PATH": "/bin", "AWS_ACCESS_KEY_ID": "another", "HOME": "/home/me"}
    env = environment(_KEY, "/ca.pem", base)

    assert env["AWSACCESSKEYID"] == "the-access-key"
    assert env["AWSSECRETACCESSKEY"] == "the-secret-key"
    assert env["AWSSESSIONTOKEN"] == "the-token"
    assert env["CURL_CA_BUNDLE"] == "/ca.pem"
    assert "another" not in env.values()
    assert env["HOME"] != "/home/me"
    words = " ".join(command(mount, "/s", _CACHE, True, OLDEST))
    assert not any(part in words for part in _KEY)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", "../x"),
        ("bucket", "-o"),
        ("bucket", "lake:/other"),
        ("bucket", ""),
        ("prefix", "../other"),
        ("prefix", "team/../../other"),
        ("prefix", "a\nb"),
        ("path", "data/lake"),
        ("path", "/"),
        ("path", "/data/../etc"),
        ("endpoint", "ftp://s3.example.com"),
        ("endpoint", "https://user:password@s3.example.com"),
        ("endpoint", "https://s3.example.com,allow_other"),
        ("endpoint", "s3.example.com"),
        ("region", "eu,nonempty"),
        ("umask", "9"),
        ("credentials", "iam"),
        ("options", {"passwd_file": "/etc/passwd"}),
        ("options", {"retries": "5,passwd_file=/x"}),
        ("options", {"url": "https://elsewhere"}),
        ("options", {"-d": True}),
        ("uid", "1000"),
        ("read_only", "yes"),
    ],
)
def test_what_s3fs_should_not_be_told_is_refused(field: str, value: Any) -> None:
    with pytest.raises(AgentError) as raised:
        Mount.parse({**_GOOD, field: value})

    assert raised.value.reason == "BadRequest"


def test_two_mounts_at_one_path_are_refused() -> None:
    with pytest.raises(AgentError, match="same path"):
        parse_all([_GOOD, {**_GOOD, "id": "1"}])


@pytest.mark.parametrize(
    "fields",
    [
        {"access_key": "the-access-key"},
        {"access_key": "", "secret_key": "the-secret-key"},
        {"access_key": "a key", "secret_key": "the-secret-key"},
        {"access_key": 1, "secret_key": "the-secret-key"},
        "the-secret-key",
    ],
)
def test_wrong_credentials_are_refused_without_being_shown(fields: Any) -> None:
    with pytest.raises(AgentError) as raised:
        parse_credentials({"0": fields})

    assert "the-" not in str(raised.value)
    assert "a key" not in str(raised.value)
