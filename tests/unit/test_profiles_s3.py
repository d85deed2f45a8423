"""What a profile says of buckets, their sidecar and the workspace: taken over or refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gra_provisioner.errors import ConfigError
from gra_provisioner.profiles import Config, load_config, resolve
from gra_provisioner.runner import RunnerSpec, S3Credentials, S3Mount, Workspace
from gra_provisioner.runner import S3Sidecar as PlainSidecar
from gra_provisioner.s3_schema import S3, S3Sidecar, is_within
from gra_provisioner.schema import Settings
from gra_provisioner.schema import Workspace as WorkspaceTable

LAKE = 'bucket = "lake"\nmount = "/data/lake"\n'
VARIABLES_OF_A_KEY = (("access_key", "A"), ("secret_key", "B"), ("session_token", "C"))


def _load(folder: Path, *texts: str, **environ: str) -> Config:
    paths = []
    for number, text in enumerate(texts):
        paths.append(folder / f"{number}.toml")
        paths[-1].write_text(text, encoding="utf-8")
    return load_config(environ, paths)


def _spec(folder: Path, text: str, **environ: str) -> RunnerSpec:
    return resolve(_load(folder, f"[profiles.q]\n{text}", **environ), {"profile": "q"})


def _mount(folder: Path, text: str) -> S3Mount:
    (mount,) = _spec(folder, f"[[profiles.q.s3]]\n{text}").s3
    return mount


# What is taken over.


def test_the_tables_have_the_fields_and_defaults_of_what_they_become(tmp_path: Path) -> None:
    spec = resolve(load_config({}, []), {})
    assert (spec.s3, spec.s3_sidecar, spec.workspace) == ((), PlainSidecar(), Workspace())
    assert spec.allow_privileged_sidecar is False
    assert set(S3Sidecar.model_fields) == {f.name for f in dataclasses.fields(PlainSidecar)}
    assert set(WorkspaceTable.model_fields) == {f.name for f in dataclasses.fields(Workspace)}
    assert _mount(tmp_path, LAKE) == S3Mount(
        "lake", "/data/lake", "https://s3.amazonaws.com", path_style=False
    )


def test_all_that_can_be_said_of_a_bucket_is_taken_over(tmp_path: Path) -> None:
    mount = _mount(
        tmp_path,
        """
        bucket = "lake"
        prefix = "/team/ä b/"
        mount = "/data/lake/"
        endpoint = "https://s3.example.com:9000/"
        region = "eu-central-1"
        read_only = true
        umask = "027"
        credentials = {secret = "lake-key", access_key = "id", secret_key = "key"}
        options = {retries = "5", use_wtf8 = true}
        ca = {config_map = "team-ca"}
        """,
    )
    assert mount == S3Mount(
        "lake",
        "/data/lake",
        "https://s3.example.com:9000",
        prefix="team/ä b",
        region="eu-central-1",
        read_only=True,
        umask="0027",
        credentials=S3Credentials("secret", "lake-key", "id", "key"),
        options={"retries": "5", "use_wtf8": True},
        ca_config_map="team-ca",
    )
    assert mount.url == "s3://lake/team/ä b"


@pytest.mark.parametrize(
    ("credentials", "expected"),
    [
        ("{anonymous = true}", S3Credentials("anonymous")),
        ('{profile = "team"}', S3Credentials("profile", "team")),
        ('{secret = "k"}', S3Credentials("secret", "k")),
        (
            '{access_key = {from_env = "A"}, secret_key = {from_env = "B"}}',
            S3Credentials("environment", "", "A", "B", ""),
        ),
        (
            "{" + ", ".join(f'{k}.from_env = "{v}"' for k, v in VARIABLES_OF_A_KEY) + "}",
            S3Credentials("environment", "", "A", "B", "C"),
        ),
    ],
)
def test_each_source_of_credentials(
    tmp_path: Path, credentials: str, expected: S3Credentials
) -> None:
    assert _mount(tmp_path, f"{LAKE}credentials = {credentials}").credentials == expected


@pytest.mark.parametrize(
    ("said", "endpoint", "path_style"),
    [
        ("", "https://s3.amazonaws.com", False),
        ('region = "eu-central-1"', "https://s3.eu-central-1.amazonaws.com", False),
        ('region = "cn-north-1"', "https://s3.cn-north-1.amazonaws.com.cn", False),
        ('endpoint = "http://10.0.0.1:7070"', "http://10.0.0.1:7070", True),
        ('endpoint = "http://[::1]:7070/s3"', "http://[::1]:7070/s3", True),
        ("path_style = true", "https://s3.amazonaws.com", True),
    ],
)
def test_a_bucket_without_an_endpoint_is_amazons(
    tmp_path: Path, said: str, endpoint: str, path_style: bool
) -> None:
    mount = _mount(tmp_path, LAKE + said)
    assert (mount.endpoint, mount.path_style) == (endpoint, path_style)


def test_a_bucket_with_dots_fits_no_certificate_as_a_hosts_name(tmp_path: Path) -> None:
    assert _mount(tmp_path, 'bucket = "a.b"\nmount = "/data"').path_style is True


def test_a_volume_is_a_claim_or_a_drivers(tmp_path: Path) -> None:
    claim = _mount(tmp_path, 'via = "volume"\nmount = "/data"\nclaim = "lake"')
    assert claim.volume == {"persistentVolumeClaim": {"claimName": "lake"}}
    driver = _mount(tmp_path, 'via = "volume"\nmount = "/data"\ncsi = {driver = "s3.example.com"}')
    assert driver.volume == {"csi": {"driver": "s3.example.com"}}


def test_a_later_layer_replaces_the_buckets_and_merges_the_tables(tmp_path: Path) -> None:
    first = (
        f'[profiles.q]\ns3_sidecar.image = "a"\nworkspace.size = "1Gi"\n[[profiles.q.s3]]\n{LAKE}'
    )
    second = (
        '[profiles.q]\ns3_sidecar.memory = "1Gi"\nworkspace.keep = true\n'
        '[[profiles.q.s3]]\nbucket = "other"\nmount = "/other"'
    )
    spec = resolve(_load(tmp_path, first, second), {"profile": "q"})
    assert [mount.bucket for mount in spec.s3] == ["other"]
    assert spec.s3_sidecar == PlainSidecar("a", 2**30)
    assert spec.workspace == Workspace(2**30, keep=True)


def test_the_sidecars_image_is_also_named_by_a_variable(tmp_path: Path) -> None:
    text = 's3_sidecar.image = "file"'
    assert _spec(tmp_path, text, RUNNER_S3_IMAGE="variable").s3_sidecar.image == "variable"
    assert _spec(tmp_path, text).s3_sidecar.image == "file"


# What is refused.


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('mount = "/data"', '.bucket: must be given where via is "s3fs"'),
        ('bucket = "lake"', '.mount: must be given where via is "s3fs"'),
        ('bucket = "s3://lake"', '.bucket is "s3://lake", must be the name of a bucket: 3 to 63'),
        ('bucket = "Lake"', '.bucket is "Lake", must be the name of a bucket'),
        ('bucket = "ab"', '.bucket is "ab", must be the name of a bucket'),
        ('bucket = "a..b"', '.bucket is "a..b", must be the name of a bucket'),
        ('bucket = "10.0.0.1"', '.bucket is "10.0.0.1", must be the name of a bucket'),
        ('prefix = "a/../b"', '.prefix is "a/../b", must be a path in the bucket without'),
        ('prefix = "a//b"', '.prefix is "a//b", must be a path in the bucket without'),
        ('mount = "data"', '.mount is "data", must be an absolute path in the runner'),
        ('mount = "/"', '.mount is "/", must be a path below "/"'),
        ('mount = "/data/../x"', '.mount is "/data/../x", must be a path below "/", without'),
        ('mount = "/a:b"', '.mount is "/a:b", must be an absolute path in the runner'),
        ('mount = "/opt"', '.mount is "/opt", must not be in, at or around /opt/gra'),
        ('mount = "/opt/gra/x"', "must not be in, at or around /opt/gra"),
        ('mount = "/run"', "must not be in, at or around /run/gra"),
        ('mount = "/usr/share/data"', "must not be in, at or around /usr"),
        ('mount = "/home"', "must not be at or around /home/runner"),
        ('mount = "/workspace"', "must not be at or around /workspace"),
        ('endpoint = "s3.example.com"', "must be the URL of an S3 server"),
        ('endpoint = "https://"', "must be the URL of an S3 server"),
        ('endpoint = "https://h:port"', "must be the URL of an S3 server"),
        ('endpoint = "https://h/?a=b"', "without anything behind ? or #"),
        ('region = "eu central"', '.region is "eu central", must be the name of a region'),
        ('umask = "9"', '.umask is "9", must be permissions in octal'),
        ('via = "nfs"', '.via is "nfs", must be "s3fs", "volume" or "fsspec"'),
        ('claim = "c"', '.claim: must be left out where via is "s3fs"'),
        ('options = {passwd_file = "/x"}', ".options.passwd_file: must be an option of s3fs that"),
        ('options = {url = "http://x"}', ".options.url: must be an option of s3fs that"),
        ('options = {retries = "5,allow_root"}', ".options.retries is "),
        ("options = {retries = 5}", ".options.retries is 5, must be a text in quotes"),
        ('ca = "ca.crt"', ".ca.path is "),
        ("ca = {}", ".ca: must be the absolute path of a bundle of certificates"),
        ("credentials = {}", '.credentials: must be one of {secret = "NAME"}'),
        ('credentials = {secret = "a", anonymous = true}', ".credentials: must be one of"),
        ('credentials = {access_key = {from_env = "A"}}', "must have both access_key and"),
        ("bukket = 1", ".bukket: unknown field; allowed: bucket, "),
    ],
)
def test_what_is_wrong_with_a_bucket_is_named(tmp_path: Path, text: str, message: str) -> None:
    name = text.partition(" ")[0]
    rest = "" if name in ("mount", "bucket") else LAKE
    if name == "bucket" and '"lake"' not in text:
        rest = 'mount = "/data"\n'
    if name == "mount" and text != 'mount = "/data"':
        rest = 'bucket = "lake"\n'
    with pytest.raises(ConfigError) as caught:
        _mount(tmp_path, rest + text)
    assert f"{tmp_path}/0.toml: profiles.q.s3[0]" in caught.value.message
    assert message in caught.value.message


@pytest.mark.parametrize(
    "text",
    [
        'endpoint = "https://user:hidden@s3.example.com"',
        'credentials = {access_key = "hidden", secret_key = "hidden"}',
        'credentials = {secret = "k", access_key = "hidden/+="}',
        'credentials = {access_key = {from_env = "hidden/+="}}',
        'credentials = {secret = "Hidden+hidden"}',
        'credentials = "hidden"',
    ],
)
def test_keys_that_stand_where_they_should_not_are_not_shown(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _mount(tmp_path, LAKE + text)
    assert "hidden" not in f"{caught.value} {caught.value.to_dict()}".lower()


@pytest.mark.parametrize(
    ("mounts", "message"),
    [
        (("/data", "/data"), 's3: must not have two with the mount "/data"'),
        (("/data", "/data/x"), 's3: must not have one mount in another: "/data/x" is in "/data"'),
        (("/data/x", "/data"), 's3: must not have one mount in another: "/data/x" is in "/data"'),
    ],
)
def test_mounts_are_not_in_each_others_way(
    tmp_path: Path, mounts: tuple[str, ...], message: str
) -> None:
    texts = [f'[[profiles.q.s3]]\nbucket = "lake"\nmount = "{path}"\n' for path in mounts]
    with pytest.raises(ConfigError) as caught:
        _spec(tmp_path, "".join(texts))
    assert message in caught.value.message


def test_buckets_for_fsspec_share_their_variables(tmp_path: Path) -> None:
    one = '[[profiles.q.s3]]\nvia = "fsspec"\nbucket = "lake"\n'
    other = one.replace("lake", "logs")
    assert len(_spec(tmp_path, one + other).s3) == 2
    with pytest.raises(ConfigError, match='must all have the same credentials where via is "fs'):
        _spec(tmp_path, f"{one}{other}credentials = {{anonymous = true}}")


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ('s3_sidecar = {memory = "300Mi"}', "s3_sidecar.cache"),
        ('workspace = {storage_class = "fast"}', "workspace.storage_class"),
    ],
)
def test_what_does_not_fit_together_is_refused_as_a_whole(
    tmp_path: Path, text: str, field: str
) -> None:
    with pytest.raises(ConfigError, match=f"profile 'q': {field}"):
        _spec(tmp_path, text)


def test_the_public_form_of_a_spec_is_json_without_credentials(tmp_path: Path) -> None:
    public: Any = _spec(tmp_path, f"[[profiles.q.s3]]\n{LAKE}").public()
    assert public["s3"][0]["credentials"]["source"] == "default"
    assert public["workspace"]["keep"] is False


@given(st.lists(st.sampled_from(["a", "b", "ab"]), min_size=1), st.lists(st.sampled_from("ab")))
def test_within_is_by_folders_and_not_by_letters(folder: list[str], more: list[str]) -> None:
    outer = "/" + "/".join(folder)
    assert is_within("/".join([outer, *more]), outer)
    assert not is_within(outer + "x", outer)


@given(st.builds(S3, bucket=st.just("lake"), mount=st.just("/d"), read_only=st.booleans()))
def test_merging_settings_keeps_or_replaces_the_list_of_buckets(entry: S3) -> None:
    below, above = Settings(s3=(entry,)), Settings(s3=())
    assert below.merged(Settings()).s3 == (entry,)
    assert below.merged(above).s3 == ()
