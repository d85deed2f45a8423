"""What s3fs and Python's fsspec are told of buckets."""

from __future__ import annotations

import dataclasses
import json

import pytest

from gra_provisioner.mounting import kernel_variables
from gra_provisioner.profiles import load_config, resolve
from gra_provisioner.runner import Runner, RunnerLabels, RunnerSpec, S3Credentials, S3Mount, Secret
from gra_provisioner.s3_credentials import AccessKey
from gra_provisioner.s3_mounts import fsspec_variables, mount_documents, not_here

LAKE = S3Mount("lake", "/data/lake", "https://s3.example.com", prefix="a", options={"retries": "5"})
TABLES = S3Mount("lake", "", "https://s3.example.com", region="eu-central-1", via="fsspec")
KEY = AccessKey(Secret("A"), Secret("hidden"), Secret("token"))


def _spec(*mounts: S3Mount) -> RunnerSpec:
    return dataclasses.replace(resolve(load_config({}, []), {}), s3=mounts)


def _runner(backend: str) -> Runner:
    return Runner("runner-1", "u", backend, "small", RunnerLabels("ada"), 0.0)


def test_s3fs_is_told_of_its_own_buckets_by_their_places() -> None:
    first, second = mount_documents([TABLES, LAKE, dataclasses.replace(LAKE, path="/b")], 7, 8)
    assert first == {
        "id": "1",
        "bucket": "lake",
        "prefix": "a",
        "path": "/data/lake",
        "endpoint": "https://s3.example.com",
        "region": "",
        "read_only": False,
        "path_style": True,
        "uid": 7,
        "gid": 8,
        "umask": "0022",
        "credentials": "own",
        "options": {"retries": "5"},
        "ca": "",
    }
    assert second["id"] == "2"


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("secret", "secret"),
        ("anonymous", "anonymous"),
        ("profile", "own"),
        ("environment", "own"),
        ("default", "own"),
    ],
)
def test_of_credentials_only_the_kind_is_told(source: str, told: str) -> None:
    credentials = S3Credentials(source, "x")  # type: ignore[arg-type]
    (document,) = mount_documents([dataclasses.replace(LAKE, credentials=credentials)], 1, 1)
    assert document["credentials"] == told
    assert "x" not in document.values()


def test_python_finds_a_bucket_by_variables() -> None:
    variables = fsspec_variables([LAKE, TABLES])
    assert json.loads(variables.pop("FSSPEC_S3")) == {
        "endpoint_url": "https://s3.example.com",
        "config_kwargs": {"s3": {"addressing_style": "path"}},
    }
    assert variables == {
        "AWS_ENDPOINT_URL_S3": "https://s3.example.com",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_REGION": "eu-central-1",
    }


def test_amazons_own_server_needs_no_variables() -> None:
    amazon = S3Mount("lake", "", "https://s3.amazonaws.com", path_style=False, via="fsspec")
    assert fsspec_variables([amazon]) == {}
    anonymous = dataclasses.replace(amazon, credentials=S3Credentials("anonymous"), ca="/ca.crt")
    assert fsspec_variables([anonymous]) == {
        "AWS_CA_BUNDLE": "/ca.crt",
        "FSSPEC_S3": '{"anon": true}',
    }


def test_buckets_that_are_mounted_need_no_variables() -> None:
    assert fsspec_variables([LAKE]) == {}


def test_a_kernel_gets_its_users_own_credentials_and_here_where_the_server_is() -> None:
    spec = _spec(LAKE, TABLES)
    keys = {0: AccessKey(Secret("other"), Secret("other")), 1: KEY}
    own = {
        "AWS_ACCESS_KEY_ID": "A",
        "AWS_SECRET_ACCESS_KEY": "hidden",
        "AWS_SESSION_TOKEN": "token",
    }
    # A pod's variables have the rest.
    assert kernel_variables(_runner("kubernetes"), spec, keys) == own
    assert kernel_variables(_runner("local"), spec, keys) == {**fsspec_variables(spec.s3), **own}
    assert kernel_variables(_runner("kubernetes"), spec, {}) == {}


@pytest.mark.parametrize(
    ("mount", "field"),
    [
        (S3Mount("", "/d", "", via="volume"), "via"),
        (dataclasses.replace(LAKE, credentials=S3Credentials("secret", "k")), "credentials.secret"),
        (dataclasses.replace(TABLES, ca_config_map="c"), "ca"),
    ],
)
def test_what_only_a_cluster_has_is_refused_here(mount: S3Mount, field: str) -> None:
    error = not_here(_spec(LAKE, mount))
    assert error is not None
    assert error.message.startswith(f"profile 'small': s3[1].{field}: this runner is on this host")
    assert not_here(_spec(LAKE, TABLES)) is None
