"""The runners of a test as pods: what the cluster says of them, and a bad network before it."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import pytest

from gra_provisioner.backends.kubernetes.backend import KubernetesBackend
from gra_provisioner.backends.kubernetes.kubeconfig import Target
from gra_provisioner.schema import PRESETS
from tests.support.cluster import Cluster
from tests.support.cutter import AddressCutter, Cutter, working
from tests.support.places import Places
from tests.support.processes import describe, kill_all, processes_of
from tests.support.runners import Dial, Runners

_CONTAINER = "runner"
# How much later than a container's start or end the kubelet may write it into the pod's status.
_STATUS_LAG = 10.0
_SELECTOR = "app.kubernetes.io/managed-by=gra"

# Many runners at once are to find room on a small node.
_PROFILE = """
[profiles.{name}]
image = {image}
start_timeout = "60s"
[profiles.{name}.pod]
image_pull_policy = "IfNotPresent"
requests = {{cpu = "10m", memory = "32Mi", ephemeral_storage = "1Mi"}}
"""

# A process that has ended stays as a zombie until its parent has asked for it.
_IS_RUNNING = 'if grep -q "^State:.[^Z]" "/proc/$1/status" 2>/dev/null; then echo yes; fi'

_COMMANDS = """
for file in /proc/[0-9]*/cmdline; do
    tr '\\0\\n' '  ' 2>/dev/null < "$file" && echo
done
true
"""


class PodRunners(Runners):
    """Pods in a namespace of a cluster."""

    backend = "kubernetes"
    home = PurePosixPath("/workspace")
    # A tunnel and the watch.
    diallers = 2

    def __init__(self, places: Places, cluster: Cluster, namespace: str) -> None:
        super().__init__(places)
        self.namespace = namespace
        self._cluster = cluster

    def environment(self) -> dict[str, str]:
        profiles = (
            _PROFILE.format(name=name, image=json.dumps(self._cluster.image("python")))
            for name in PRESETS.profiles
        )
        site = self.places.root / "site"
        site.joinpath("gra").mkdir(parents=True)
        site.joinpath("gra", "config.toml").write_text(
            'backend = "kubernetes"\n'
            "[kubernetes]\n"
            f"kubeconfig = {json.dumps(str(self._cluster.kubeconfig))}\n"
            f"namespace = {json.dumps(self.namespace)}\n" + "".join(profiles)
        )
        return {"JUPYTER_CONFIG_PATH": str(site)}

    # -- what there is ----------------------------------------------------------------------

    def uids(self) -> dict[str, str]:
        return {
            pod["metadata"]["name"]: pod["metadata"]["uid"]
            for pod in self._pods()
            if "deletionTimestamp" not in pod["metadata"]
        }

    def leftovers(self) -> list[str]:
        return [
            *(_described(pod) for pod in self._pods()),
            *(describe(process) for process in processes_of(self.places.root)),
        ]

    def end(self) -> None:
        kill_all(processes_of(self.places.root))
        self._kubectl("delete", "pods", "--all", "--force", "--grace-period=0")

    def stored(self) -> str:
        return self._kubectl("get", "pods,configmaps,events", "--output=json")

    def log(self) -> str:
        return self._kubectl("logs", self.only(), f"--container={_CONTAINER}")

    def _pods(self) -> list[dict[str, Any]]:
        listed = self._kubectl("get", "pods", f"--selector={_SELECTOR}", "--output=json")
        pods: list[dict[str, Any]] = json.loads(listed)["items"]
        return pods

    def _kubectl(self, *words: str) -> str:
        return self._cluster.kubectl("--namespace", self.namespace, *words)

    def delete_outside_gra(self, name: str) -> None:
        """Have a pod deleted by somebody who does not know gra."""
        self._kubectl("delete", "pod", name, "--wait=false")

    # -- inside of one ----------------------------------------------------------------------

    @property
    def agent_pid(self) -> int:
        return 1

    def shell(self, script: str, *arguments: object) -> str:
        return self._kubectl(
            *("exec", self.only(), f"--container={_CONTAINER}"),
            *("--", "sh", "-c", script, "sh", *map(str, arguments)),
        )

    def kill(self, pid: int, signum: int = signal.SIGKILL) -> None:
        self.shell('kill -"$1" "$2"', int(signum), pid)

    def has(self, pid: int) -> bool:
        return self._shell_where_one_runs(_IS_RUNNING, pid) == "yes\n"

    def commands(self) -> list[str]:
        return self._shell_where_one_runs(_COMMANDS).splitlines()

    def _shell_where_one_runs(self, script: str, *arguments: object) -> str:
        """As :meth:`shell`; nothing where no runner runs, be it that it ended meanwhile."""
        deadline = time.monotonic() + _STATUS_LAG
        while self._may_run():
            try:
                return self.shell(script, *arguments)
            except AssertionError:  # noqa: PERF203
                if time.monotonic() >= deadline:
                    raise
        return ""

    def _may_run(self) -> bool:
        """Whether a pod's status, which is always a little late, does not say that it has ended."""
        return any(
            pod["status"]["phase"] in ("Pending", "Running")
            and "deletionTimestamp" not in pod["metadata"]
            for pod in self._pods()
        )

    # -- the way to one ---------------------------------------------------------------------

    @contextmanager
    def bad_network(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Cutter]]:
        """Before the API server, with which the runners of this process share it."""
        config = json.loads(
            self._cluster.kubectl("config", "view", "--raw", "--minify", "--flatten", "-o=json")
        )
        (cluster,) = (named["cluster"] for named in config["clusters"])
        server = urlsplit(cluster["server"])
        assert server.hostname is not None
        network = AddressCutter(server.hostname, server.port or 443)
        with working(network), monkeypatch.context() as patch:
            # The name in the certificate stays that of the server.
            cluster.setdefault("tls-server-name", server.hostname)
            cluster["server"] = f"https://127.0.0.1:{network.port}{server.path}"
            kubeconfig = self.places.root / "behind-the-network.json"
            kubeconfig.touch(mode=0o600)
            kubeconfig.write_text(json.dumps(config))
            patch.setenv("GRA_KUBECONFIG", str(kubeconfig))
            yield [network]

    @asynccontextmanager
    async def dialling(self, name: str) -> AsyncIterator[Dial]:
        target = Target(namespace=self.namespace, kubeconfig=str(self._cluster.kubeconfig))
        backend = KubernetesBackend(target, {"HOME": str(Path.home())})
        try:
            runner = await backend.get(name)
            yield partial(backend.dial, runner)
        finally:
            await backend.close()


def _described(pod: Mapping[str, Any]) -> str:
    deleted = pod["metadata"].get("deletionTimestamp")
    ending = f", being deleted, at the latest at {deleted}" if deleted else ""
    return f"pod {pod['metadata']['name']}: {pod['status']['phase']}{ending}"
