"""A user's Jupyter and gra on a namespace of the cluster, for the tests of deaths and outages."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.cluster.layout import Layout
from tests.support.cells import until_output
from tests.support.cli import GRA, gra_json
from tests.support.cluster import Cluster
from tests.support.kernels import StartedKernel
from tests.support.kernelspecs import KernelSpecs
from tests.support.places import Places
from tests.support.processes import describe, kill_all, live_children, threads_named
from tests.support.waiting import WaitTimeout, until

Pod = dict[str, Any]

# Prints, so that a test knows that it runs, and then waits for what the test does to it.
WAITS = "import time; print('going', flush=True); time.sleep(1000)"

_FOREIGN = ("GRA_", "JUPYTER_", "JPY_", "KUBE", "RUNNER_", "AWS_")
_SETTLE = 20.0

# What an administrator would write for all users.  One node has room for many of these.
_SITE = """
backend = "kubernetes"
[profiles.small]
image = "{image}"
start_timeout = "90s"
resources = {{cpu = 1, memory = "256Mi", ephemeral_storage = "1Gi"}}
[profiles.small.pod]
image_pull_policy = "Never"
requests = {{cpu = "10m", memory = "16Mi", ephemeral_storage = "1Mi"}}
termination_grace = 3
"""


@dataclass(frozen=True)
class Lab:
    """Folders of one's own, configured for runners in ``namespace``."""

    cluster: Cluster
    namespace: str
    places: Places
    kernelspecs: KernelSpecs

    def kernelspec(self, name: str, **config: Any) -> str:
        """Write a kernelspec with this over the profile ``small``; its name."""
        return self.kernelspecs.write(name, config={"profile": "small", **config})

    def kernelspec_for(self, config: Mapping[str, Any]) -> str:
        """A new kernelspec with this over the profile ``small``; its name, which no other has."""
        return self.kernelspec(f"kernel-{uuid.uuid4().hex[:8]}", **config)

    def kubectl(self, *words: str) -> str:
        return self.cluster.kubectl("--namespace", self.namespace, *words)

    def api(self, verb: str, path: str, body: Mapping[str, Any]) -> str:
        """``kubectl create|replace --raw`` on a path below the namespace."""
        url = f"/api/v1/namespaces/{self.namespace}/{path}"
        return self.cluster.kubectl(verb, f"--raw={url}", "--filename=-", manifest=body)

    def pods(self) -> list[Pod]:
        """All runners' pods that nobody has asked to end, the oldest first."""
        words = ("--namespace", self.namespace, "get", "pods")
        found = self.cluster.kubectl_json(*words, "--selector=app.kubernetes.io/managed-by=gra")
        pods = [pod for pod in found["items"] if "deletionTimestamp" not in pod["metadata"]]
        return sorted(pods, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))

    def pod_of(self, kernel_name: str) -> Pod:
        """The pod with the kernel of this kernelspec, once it is there."""

        def found() -> list[Pod]:
            of = "gra.dev/kernel-name"
            return [p for p in self.pods() if p["metadata"]["annotations"].get(of) == kernel_name]

        return until(found, f"a pod of the kernel {kernel_name}", 60)[-1]

    def until_logged(self, pod: Pod, text: str) -> None:
        """Wait until the runner's log has the text: what a cell writes to descriptor 1."""
        name = pod["metadata"]["name"]
        until(lambda: text in self._logs(name), f"{text!r} in the log of {name}", 60)

    def _logs(self, name: str) -> str:
        with contextlib.suppress(AssertionError):
            return self.kubectl("logs", name)
        # It has not been started yet.
        return ""

    def agent(self, pod: Pod) -> psutil.Process:
        """The agent's process as this host sees it.  Skips the test on a cluster elsewhere."""
        (agent,) = [p for p in self._processes(pod) if _pid_inside(p) == 1]
        return agent

    def _processes(self, pod: Pod) -> list[psutil.Process]:
        # The parts are ours to ask for only where their containers run on this host.
        self.cluster.parts.names()
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                if process.environ().get("GRA_RUNNER_UID") == pod["metadata"]["uid"]:
                    found.append(process)
        return found

    def runner(self, name: str = "runner-1") -> dict[str, Any]:
        """``gra get``."""
        found: dict[str, Any] = gra_json("get", name)
        return found

    def until_reason(self, reason: str, name: str = "runner-1") -> dict[str, Any]:
        """``gra get``, once it gives this reason."""
        runner: dict[str, Any] = {}

        def found() -> bool:
            nonlocal runner
            runner = self.runner(name)
            return bool(runner["reason"] == reason)

        try:
            until(found, f"the reason {reason}", 60)
        except WaitTimeout as error:
            said = [pod["status"] for pod in self.pods() if pod["metadata"]["name"] == name]
            pytest.fail(f"{error}; gra said {runner}, Kubernetes {said}")
        return runner


def _pid_inside(process: psutil.Process) -> int:
    """The process's id in its own namespace (NSpid, proc_pid_status(5))."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
            if line.startswith("NSpid:"):
                return int(line.split()[-1])
    return 0


@contextmanager
def lab_on(cluster: Cluster, namespace: str, *, kubeconfig: Path | None = None) -> Iterator[Lab]:
    """Configure gra, in this process's environment, for runners in ``namespace``.

    Fails the test if it leaves a process or a thread.
    """
    root = Path(tempfile.mkdtemp(prefix="gra-"))
    places = Places(root)
    places.make()
    site = root / "site" / "gra"
    site.mkdir(parents=True)
    (site / "config.toml").write_text(_SITE.format(image=cluster.image("python")))
    cache = str(Layout.of_user().cache.parents[1])
    environment = {
        **places.environment(),
        "XDG_CACHE_HOME": cache,
        "JUPYTER_CONFIG_PATH": str(site.parent),
        "GRA_KUBECONFIG": str(kubeconfig or cluster.kubeconfig),
        "GRA_NAMESPACE": namespace,
    }
    specs = KernelSpecs(places.data, on_runners=True)
    lab = Lab(cluster, namespace, places, specs)
    lab.kernelspec("gra")
    children = {child.pid for child in live_children()}
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(_FOREIGN):
                patch.delenv(name)
        for name, value in environment.items():
            patch.setenv(name, value)
        try:
            yield lab
        finally:
            _leave_nothing(children)
            shutil.rmtree(root, ignore_errors=True)


def _leave_nothing(before: set[int]) -> None:
    def children() -> list[psutil.Process]:
        return [child for child in live_children() if child.pid not in before]

    def left() -> list[str]:
        threads = [f"thread {thread.name}" for thread in threads_named("gra-tunnel")]
        return [*threads, *map(describe, children())]

    try:
        until(lambda: not left(), "everything that the test started to be gone", _SETTLE)
    except WaitTimeout:
        found = left()
        kill_all(children())
        raise AssertionError("the test left behind:\n" + "\n".join(found)) from None


@contextmanager
def kernel_on(name: str = "gra") -> Iterator[StartedKernel]:
    """A kernel while the block runs."""
    kernel = StartedKernel.start(name)
    try:
        yield kernel
    finally:
        kernel.stop()


def begin(kernel: StartedKernel, code: str = WAITS) -> str:
    """Run a cell that prints ``going``, until it has; its id."""
    msg_id = kernel.client.execute(code)
    until_output(kernel.client, "going")
    return msg_id


@contextmanager
def gra_process(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """``gra`` with its stderr in a pipe, while the block runs; killed at its end."""
    process = subprocess.Popen(
        [*GRA, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        bufsize=0,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()


def counting(lines: int, pause: float) -> str:
    """A cell that prints ``going`` and then the numbers below ``lines``, ``pause`` s apart."""
    return f"""
import time
print('going', flush=True)
time.sleep(0.5)
for n in range({lines}): print(n); time.sleep({pause})
"""


def counted(lines: int) -> str:
    """What :func:`counting` prints after ``going``."""
    return "".join(f"{n}\n" for n in range(lines))


class Account:
    """A service account that may use runners, and the kubeconfig of somebody who has its token."""

    def __init__(self, lab: Lab, *, token_file: bool = False) -> None:
        self._lab = lab
        self._number = 0
        self._file = lab.places.home / "token"
        self.kubeconfig = lab.places.home / "kubeconfig"
        self._inline = not token_file
        lab.kubectl("create", "serviceaccount", "ana")
        words = ("--clusterrole=edit", f"--serviceaccount={lab.namespace}:ana")
        lab.kubectl("create", "rolebinding", "ana", *words)
        self._use(self._token())

    def _token(self) -> str:
        """A new token, which lives as long as the secret that it is bound to."""
        self._number += 1
        name = f"bound-{self._number}"
        self._lab.kubectl("create", "secret", "generic", name)
        bound = ("--bound-object-kind=Secret", f"--bound-object-name={name}")
        return self._lab.kubectl("create", "token", "ana", *bound).strip()

    def _use(self, token: str) -> None:
        _replace(self._file, token)
        user = {"token": token} if self._inline else {"tokenFile": str(self._file)}
        self._write(self.kubeconfig, user)

    def _write(self, path: Path, user: Mapping[str, str], server: str = "") -> None:
        config = json.loads(self._lab.cluster.kubectl("config", "view", "--raw", "--output=json"))
        config["users"] = [{"name": config["users"][0]["name"], "user": user}]
        if server:
            config["clusters"][0]["cluster"] = {"server": server}
        _replace(path, json.dumps(config))

    def kubeconfig_for(self, server: str) -> Path:
        """A kubeconfig for what asks the API server in this account's name."""
        path = self.kubeconfig.with_name("kubeconfig-other")
        self._write(path, {}, server)
        return path

    def revoke(self) -> None:
        """The token in use is good for nothing from now on."""
        self._lab.kubectl("delete", "secret", f"bound-{self._number}")

    def renew(self) -> None:
        """There is a new token where the old one was."""
        self._use(self._token())


def _replace(path: Path, text: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)
