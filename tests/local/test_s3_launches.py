"""Kernels with buckets of S3: there before the first cell, with whose key, or why not."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import KernelManager

from gra_provisioner.agent.s3.signing import Credentials
from gra_provisioner.errors import GraError
from tests.support.cli import gra, gra_json
from tests.support.kernels import StartedKernel
from tests.support.kernelspecs import KernelSpecs
from tests.support.places import Places
from tests.support.s3 import S3Server

pytestmark = [
    pytest.mark.gra_only,
    pytest.mark.local_only("what pods mount is tested on the cluster"),
]

Start = Callable[..., StartedKernel]


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[Credentials], None]:
    """``use(key)``: the client has this key from now on."""

    def use(key: Credentials) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", key.access_key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key.secret_key)

    return use


def _entry(places: Places, server: S3Server, bucket: str, **more: Any) -> dict[str, Any]:
    mount = str(places.work / "lake")
    return {"bucket": bucket, "mount": mount, "endpoint": server.endpoint, **more}


def _fails(kernel_name: str, reason: str) -> GraError:
    manager = KernelManager(kernel_name=kernel_name)
    with pytest.raises(GraError) as raised:
        manager.start_kernel()
    assert raised.value.code == reason, str(raised.value)
    assert raised.value.hint
    assert not manager.has_kernel
    return raised.value


def test_the_first_cell_finds_the_bucket_and_no_key(
    places: Places,
    kernelspecs: KernelSpecs,
    start_kernel: Start,
    s3_server: S3Server,
    bucket: str,
    use: Callable[[Credentials], None],
) -> None:
    use(s3_server.root)
    s3_server.put(bucket, "team/a.txt", b"hello")
    entry = _entry(places, s3_server, bucket, prefix="team")
    kernel = start_kernel(kernelspecs.write("lake", config={"s3": [entry]}))

    path = Path(entry["mount"], "a.txt")
    assert kernel.run(f"print(open({str(path)!r}).read())").text == "hello\n"
    seen = kernel.run("import os; print([name for name in os.environ if 'AWS' in name])")
    assert seen.text == "[]\n"
    shown = gra("get", "runner-1", "--json").stdout
    assert json.loads(shown)["mounts"][0]["state"] == "mounted"
    assert s3_server.root.secret_key not in shown


def test_a_restart_takes_the_key_that_the_client_has_by_then(
    places: Places,
    kernelspecs: KernelSpecs,
    start_kernel: Start,
    s3_folder: Path,
    use: Callable[[Credentials], None],
) -> None:
    with S3Server(s3_folder) as server:
        server.make_bucket("lake")
        use(server.add_user("ada"))
        server.give_bucket("lake", "ada")
        server.put("lake", "a.txt", b"hello")
        entry = _entry(places, server, "lake")
        kernel = start_kernel(kernelspecs.write("lake", config={"s3": [entry]}))
        use(server.change_secret("ada"))

        kernel.manager.restart_kernel()
        kernel.reconnect()

        server.put("lake", "b.txt", b"again")
        path = Path(entry["mount"], "b.txt")
        assert kernel.run(f"print(open({str(path)!r}).read())").text == "again\n"
        kernel.stop()


def test_a_wrong_key_ends_the_launch_with_its_reason(
    places: Places,
    kernelspecs: KernelSpecs,
    s3_server: S3Server,
    bucket: str,
    use: Callable[[Credentials], None],
) -> None:
    use(s3_server.root._replace(secret_key="wrong"))
    entry = _entry(places, s3_server, bucket)
    error = _fails(kernelspecs.write("lake", config={"s3": [entry]}), "S3SecretKeyWrong")
    assert bucket in error.message
    assert error.details["phase"] == "mounts"
    assert not Path(entry["mount"]).exists()


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({}, "S3CredentialsMissing"),
        ({"credentials": {"secret": "lake-key"}}, "InvalidConfiguration"),
    ],
)
def test_credentials_that_cannot_be_had_make_no_runner(
    places: Places,
    kernelspecs: KernelSpecs,
    s3_server: S3Server,
    more: Mapping[str, Any],
    reason: str,
) -> None:
    entry = _entry(places, s3_server, "lake", **more)
    _fails(kernelspecs.write("lake", config={"s3": [entry]}), reason)
    assert gra_json("list") == []


def test_a_runner_without_a_kernel_has_its_buckets_too(
    places: Places, s3_server: S3Server, bucket: str, use: Callable[[Credentials], None]
) -> None:
    use(s3_server.root)
    entry = _entry(places, s3_server, bucket)
    lines = "".join(f"{name} = {json.dumps(value)}\n" for name, value in entry.items())
    places.write_profiles(f"[[profiles.lake.s3]]\n{lines}")
    name = gra_json("create", "--profile", "lake", "--no-kernel")["name"]

    written = gra("exec", name, "--", "sh", "-c", f"echo hello > {entry['mount']}/a.txt")
    assert written.returncode == 0, written.stderr
    assert s3_server.get(bucket, "a.txt") == b"hello\n"
    gra("delete", name, "--yes")


def test_a_kernel_has_what_its_own_python_needs(
    kernelspecs: KernelSpecs, start_kernel: Start, use: Callable[[Credentials], None]
) -> None:
    use(Credentials("a-key", "a-secret", ""))
    entry = {"via": "fsspec", "bucket": "lake", "endpoint": "http://127.0.0.1:9"}
    kernel = start_kernel(kernelspecs.write("tables", config={"s3": [entry]}))
    names = ("AWS_ENDPOINT_URL_S3", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    code = f"import os; print(*(os.environ[name] for name in {names}))"
    assert kernel.run(code).text == "http://127.0.0.1:9 a-key a-secret\n"
