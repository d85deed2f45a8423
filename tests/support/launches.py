"""What the tests of launches share: a place to launch from, and a second look at the cluster."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import KernelManager
from kubernetes import config, watch
from kubernetes.client import ApiClient, ApiException, CoreV1Api
from urllib3.exceptions import HTTPError

# Imported before the first launch: it takes longer than what is measured.
import gra_provisioner.backends.kubernetes.backend  # noqa: F401
from gra_provisioner.errors import GraError
from tests.support.cluster import Cluster
from tests.support.kernels import StartedKernel
from tests.support.kernelspecs import IPYKERNEL_ARGV, KernelSpecs
from tests.support.places import Places

# How long after Kubernetes itself knows a user may wait for the reason: 3 s, and half as much again
# where other tests have the processors too.
PROMPT = 4.5
# The user's own settings would have a say in the launch.
_FOREIGN = ("GRA_", "JUPYTER_", "JPY_", "KUBE", "RUNNER_", "AWS_")
# Of one node with two CPUs, little is asked for.
_CONFIG = """
backend = "kubernetes"
[profiles.small]
image = {image}
start_timeout = "60s"
[profiles.small.pod]
requests = {{cpu = "10m", memory = "32Mi", ephemeral_storage = "1Mi"}}
"""


class Witness:
    """Watches pods by another way than gra, and says when Kubernetes first said something.

    Used as a context manager.
    """

    def __init__(self, api: CoreV1Api) -> None:
        self._api = api
        # (namespace, sentence) and when it was first seen.
        self._seen: dict[tuple[str, str], float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="witness")

    def __enter__(self) -> Witness:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _follow(self) -> None:
        watching = watch.Watch()
        while not self._stop.is_set():
            if not self._watched(watching):
                # Between two of these tests another may have had the API server down.
                watching = watch.Watch()
                time.sleep(0.2)

    def _watched(self, watching: watch.Watch) -> bool:
        """Look on for a second; whether the next can go on from there."""
        try:
            events = watching.stream(
                self._api.list_pod_for_all_namespaces,
                label_selector="app.kubernetes.io/managed-by=gra",
                resource_version=watching.resource_version,
                timeout_seconds=1,
            )
            for event in events:
                self._take(event["raw_object"])
        except (ApiException, HTTPError):
            return False
        return True

    def _take(self, pod: Mapping[str, Any]) -> None:
        namespace = pod["metadata"]["namespace"]
        for sentence in _sentences(pod["status"]):
            self._seen.setdefault((namespace, sentence), time.time())

    def known(self, namespace: str, text: str) -> list[float]:
        """When Kubernetes said, of this namespace, what ``text`` quotes.

        An event's name ends with the time of its making in nanoseconds
        (``k8s.io/client-go/tools/record``), a repeated one has the second of the last time too.
        """
        text = _plain(text)
        moments = [
            moment
            for (where, sentence), moment in list(self._seen.items())
            if where == namespace and sentence in text
        ]
        answer = self._api.list_namespaced_event(namespace, _preload_content=False)
        for event in json.loads(answer.data)["items"]:
            sentence = _plain(event.get("message") or "")
            if sentence and sentence in text:
                moments.append(int(event["metadata"]["name"].rpartition(".")[2], 16) / 1e9)
        return moments


def _plain(text: str) -> str:
    return " ".join(text.split()).rstrip(".")


def _sentences(status: Any) -> Iterator[str]:
    """All texts that a pod's status has under the name ``message``."""
    if isinstance(status, dict):
        for key, value in status.items():
            if key == "message" and isinstance(value, str) and value.strip():
                yield _plain(value)
            yield from _sentences(value)
    elif isinstance(status, list):
        for item in status:
            yield from _sentences(item)


class Failure:
    """A launch that failed, as its user sees it.  Moments are seconds since the epoch."""

    def __init__(self, error: GraError, begun: float, ended: float) -> None:
        self.error = error
        self.begun = begun
        self.ended = ended

    @property
    def text(self) -> str:
        """Message and hint: what a client shows."""
        return str(self.error)

    @property
    def reason(self) -> str:
        """The error's reason, or that of the runner's end where the error tells of one."""
        return str(self.error.details.get("reason", self.error.code))

    def says(self, *words: str) -> None:
        """Each of the words is in message or hint."""
        for word in words:
            assert word in self.text, f"{word!r} is not in:\n{self.text}"

    def phases(self) -> list[str]:
        return [phase["phase"] for phase in self.error.details["phases"]]


class Site:
    """Launches runners into one namespace, with folders and settings of its own."""

    def __init__(
        self, cluster: Cluster, namespace: str, places: Places, witness: Witness, api: CoreV1Api
    ) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.places = places
        self._specs = KernelSpecs(places.data, on_runners=True)
        self._witness = witness
        self._api = api
        self._count = 0

    def configure(self, **profiles: Mapping[str, Any]) -> None:
        """Write the configuration, with these profiles on top of ``small``."""
        text = _CONFIG.format(image=json.dumps(self.cluster.image("python")))
        for name, settings in profiles.items():
            text += f'[profiles.{name}]\nextends = "small"\n'
            text += "".join(f"{key} = {_toml(value)}\n" for key, value in settings.items())
        self.places.write_profiles(text)

    def kernelspec(
        self, config: Mapping[str, Any], kernel_argv: Sequence[str] = IPYKERNEL_ARGV
    ) -> str:
        """A kernelspec whose runners have these settings; its name."""
        self._count += 1
        return self._specs.write(f"kernel-{self._count}", config=config, kernel_argv=kernel_argv)

    def fails(
        self, reason: str, kernel_argv: Sequence[str] = IPYKERNEL_ARGV, **config: Any
    ) -> Failure:
        """Start a kernel that cannot be started, with these settings of its runner.

        Checks that the error has the reason and a hint, and that nothing is left of the launch.
        """
        name = self.kernelspec(config, kernel_argv)
        before = self._objects()
        manager = KernelManager(kernel_name=name)
        begun = time.time()
        with pytest.raises(GraError) as raised:
            manager.start_kernel()
        failure = Failure(raised.value, begun, time.time())
        assert failure.reason == reason, f"{failure.reason}: {failure.text}"
        assert failure.error.hint
        assert not manager.has_kernel
        assert self._objects() - before == set()
        return failure

    def fails_promptly(
        self, reason: str, kernel_argv: Sequence[str] = IPYKERNEL_ARGV, **config: Any
    ) -> Failure:
        """The same, where Kubernetes says why: in its own words, and as soon as it knows."""
        failure = self.fails(reason, kernel_argv, **config)
        known = self._witness.known(self.namespace, failure.error.message)
        # What Kubernetes had said of a claim before the launch, it did not say of the launch.
        moments = [moment for moment in known if moment >= failure.begun]
        assert moments, f"Kubernetes has said nothing of the kind:\n{failure.text}"
        late = failure.ended - min(moments)
        assert late <= PROMPT, f"{late:.1f} s after Kubernetes knew: {failure.text}"
        return failure

    def refused(self, reason: str, **config: Any) -> Failure:
        """The same, where the API server says no to the request: it knows when it is asked."""
        failure = self.fails(reason, **config)
        late = failure.ended - failure.begun
        assert late <= PROMPT, f"{late:.1f} s after the launch began: {failure.text}"
        return failure

    def runs(self, **config: Any) -> None:
        """A kernel with these settings starts and works."""
        kernel = StartedKernel.start(self.kernelspec(config))
        try:
            assert kernel.run("print(6 * 7)").text == "42\n"
        finally:
            kernel.stop()

    def create(self, kind: str, *words: str) -> None:
        """``kubectl create`` in the namespace."""
        self.cluster.kubectl("--namespace", self.namespace, "create", kind, *words)

    def apply(self, kind: str, name: str, spec: Mapping[str, Any], version: str = "v1") -> None:
        """Create an object from its ``spec``."""
        manifest = {
            "apiVersion": version,
            "kind": kind,
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": spec,
        }
        self.cluster.kubectl("create", "--filename=-", manifest=manifest)

    def _objects(self) -> set[tuple[str, str]]:
        """What is in the namespace and stays: kinds and names.

        The agent's ConfigMap is for all runners to come.
        """
        found = set()
        for kind, listed in {
            "pod": self._api.list_namespaced_pod,
            "configmap": self._api.list_namespaced_config_map,
            "secret": self._api.list_namespaced_secret,
            "claim": self._api.list_namespaced_persistent_volume_claim,
        }.items():
            answer = listed(self.namespace, _preload_content=False)
            for item in json.loads(answer.data)["items"]:
                meta = item["metadata"]
                agent = kind == "configmap" and meta["name"].startswith("gra-agent-")
                if "deletionTimestamp" not in meta and not agent:
                    found.add((kind, meta["name"]))
        return found


def admin_api(cluster: Cluster) -> CoreV1Api:
    """The API by the official client."""
    client: ApiClient = config.new_client_from_config(str(cluster.kubeconfig))
    return CoreV1Api(client)


@contextmanager
def watching(cluster: Cluster) -> Iterator[Witness]:
    """A witness of all that happens while the block runs."""
    api = admin_api(cluster)
    with Witness(api) as witness:
        yield witness
    api.api_client.close()


@contextmanager
def launching(
    cluster: Cluster, namespace: str, witness: Witness, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Site]:
    """A site of the test's own, set in the environment, while the block runs."""
    root = Path(tempfile.mkdtemp(prefix="gra-"))
    places = Places(root)
    places.make()
    cache = os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))
    for name in list(os.environ):
        if name.startswith(_FOREIGN):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", cache)
    for name, value in places.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("GRA_KUBECONFIG", str(cluster.kubeconfig))
    monkeypatch.setenv("GRA_NAMESPACE", namespace)
    api = admin_api(cluster)
    site = Site(cluster, namespace, places, witness, api)
    site.configure()
    try:
        yield site
    finally:
        api.api_client.close()
        shutil.rmtree(root)


def kubeconfig(cluster: Cluster, path: Path, /, **changes: Mapping[str, Any]) -> Path:
    """The administrator's kubeconfig with another ``cluster``, ``user`` or ``context`` in it."""
    words = ("config", "view", "--raw", "--minify", "--flatten")
    content = cluster.kubectl_json(*words)
    for section in ("cluster", "user", "context"):
        (entry,) = content[f"{section}s"]
        entry[section].update(changes.get(section, {}))
    path.touch(mode=0o600)
    path.write_text(json.dumps(content))
    return path


def limited_user(site: Site, *rules: str) -> Path:
    """The kubeconfig of a service account that may do no more than what ``rules`` say.

    A rule is "verb,verb resource,resource" in the core API group.
    """
    site.create("serviceaccount", "limited")
    account = f"{site.namespace}:limited"
    for number, rule in enumerate(rules):
        verbs, resources = rule.split()
        site.create("role", f"may-{number}", f"--verb={verbs}", f"--resource={resources}")
        words = (f"--role=may-{number}", f"--serviceaccount={account}")
        site.create("rolebinding", f"may-{number}", *words)
    token = site.cluster.kubectl("--namespace", site.namespace, "create", "token", "limited")
    return kubeconfig_of(site, {"token": token.strip()})


def kubeconfig_of(site: Site, user: Mapping[str, Any]) -> Path:
    """The kubeconfig of somebody else."""
    path = kubeconfig(site.cluster, site.places.root / "other.conf")
    content = json.loads(path.read_text())
    content["users"][0]["user"] = dict(user)
    path.write_text(json.dumps(content))
    return path


def _toml(value: Any) -> str:
    """A value as TOML has it, on one line."""
    if isinstance(value, Mapping):
        return (
            "{"
            + ", ".join(f"{json.dumps(key)} = {_toml(inner)}" for key, inner in value.items())
            + "}"
        )
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value)
