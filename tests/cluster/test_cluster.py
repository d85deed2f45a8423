"""The test cluster itself: what other tests on it rely on."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from kubernetes import config
from kubernetes.client import CoreV1Api
from kubernetes.stream import portforward

from tests.support.cluster import Cluster, Parts
from tests.support.waiting import until

REPOSITORY = Path(__file__).parents[2]
BOUND = 60.0


def tool(*command: str) -> subprocess.CompletedProcess[str]:
    """Run ``python -m tests.cluster``."""
    return subprocess.run(
        [sys.executable, "-m", "tests.cluster", *command],
        cwd=REPOSITORY,
        check=False,
        capture_output=True,
        text=True,
        timeout=BOUND,
    )


def pod(cluster: Cluster, image: str, *command: str) -> dict[str, Any]:
    """A pod that Pod Security ``restricted`` lets through."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": image},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 1000,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "main",
                    "image": cluster.image(image),
                    "command": list(command),
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                }
            ],
        },
    }


def phase(cluster: Cluster, namespace: str, name: str) -> str:
    found = cluster.kubectl_json("get", "pod", name, "--namespace", namespace)
    return str(found["status"]["phase"])


def run_pod(cluster: Cluster, namespace: str, image: str, *command: str) -> str:
    """Run a pod to its end and return what it said."""
    manifest = pod(cluster, image, *command)
    cluster.kubectl("create", "--namespace", namespace, "--filename=-", manifest=manifest)
    ended = {"Succeeded", "Failed"}
    until(lambda: phase(cluster, namespace, image) in ended, f"the end of pod {image}", BOUND)
    return cluster.kubectl("logs", "--namespace", namespace, image)


def test_the_node_is_ready(cluster: Cluster) -> None:
    (node,) = cluster.kubectl_json("get", "nodes")["items"]

    conditions = {item["type"]: item["status"] for item in node["status"]["conditions"]}
    assert conditions["Ready"] == "True"


@pytest.mark.parametrize("image", ["python", "conda"])
def test_a_restricted_pod_has_python_with_kernels(
    cluster: Cluster, namespace: str, image: str
) -> None:
    said = run_pod(
        cluster,
        namespace,
        image,
        *("python", "-c", "import sys, bash_kernel, ipykernel.kernelapp; print(sys.executable)"),
    )

    assert said.strip() == {"python": "/usr/bin/python", "conda": "/opt/conda/bin/python"}[image]


def test_an_image_with_python_has_no_ipykernel(cluster: Cluster, namespace: str) -> None:
    said = run_pod(cluster, namespace, "noipykernel", "python3", "-m", "ipykernel_launcher")

    assert "No module named ipykernel_launcher" in said


def test_an_image_has_no_python(cluster: Cluster, namespace: str) -> None:
    said = run_pod(cluster, namespace, "nopython", "sh", "-c", "command -v python3 || echo none")

    assert said == "none\n"


def test_a_privileged_pod_is_refused(cluster: Cluster, namespace: str) -> None:
    manifest = pod(cluster, "nopython", "true")
    manifest["spec"]["containers"][0]["securityContext"] = {"privileged": True}

    with pytest.raises(AssertionError, match="violates PodSecurity"):
        cluster.kubectl("create", "--namespace", namespace, "--filename=-", manifest=manifest)


def test_a_port_is_forwarded_by_websocket(cluster: Cluster, namespace: str) -> None:
    serve = ("python", "-m", "http.server", "--bind", "127.0.0.1", "8000")
    manifest = pod(cluster, "python", *serve)
    cluster.kubectl("create", "--namespace", namespace, "--filename=-", manifest=manifest)
    until(lambda: phase(cluster, namespace, "python") == "Running", "the pod to run", BOUND)
    client = config.new_client_from_config(str(cluster.kubeconfig))

    def answer() -> bytes:
        method = CoreV1Api(client).connect_get_namespaced_pod_portforward
        forwarded = portforward(method, "python", namespace, ports="8000")
        socket = forwarded.socket(8000)
        socket.settimeout(BOUND)
        try:
            socket.sendall(b"HEAD /bin HTTP/1.0\r\n\r\n")
            received: bytes = socket.recv(1000)
        except (BrokenPipeError, ConnectionResetError):
            # Until the server listens the connection is closed, which may be seen while sending.
            return b""
        finally:
            forwarded.close()
        return received

    assert until(answer, "an answer from the pod", BOUND).startswith(b"HTTP/1.0 301")


def test_a_namespace_goes_away(cluster: Cluster) -> None:
    with cluster.namespace() as name:
        assert cluster.kubectl("get", "namespace", name)

    cluster.wait_for_namespaces()

    with pytest.raises(AssertionError, match="not found"):
        cluster.kubectl("get", "namespace", name)


def test_bringing_up_a_healthy_cluster_starts_nothing(cluster: Cluster, parts: Parts) -> None:
    before = {name: parts.pids(name) for name in parts.names()}

    done = tool("up", "--alone")

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(cluster.kubeconfig)
    assert {name: parts.pids(name) for name in parts.names()} == before


@pytest.mark.parametrize(
    ("number", "problem"),
    [(signal.SIGKILL, "is not running"), (signal.SIGSTOP, "is stopped by a signal")],
)
def test_a_part_that_is_down_is_named_and_mended(
    cluster: Cluster, parts: Parts, number: int, problem: str
) -> None:
    parts.stop("scheduler", number)

    named = tool("status")
    mended = tool("up", "--alone")

    assert named.returncode == 1
    (line,) = (line for line in named.stdout.splitlines() if "is well" not in line)
    assert line.startswith("scheduler")
    assert line.endswith(problem)
    assert mended.returncode == 0, mended.stderr
    assert tool("status").returncode == 0


def test_a_node_whose_kubelet_is_silent_is_soon_not_ready(cluster: Cluster, parts: Parts) -> None:
    def ready() -> str:
        (node,) = cluster.kubectl_json("get", "nodes")["items"]
        (status,) = (i["status"] for i in node["status"]["conditions"] if i["type"] == "Ready")
        return str(status)

    with parts.stopped("kubelet", signal.SIGSTOP):
        until(lambda: ready() == "Unknown", "the node to be lost", BOUND)
    until(lambda: ready() == "True", "the node to be back", BOUND)


def test_an_old_revision_is_gone_after_compaction(cluster: Cluster, parts: Parts) -> None:
    def list_at(revision: int) -> str:
        path = "/api/v1/namespaces?resourceVersionMatch=Exact&resourceVersion="
        return cluster.kubectl("get", "--raw", f"{path}{revision}")

    with cluster.namespace():
        revision = parts.compact()
    parts.restart("apiserver")

    assert list_at(revision)
    with pytest.raises(AssertionError, match=r"compacted|too old"):
        list_at(revision - 1)


def test_a_user_to_whom_nothing_was_granted_may_do_nothing(cluster: Cluster, parts: Parts) -> None:
    with pytest.raises(AssertionError, match=r'User "gra-test" cannot list'):
        cluster.kubectl("--kubeconfig", str(parts.user_kubeconfig()), "get", "pods")
