"""A bucket in a pod, as a notebook uses it: one runner with a mount for all of these tests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

import pytest

from tests.cluster.locks import Use
from tests.support.backends import shared
from tests.support.cli import gra
from tests.support.cluster import Cluster
from tests.support.kernels import StartedKernel
from tests.support.s3_lab import LAKE, S3Lab, node_mounts, s3_lab, said

# Of the bucket: the mount has only what is below it.
_PREFIX = "team/a"
_SECRETS = "team/b/secret.txt"
# More than one answer of a listing has.
_MANY = 10_000
_MEGABYTES = 64
_GIGABYTE = 1024

_PUMP = """
import hashlib, os
digest = hashlib.sha256()
with open("{lake}/large.bin", "wb") as file:
    for number in range({megabytes}):
        block = hashlib.shake_128(str(number).encode()).digest(1 << 20)
        digest.update(block); file.write(block)
print(digest.hexdigest())
"""
_READ_BACK = """
import hashlib
with open("{lake}/large.bin", "rb") as file:
    print(hashlib.file_digest(file, "sha256").hexdigest())
"""


@pytest.fixture(scope="module")
def lake(cluster: Cluster, _use: Use) -> Iterator[tuple[S3Lab, StartedKernel]]:
    """A kernel with a part of the bucket at LAKE, and all of it, read-only, at /data/all."""
    with s3_lab(cluster) as s3:
        s3.server.put(s3.bucket, _SECRETS, b"not for a")
        mounts = (
            s3.mount(prefix=_PREFIX),
            s3.mount(mount="/data/all", read_only=True),
        )
        with shared(_use):
            running = s3.kernel(*mounts)
            kernel = running.__enter__()
        yield s3, kernel
        with shared(_use):
            running.__exit__(None, None, None)


@pytest.fixture
def s3(lake: tuple[S3Lab, StartedKernel]) -> S3Lab:
    return lake[0]


@pytest.fixture
def kernel(lake: tuple[S3Lab, StartedKernel]) -> StartedKernel:
    return lake[1]


def test_tables_are_written_and_read(s3: S3Lab, kernel: StartedKernel) -> None:
    code = f"""
import pandas
table = pandas.DataFrame({{"n": range(1000), "text": ["ä" * 10] * 1000}})
table.to_csv("{LAKE}/t.csv", index=False)
table.to_parquet("{LAKE}/t.parquet")
print(pandas.read_csv("{LAKE}/t.csv").equals(table))
print(pandas.read_parquet("{LAKE}/t.parquet").equals(table))
"""
    assert said(kernel.run(code)) == "True\nTrue\n"

    assert s3.server.get(s3.bucket, f"{_PREFIX}/t.csv").startswith(b"n,text\n0,")
    assert s3.server.get(s3.bucket, f"{_PREFIX}/t.parquet")[:4] == b"PAR1"


def test_files_are_appended_to_renamed_and_removed(s3: S3Lab, kernel: StartedKernel) -> None:
    code = f"""
import os
os.makedirs("{LAKE}/sub/deeper")
with open("{LAKE}/sub/one", "w") as file: file.write("one ")
with open("{LAKE}/sub/one", "a") as file: file.write("two")
os.rename("{LAKE}/sub/one", "{LAKE}/sub/deeper/two")
with open("{LAKE}/sub/gone", "w") as file: file.write("x")
os.remove("{LAKE}/sub/gone")
os.rename("{LAKE}/sub", "{LAKE}/moved")
print(open("{LAKE}/moved/deeper/two").read(), sorted(os.listdir("{LAKE}/moved")))
"""
    assert said(kernel.run(code)) == "one two ['deeper']\n"

    below = f"{_PREFIX}/moved/"
    there = {k: v for k, v in s3.objects().items() if k.startswith((below, f"{_PREFIX}/sub"))}
    assert there == {f"{below}deeper/two": b"one two"}


@pytest.mark.parametrize(
    "name", ["with space.txt", "Ünïcödé-é-日本語.txt", "per%cent&plus+.txt", "it's (1).txt"]
)
def test_names_may_be_any(s3: S3Lab, kernel: StartedKernel, name: str) -> None:
    path = json.dumps(f"{LAKE}/names/{name}")
    code = f"""
import os
os.makedirs("{LAKE}/names", exist_ok=True)
open({path}, "w").write("here")
print(open({path}).read(), {json.dumps(name)} in os.listdir("{LAKE}/names"))
"""
    assert said(kernel.run(code)) == "here True\n"

    assert s3.server.get(s3.bucket, f"{_PREFIX}/names/{name}") == b"here"


def test_what_others_write_is_seen(s3: S3Lab, kernel: StartedKernel) -> None:
    s3.server.put(s3.bucket, f"{_PREFIX}/from-outside.txt", b"hello")

    assert said(kernel.run(f"print(open('{LAKE}/from-outside.txt').read())")) == "hello\n"


def test_a_folder_of_thousands_of_files_is_listed(s3: S3Lab, kernel: StartedKernel) -> None:
    # The server keeps objects as files.
    folder = s3.server.data / s3.bucket / _PREFIX / "many"
    folder.mkdir(parents=True)
    for number in range(_MANY):
        (folder / f"{number:05}").touch()

    code = f"import os; names = os.listdir('{LAKE}/many'); print(len(names), len(set(names)))"

    assert said(kernel.run(code)) == f"{_MANY} {_MANY}\n"


def test_nothing_but_the_prefix_can_be_reached(s3: S3Lab, kernel: StartedKernel) -> None:
    code = f"""
import os
def attempt(path):
    try: return open(path).read()
    except OSError as error: return type(error).__name__
print(attempt("{LAKE}/../b/secret.txt"), attempt("{LAKE}/../../team/b/secret.txt"))
os.symlink("../b/secret.txt", "{LAKE}/way-out")
print(attempt("{LAKE}/way-out"))
os.remove("{LAKE}/way-out")
print(attempt("/data/all/{_SECRETS}"))
"""
    missing = "FileNotFoundError"
    assert said(kernel.run(code)).split("\n")[:3] == [
        f"{missing} {missing}",
        missing,
        "not for a",
    ]


def test_a_mount_that_is_read_only_takes_nothing(s3: S3Lab, kernel: StartedKernel) -> None:
    before = s3.objects()
    code = f"""
import os
def attempt(what):
    try: what()
    except OSError as error: print(os.strerror(error.errno))
attempt(lambda: open("/data/all/new", "w"))
attempt(lambda: open("/data/all/{_SECRETS}", "a"))
attempt(lambda: os.remove("/data/all/{_SECRETS}"))
attempt(lambda: os.mkdir("/data/all/folder"))
"""
    assert said(kernel.run(code)) == "Read-only file system\n" * 4

    assert s3.objects() == before


def test_files_belong_to_the_user_of_the_kernel(kernel: StartedKernel) -> None:
    code = f"""
import os, stat
open("{LAKE}/mine", "w").write("x")
for path in ("{LAKE}", "{LAKE}/mine", "/data/all/{_SECRETS}"):
    found = os.stat(path)
    print(found.st_uid == os.getuid(), found.st_gid == os.getgid(), oct(found.st_mode & 0o600))
"""
    assert set(said(kernel.run(code)).splitlines()) == {"True True 0o600"}


@pytest.mark.parametrize(
    "megabytes",
    [_MEGABYTES, pytest.param(_GIGABYTE, marks=[pytest.mark.soak, pytest.mark.timeout(600)])],
)
def test_a_large_file_comes_back_as_it_was_written(
    s3: S3Lab, kernel: StartedKernel, megabytes: int
) -> None:
    pump = _PUMP.format(lake=LAKE, megabytes=megabytes)
    digest = said(kernel.run(pump, timeout=300)).strip()

    stored = s3.server.data / s3.bucket / _PREFIX / "large.bin"
    assert hashlib.sha256(stored.read_bytes()).hexdigest() == digest
    assert said(kernel.run(_READ_BACK.format(lake=LAKE), timeout=300)).strip() == digest
    said(kernel.run(f"import os; os.remove('{LAKE}/large.bin')"))


def test_the_node_has_no_mount_of_it(s3: S3Lab, kernel: StartedKernel) -> None:
    assert said(kernel.run(f"import os; print(os.path.ismount('{LAKE}'))")) == "True\n"

    of_the_pod = s3.lab.pods()[0]["metadata"]["uid"]
    assert not [path for path in node_mounts() if of_the_pod in path]


def test_a_command_beside_the_kernel_sees_it_too(kernel: StartedKernel) -> None:
    said(kernel.run(f"open('{LAKE}/for-commands', 'w').write('seen')"))

    assert gra("exec", "runner-1", "--", "cat", f"{LAKE}/for-commands").stdout == "seen"
