"""S3, s3fs or its sidecar goes away while a notebook on a pod uses a bucket."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator

import psutil
import pytest

from tests.support.cells import finish
from tests.support.cluster import Cluster
from tests.support.cluster_lab import begin
from tests.support.s3_lab import LAKE, S3Lab, s3_lab, said
from tests.support.waiting import until

# How long a mount that is broken may take to be back, or to be told.
_SOON = 60.0
_OUTAGES = [5.0, pytest.param(20.0, marks=pytest.mark.soak)]
# Writes or reads without end in pieces of a megabyte, each a file of its own, and counts those that
# could not be.
_WRITES = """
import time
print('going', flush=True)
number = failed = 0
until = time.monotonic() + {seconds}
while time.monotonic() < until:
    try:
        with open(f"{lake}/w{{number}}", "wb") as file:
            file.write(bytes([number % 251]) * (1 << 20))
    except OSError: failed += 1
    else: number += 1
print(number, failed)
"""
_READS = """
import os, time
print('going', flush=True)
good = wrong = failed = 0
until = time.monotonic() + {seconds}
while time.monotonic() < until:
    try:
        with open("{lake}/large", "rb", buffering=0) as file:
            while piece := file.read(1 << 18): wrong += piece.strip(b"r") != b""
    except OSError: failed += 1
    else: good += 1
print(good, wrong, failed)
"""


@pytest.fixture
def s3(cluster: Cluster) -> Iterator[S3Lab]:
    with s3_lab(cluster) as s3:
        yield s3


def _piece(number: int) -> bytes:
    """What :data:`_WRITES` writes into file ``number``."""
    return bytes([number % 251]) * (1 << 20)


def _s3fs(s3: S3Lab) -> list[psutil.Process]:
    """The processes of s3fs in this test's pods; the node is this host."""
    s3.lab.cluster.parts.names()
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            # The bucket's name is on its command line and nobody else's.
            if process.name() == "s3fs" and any(s3.bucket in w for w in process.cmdline()):
                found.append(process)
    return found


def _kill_s3fs(s3: S3Lab) -> None:
    (process,) = _s3fs(s3)
    process.kill()


def _kill_sidecar(s3: S3Lab) -> None:
    (process,) = _s3fs(s3)
    parent = process.parent()
    assert parent is not None
    os.kill(parent.pid, signal.SIGKILL)


def _state(s3: S3Lab) -> str:
    (mount,) = s3.mounts_of()
    return str(mount["state"])


def _until_mounted(s3: S3Lab) -> None:
    until(lambda: _state(s3) == "mounted", "the bucket to be mounted", _SOON)


@pytest.mark.parametrize("seconds", _OUTAGES)
def test_a_server_that_is_away_for_a_while_costs_a_writer_nothing(
    s3: S3Lab, seconds: float
) -> None:
    with s3.kernel() as kernel:
        cell = begin(kernel, _WRITES.format(lake=LAKE, seconds=seconds + 8))
        s3.server.stop()
        # The outage is what is tested.
        time.sleep(seconds)
        s3.server.start()
        written, failed = said(finish(kernel.client, cell, timeout=150)).split()

        assert (int(failed), int(written) > 0) == (0, True)
    objects = s3.objects()
    assert {name: len(data) for name, data in objects.items()} == {
        f"w{number}": 1 << 20 for number in range(int(written))
    }
    assert all(data == _piece(int(name[1:])) for name, data in objects.items())


@pytest.mark.parametrize("seconds", _OUTAGES)
def test_a_server_that_is_away_for_a_while_costs_a_reader_nothing(
    s3: S3Lab, seconds: float
) -> None:
    s3.server.put(s3.bucket, "large", b"r" * (32 << 20))
    with s3.kernel() as kernel:
        cell = begin(kernel, _READS.format(lake=LAKE, seconds=seconds + 8))
        s3.server.stop()
        time.sleep(seconds)
        s3.server.start()
        good, wrong, failed = said(finish(kernel.client, cell, timeout=150)).split()

        assert (int(wrong), int(failed), int(good) > 0) == (0, 0, True)


@pytest.mark.parametrize("kill", [_kill_s3fs, _kill_sidecar], ids=["s3fs", "sidecar"])
def test_what_is_killed_in_the_middle_of_a_write_comes_back_and_loses_nothing_unsaid(
    s3: S3Lab, kill: Callable[[S3Lab], None]
) -> None:
    with s3.kernel() as kernel:
        cell = begin(kernel, _WRITES.format(lake=LAKE, seconds=15))
        kill(s3)
        written, failed = said(finish(kernel.client, cell, timeout=150)).split()

        # What was not told as an error is in the bucket, whole.
        assert int(failed) > 0
        _until_mounted(s3)
        assert said(kernel.run(f"open('{LAKE}/after', 'w').write('x')")) == ""
    objects = s3.objects()
    assert objects.pop("after") == b"x"
    whole = {
        name for name, data in objects.items() if data == bytes([int(name[1:]) % 251]) * (1 << 20)
    }
    assert {f"w{number}" for number in range(int(written))} <= whole


def test_s3fs_killed_in_the_middle_of_a_read_is_an_error_and_then_over(s3: S3Lab) -> None:
    s3.server.put(s3.bucket, "large", b"r" * (32 << 20))
    with s3.kernel() as kernel:
        cell = begin(kernel, _READS.format(lake=LAKE, seconds=15))
        _kill_s3fs(s3)
        _, wrong, failed = said(finish(kernel.client, cell, timeout=150)).split()

        assert int(wrong) == 0
        assert int(failed) > 0
        _until_mounted(s3)
        assert said(kernel.run(f"print(len(open('{LAKE}/large').read()))")) == f"{32 << 20}\n"


def test_nothing_can_be_written_while_nothing_is_mounted(s3: S3Lab) -> None:
    with s3.kernel() as kernel:
        (process,) = _s3fs(s3)
        process.suspend()
        # Whoever writes meanwhile waits: it is not answered, neither good nor bad.
        process.kill()
        code = f"""
import os
for _ in range(2000):
    try: open("{LAKE}/bare", "w").write("x")
    except OSError: continue
    break
print(os.path.ismount("{LAKE}"))
"""
        until(lambda: _s3fs(s3) and _s3fs(s3)[0].pid != process.pid, "a new s3fs", _SOON)
        assert said(kernel.run(code)) == "True\n"
    assert s3.objects() == {"bare": b"x"}


def test_credentials_that_are_revoked_are_told_and_new_ones_taken(s3: S3Lab) -> None:
    with s3.kernel() as kernel:
        said(kernel.run(f"open('{LAKE}/before', 'w').write('x')"))
        new = s3.server.change_secret("ana")

        def told() -> bool:
            (mount,) = s3.mounts_of()
            return bool(mount["reason"] == "S3SecretKeyWrong" and mount["hint"])

        until(told, "gra to say that the key is wrong", _SOON)
        # What is refused is never as if it were empty.
        for action in ("open('{}/before').read()", "open('{}/refused', 'w').write('x')"):
            assert kernel.run(action.format(LAKE)).status == "error"
        assert s3.objects() == {"before": b"x"}

        s3.change_secret(new)
        # The kubelet brings it to pods that it looks at: each once a minute, and changed ones.
        s3.lab.kubectl("annotate", "pod", "runner-1", "example.com/look=now")
        until(lambda: _state(s3) == "mounted", "the new key to be taken", 150)
        assert said(kernel.run(f"open('{LAKE}/after', 'w').write('x')")) == ""
    assert s3.objects().keys() == {"before", "after"}


def test_a_write_that_fails_changes_nothing_in_the_bucket(s3: S3Lab) -> None:
    s3.server.put(s3.bucket, "kept", b"old")
    s3.server.add_user("eve")
    with s3.kernel(s3.mount(options={"retries": "1"})) as kernel:
        s3.server.pause()
        cell = begin(
            kernel,
            f"""
print('going', flush=True)
try:
    with open("{LAKE}/kept", "w") as file: file.write("new" * 1000)
except OSError: print("refused")
""",
        )
        s3.server.stop()
        assert "refused" in said(finish(kernel.client, cell, timeout=120))
        s3.server.start()
    assert s3.objects() == {"kept": b"old"}
