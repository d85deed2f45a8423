"""Pods with buckets: what they may, what they show, and what is left of them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from jupyter_client.manager import KernelManager

from gra_provisioner.errors import LaunchError
from tests.support.cli import gra, gra_json
from tests.support.cluster import Cluster
from tests.support.rest import rest_server
from tests.support.s3_lab import LAKE, SECRET, S3Lab, node_mounts, s3_lab, said, toml
from tests.support.waiting import until

_CYCLES = [3, pytest.param(50, marks=[pytest.mark.soak, pytest.mark.timeout(1800)])]


@pytest.fixture
def s3(cluster: Cluster) -> Iterator[S3Lab]:
    with s3_lab(cluster) as s3:
        yield s3


def _own(s3: S3Lab) -> dict[str, Any]:
    """The mount with the user's own key, from the variables of his process."""
    return s3.mount(
        credentials={"access_key": {"from_env": "LAKE_ID"}, "secret_key": {"from_env": "LAKE_KEY"}}
    )


@pytest.fixture
def own_key(s3: S3Lab, monkeypatch: pytest.MonkeyPatch) -> str:
    """The user's secret key, which is in the environment of his Jupyter."""
    monkeypatch.setenv("LAKE_ID", s3.user.access_key)
    monkeypatch.setenv("LAKE_KEY", s3.user.secret_key)
    return s3.user.secret_key


def test_the_kernels_container_is_as_restricted_as_any_whatever_is_mounted(s3: S3Lab) -> None:
    with s3.kernel(s3.mount(), s3.mount(mount="/data/again", read_only=True)):
        (pod,) = s3.lab.pods()
    (container,) = pod["spec"]["containers"]
    (sidecar,) = pod["spec"]["initContainers"]

    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
    assert pod["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for key in ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"):
        assert not pod["spec"].get(key)
    assert not [v for v in pod["spec"]["volumes"] if "hostPath" in v]
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    for path in (LAKE, "/data/again", "/run/gra-s3"):
        assert mounts[path]["readOnly"] is True
    assert not [m for m in mounts.values() if m.get("mountPropagation") not in (None, "None")]
    assert not [
        m for m in sidecar["volumeMounts"] if m.get("mountPropagation") not in (None, "None")
    ]
    # Only the sidecar gets the Secret.
    theirs = {v["name"] for v in pod["spec"]["volumes"] if SECRET in json.dumps(v)}
    assert theirs & {m["name"] for m in sidecar["volumeMounts"]} == theirs != set()
    assert not theirs & {m["name"] for m in container["volumeMounts"]}


def test_a_key_of_ones_own_is_in_nothing_that_can_be_read(
    s3: S3Lab, own_key: str, caplog: pytest.LogCaptureFixture
) -> None:
    with s3.kernel(_own(s3)) as kernel, rest_server(s3.lab.places) as rest:
        said(kernel.run(f"open('{LAKE}/x', 'w').write('x')"))
        objects = "pods,events,configmaps"
        shown = {
            "the objects": s3.lab.kubectl("get", objects, "--output=json", "--show-managed-fields"),
            "the log": s3.lab.kubectl("logs", "runner-1", "--all-containers"),
            "gra get": json.dumps(gra_json("get", "runner-1")),
            "gra logs": gra("logs", "runner-1").stdout,
            "the REST API": json.dumps(rest.ok("GET", "runners?inspect=true")),
            "the REST API's runner": json.dumps(rest.ok("GET", "runners/runner-1")),
            "command lines": _command_lines(),
            "the kernel": said(kernel.run(_LOOK)),
            "Jupyter's log": caplog.text,
        }
    assert {where for where, text in shown.items() if own_key in text} == set()
    # The search can find something.
    assert all(shown[where] for where in ("the objects", "gra get", "the REST API", "the kernel"))


# All that the kernel's user can read of processes, variables and files that say what is mounted.
_LOOK = """
import os, pathlib
found = [str(dict(os.environ))]
for process in pathlib.Path('/proc').glob('[0-9]*'):
    for name in ('cmdline', 'environ', 'mountinfo'):
        try: found.append((process / name).read_text(errors='replace'))
        except OSError: pass
for folder in ('/run/gra', '/run/gra-s3', '/run/secrets', '/tmp', '/home/runner', '/workspace'):
    for path in pathlib.Path(folder).rglob('*'):
        try: found.append(path.read_text(errors='replace')) if path.is_file() else None
        except OSError: pass
print(found)
"""


def _command_lines() -> str:
    # Those that have ended meanwhile have none.
    found = psutil.process_iter(["cmdline"])
    return "\n".join(word for process in found for word in process.info["cmdline"] or ())


def test_a_restart_keeps_the_mount_and_takes_a_new_key(
    s3: S3Lab, own_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with s3.kernel(_own(s3)) as kernel:
        said(kernel.run(f"open('{LAKE}/x', 'w').write('x')"))
        assert s3.objects() == {"x": b"x"}
        monkeypatch.setenv("LAKE_KEY", s3.server.change_secret("ana").secret_key)
        kernel.manager.restart_kernel()
        kernel.reconnect()

        assert said(kernel.run(f"print(open('{LAKE}/x').read())")) == "x\n"


def test_two_runners_see_each_others_files_once_they_are_closed(s3: S3Lab) -> None:
    with s3.kernel() as one, s3.kernel() as other:
        said(one.run(f"file = open('{LAKE}/shared', 'w'); file.write('from one'); file.close()"))

        assert said(other.run(f"print(open('{LAKE}/shared').read())")) == "from one\n"
        said(other.run(f"open('{LAKE}/shared', 'a').write(' and other')"))
        code = f"""
import time
until = time.monotonic() + 20
while (text := open('{LAKE}/shared').read()) != 'from one and other' and time.monotonic() < until:
    time.sleep(0.2)
print(text)
"""
        assert said(one.run(code)) == "from one and other\n"


def test_what_was_closed_is_in_the_bucket_when_the_runner_is_gone(s3: S3Lab) -> None:
    with s3.kernel() as kernel:
        said(kernel.run(f"open('{LAKE}/last', 'w').write('x' * (8 << 20))"))
    assert s3.objects() == {"last": b"x" * (8 << 20)}


@pytest.mark.parametrize("cycles", _CYCLES)
def test_runners_come_and_go_and_the_node_has_the_mounts_that_it_had(
    s3: S3Lab, cycles: int
) -> None:
    before = node_mounts()
    for number in range(cycles):
        with s3.kernel() as kernel:
            said(kernel.run(f"open('{LAKE}/{number}', 'w').write('x')"))
            (pod,) = s3.lab.pods()
            while_it_runs = node_mounts()
        if number % 2:
            continue
        # Of every other one, the pod is gone at once: nobody has time to unmount anything.
        name = s3.lab.kernelspec_for(s3.config())
        killed = KernelManager(kernel_name=name)
        killed.start_kernel()
        uid = s3.lab.pods()[-1]["metadata"]["uid"]
        s3.lab.kubectl("delete", "pods", "--all", "--grace-period=0", "--force", "--wait=false")
        killed.shutdown_kernel(now=True)
        killed.cleanup_resources()
        _until_gone_from_the_node(uid)
        assert not [path for path in while_it_runs if pod["metadata"]["uid"] in path]
    until(lambda: not s3.lab.pods(), "the pods to be gone", 60)
    # Others may have mounts on this host meanwhile; none of these stays that was not there.
    assert not [path for path in node_mounts() - before if "/pods/" in path]
    assert s3.objects().keys() == {str(number) for number in range(cycles)}


def _until_gone_from_the_node(uid: str) -> None:
    table = Path("/proc/self/mountinfo")
    until(lambda: uid not in table.read_text(), "the pod's folders to be gone from the node", 90)


def test_a_notebook_runs_with_it_from_the_command_line(s3: S3Lab, tmp_path: Path) -> None:
    s3.lab.places.write_profiles(f"[profiles]\nlake = {toml(s3.config())}")
    cell = nbformat.v4.new_code_cell(f"open('{LAKE}/from-run', 'w').write('x')")
    notebook = nbformat.v4.new_notebook(cells=[cell])
    nbformat.write(notebook, tmp_path / "it.ipynb")

    done = gra("run", str(tmp_path / "it.ipynb"), "--profile", "lake")

    assert done.returncode == 0, done.stderr
    assert s3.objects() == {"from-run": b"x"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"bucket": "no-such-bucket"}, "S3BucketMissing"),
        ({"endpoint": "http://127.0.0.1:9"}, "S3EndpointUnreachable"),
        ({"credentials": {"anonymous": True}}, "S3AccessDenied"),
    ],
)
def test_a_bucket_that_cannot_be_mounted_ends_the_launch_with_its_reason(
    s3: S3Lab, change: dict[str, Any], reason: str
) -> None:
    name = s3.lab.kernelspec_for(s3.config(s3.mount(**change)))
    manager = KernelManager(kernel_name=name)

    with pytest.raises(LaunchError) as failed:
        manager.start_kernel()

    assert failed.value.code == reason
    assert failed.value.hint
    until(lambda: not s3.lab.pods(), "the runner to be gone", 60)


def test_a_secret_that_is_missing_ends_the_launch(s3: S3Lab) -> None:
    s3.lab.kubectl("delete", "secret", SECRET)
    name = s3.lab.kernelspec_for(s3.config())

    with pytest.raises(LaunchError) as failed:
        KernelManager(kernel_name=name).start_kernel()

    assert failed.value.code == "SecretMissing"


def test_a_namespace_that_forbids_privileged_pods_says_what_else_there_is(
    cluster: Cluster,
) -> None:
    with s3_lab(cluster, privileged=False) as s3:
        name = s3.lab.kernelspec_for(s3.config())

        with pytest.raises(LaunchError) as failed:
            KernelManager(kernel_name=name).start_kernel()

    assert failed.value.code == "PodSecurityViolated"
    assert "fsspec" in failed.value.hint
    assert "volume" in failed.value.hint


@pytest.mark.usefixtures("own_key")
def test_without_any_mount_pandas_reads_and_writes_s3_addresses(s3: S3Lab) -> None:
    s3.lab.kubectl(
        *("label", "--overwrite", "namespace", s3.lab.namespace),
        "pod-security.kubernetes.io/enforce=restricted",
    )
    mount = {**_own(s3), "via": "fsspec"}
    del mount["mount"]
    with s3.kernel(mount, allow_privileged_sidecar=False) as kernel:
        code = f"""
import pandas
table = pandas.DataFrame({{"n": [1, 2, 3]}})
table.to_parquet("s3://{s3.bucket}/t.parquet")
print(pandas.read_parquet("s3://{s3.bucket}/t.parquet").equals(table))
"""
        assert said(kernel.run(code)) == "True\n"
        (pod,) = s3.lab.pods()
        assert "initContainers" not in pod["spec"]
    assert s3.objects().keys() == {"t.parquet"}
    assert os.environ["LAKE_KEY"] not in json.dumps(pod)
