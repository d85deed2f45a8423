"""A client's own credentials for S3: where they are found, and what is said if they are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from gra_provisioner.errors import MountError
from gra_provisioner.runner import S3Credentials, S3Mount
from gra_provisioner.s3_credentials import AccessKey, own_credentials

FILE = """
[default]
aws_access_key_id = DEFAULT
aws_secret_access_key = very=secret%(x)s

[team]
aws_access_key_id=TEAM
aws_secret_access_key=hidden
aws_session_token=token

[sso]
sso_start_url = https://example.com
"""
KEYS = {"AWS_ACCESS_KEY_ID": "A", "AWS_SECRET_ACCESS_KEY": "hidden"}


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """An environment whose home has credentials of AWS's."""
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text(FILE, encoding="utf-8")
    return {"HOME": str(tmp_path)}


def _mount(credentials: S3Credentials | None = None) -> S3Mount:
    return S3Mount(
        "lake", "/data", "https://s3.example.com", credentials=credentials or S3Credentials()
    )


def _found(environ: dict[str, str], credentials: S3Credentials | None = None) -> dict[str, str]:
    return own_credentials([_mount(credentials)], environ)[0].document()


def _refused(environ: dict[str, str], credentials: S3Credentials | None = None) -> MountError:
    with pytest.raises(MountError) as caught:
        own_credentials([_mount(credentials)], environ)
    assert caught.value.code == "S3CredentialsMissing"
    assert "hidden" not in f"{caught.value} {caught.value.to_dict()}"
    return caught.value


def test_the_clients_variables_come_before_its_file(home: dict[str, str]) -> None:
    assert _found({**home, **KEYS}) == {"access_key": "A", "secret_key": "hidden"}
    token = {"AWS_SESSION_TOKEN": "T"}
    assert _found({**home, **KEYS, **token})["session_token"] == "T"


def test_without_variables_it_is_the_file(home: dict[str, str]) -> None:
    expected = {"access_key": "DEFAULT", "secret_key": "very=secret%(x)s"}
    assert _found(home) == expected


@pytest.mark.parametrize("named_by", ["profile", "variable"])
def test_a_profile_of_the_file_can_be_named(home: dict[str, str], named_by: str) -> None:
    expected = {"access_key": "TEAM", "secret_key": "hidden", "session_token": "token"}
    if named_by == "profile":
        # Who names a profile means it, whatever variables there are.
        assert _found({**home, **KEYS}, S3Credentials("profile", "team")) == expected
    else:
        assert _found({**home, "AWS_PROFILE": "team"}) == expected


def test_the_file_can_be_elsewhere(tmp_path: Path, home: dict[str, str]) -> None:
    elsewhere = tmp_path / "keys"
    elsewhere.write_text(FILE.replace("TEAM", "OTHER"), encoding="utf-8")
    environ = {**home, "AWS_SHARED_CREDENTIALS_FILE": str(elsewhere)}
    assert _found(environ, S3Credentials("profile", "team"))["access_key"] == "OTHER"


def test_variables_can_have_other_names() -> None:
    named = S3Credentials("environment", access_key="X", secret_key="Y", session_token="")
    assert _found({"X": "1", "Y": "2", "AWS_SESSION_TOKEN": "no"}, named) == {
        "access_key": "1",
        "secret_key": "2",
    }


@pytest.mark.parametrize("source", ["secret", "anonymous"])
def test_others_credentials_are_not_looked_for(source: str) -> None:
    credentials = S3Credentials(source, "lake-key")  # type: ignore[arg-type]
    assert own_credentials([_mount(credentials)], {}) == {}


def test_each_bucket_has_its_own_by_its_place(home: dict[str, str]) -> None:
    mounts = [
        _mount(S3Credentials("anonymous")),
        _mount(S3Credentials("profile", "team")),
        _mount(S3Credentials("default")),
    ]
    found = own_credentials(mounts, home)
    assert {index: key.access_key.value for index, key in found.items()} == {
        1: "TEAM",
        2: "DEFAULT",
    }


def test_what_is_missing_is_named(home: dict[str, str], tmp_path: Path) -> None:
    named = S3Credentials("environment", access_key="X", secret_key="Y")
    assert "the variable X is not set" in _refused(home, named).message
    half = _refused({**home, "AWS_ACCESS_KEY_ID": "A"})
    assert "the variable AWS_SECRET_ACCESS_KEY is not set" in half.message
    assert half.message.startswith("There are no credentials for s3://lake: ")
    unknown = _refused(home, S3Credentials("profile", "nobody"))
    assert "has no profile [nobody]; it has: default, team, sso" in unknown.message
    login = _refused(home, S3Credentials("profile", "sso"))
    assert "[sso]" in login.message
    assert "export-credentials" in login.hint
    nothing = _refused({"HOME": str(tmp_path / "nowhere")})
    assert "the variable AWS_ACCESS_KEY_ID is not set, and there is no file " in nothing.message


def test_a_file_that_is_none_of_the_kind_is_not_shown(tmp_path: Path) -> None:
    file = tmp_path / "credentials"
    environ = {"AWS_SHARED_CREDENTIALS_FILE": str(file)}
    for content in (b"hidden\n", b"[default\nhidden", b"\xff[default]"):
        file.write_bytes(content)
        assert str(file) in _refused(environ).message


def test_credentials_are_not_shown(home: dict[str, str]) -> None:
    key = own_credentials([_mount()], {**home, **KEYS})[0]
    assert "hidden" not in f"{key!r} {key}"
    assert isinstance(key, AccessKey)
    assert key.variables()["AWS_SESSION_TOKEN"] == ""
