"""From what a runner is to be (:class:`~gra_provisioner.runner.RunnerSpec`) to a pod.

Pure: plain data in, Kubernetes' JSON as plain dictionaries out.  The pod fits the Pod Security
Standard ``restricted``, but for a sidecar that mounts buckets of S3 (:mod:`.s3_sidecar`).  The
runner's container has the agent in it and nothing else: what the kernel is, its key and its
environment reach the agent through the tunnel, so that no secret stands in a pod.

Sources: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/ and
https://kubernetes.io/docs/concepts/security/pod-security-standards/.
"""

from __future__ import annotations

import base64
import math
import posixpath
from collections.abc import Mapping, Sequence
from typing import Any

from ...archive import archive_digest
from ...errors import ConfigError
from ...runner import RunnerLabels, RunnerSpec
from ...units import cpu_quantity, size_quantity
from .containers import AGENT_CONFIG_MAP
from .naming import (
    AGENT,
    GPU_RESOURCE,
    MANAGED_BY,
    PREFIX,
    START_TIMEOUT,
    runner_annotations,
    runner_labels,
)
from .podview import RUNNER as CONTAINER
from .podview import S3_SIDECAR, dig, mappings
from .s3_sidecar import S3Parts, s3_parts
from .strategic_merge import merge
from .workspace import workspace_volume

#: The port of the pod's 127.0.0.1 on which the agent listens.
AGENT_PORT = 7117
AGENT_KEY = "agent.pyz"
AGENT_FOLDER = "/opt/gra"
AGENT_PATH = f"{AGENT_FOLDER}/{AGENT_KEY}"
#: The agent's own directory: connection file, output that waits for a client.
AGENT_DIRECTORY = "/run/gra"
HOME = "/home/runner"
#: Where kernels start unless told otherwise.
WORK = "/workspace"

_LAST_WORD = "/dev/termination-log"
# The writable folders by the name of their volume.  A profile may put volumes of its own in the
# place of each but the agent's.
_WORK = "work"
_FOLDERS = {"tmp": "/tmp", "home": HOME, _WORK: WORK, "gra-run": AGENT_DIRECTORY}  # noqa: S108
_AGENT_VOLUME = "gra-agent"
_AGENTS_OWN = {_AGENT_VOLUME: AGENT_FOLDER, "gra-run": AGENT_DIRECTORY}
_AGENTS_ENV = frozenset({"GRA_RUNNER", "GRA_RUNNER_UID"})
# How much later than the agent Kubernetes ends a pod whose lifetime is over: the agent says why.
_DEADLINE_SLACK = 60.0
# https://github.com/kubernetes/kubernetes/blob/v1.34.0/pkg/apis/core/validation/validation.go
_LONGEST_DEADLINE = 2**31 - 1


def pod_manifest(name: str, spec: RunnerSpec, labels: RunnerLabels, agent: str) -> dict[str, Any]:
    """The pod of a runner.  ``agent`` is the name of the ConfigMap that has the agent's archive.

    Called by the backend for each name that it tries.

    Raises :class:`~gra_provisioner.errors.ConfigError` where the profile's patch or volumes take
    from the pod what gra needs in it.
    """
    pod: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": _metadata(name, spec, labels, agent),
        "spec": _pod_spec(name, spec, labels, agent),
    }
    if not spec.pod.patch:
        return pod
    source = f"profile {spec.profile!r}: pod.patch"
    patched = merge(pod, spec.pod.patch, source)
    _check_patched(pod, patched, source)
    return patched


def agent_name(digest: str) -> str:
    """The name of the ConfigMap with the agent's archive of this digest."""
    return f"{AGENT_CONFIG_MAP}{digest}"


def agent_config_map(archive: bytes) -> dict[str, Any]:
    """The ConfigMap with the agent's archive.  Its name says its content, so it never changes."""
    managed_by, gra = MANAGED_BY
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": agent_name(archive_digest(archive)), "labels": {managed_by: gra}},
        "immutable": True,
        "binaryData": {AGENT_KEY: base64.b64encode(archive).decode("ascii")},
    }


def _metadata(name: str, spec: RunnerSpec, labels: RunnerLabels, agent: str) -> dict[str, Any]:
    for kind, keys in (("labels", spec.pod.labels), ("annotations", spec.pod.annotations)):
        for key in filter(_is_own, keys):
            raise _refused(spec, f"{kind}.{key}", "is set by gra")
    gpu = {GPU_RESOURCE: spec.pod.gpu_resource} if spec.resources.gpu else {}
    return {
        "name": name,
        "labels": {**spec.pod.labels, **runner_labels(name, spec.profile, labels)},
        "annotations": {
            **spec.pod.annotations,
            **runner_annotations(labels),
            AGENT: agent,
            START_TIMEOUT: _seconds(spec.start_timeout),
            **gpu,
        },
    }


def _pod_spec(name: str, spec: RunnerSpec, labels: RunnerLabels, agent: str) -> dict[str, Any]:
    options = spec.pod
    volumes, mounts = _volumes(spec, labels, agent)
    s3 = s3_parts(spec, AGENT_PATH, mounts[0])
    security: dict[str, Any] = {
        "runAsNonRoot": True,
        "runAsUser": options.user,
        "runAsGroup": options.group,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    if options.fs_group is not None:
        security["fsGroup"] = options.fs_group
    elif spec.workspace.keep:
        # What makes volumes makes them root's, as a rule.
        security["fsGroup"] = options.group
        security["fsGroupChangePolicy"] = "OnRootMismatch"
    deadline = None
    if spec.ttl.lifetime is not None:
        latest = spec.ttl.lifetime + spec.start_timeout + _DEADLINE_SLACK
        deadline = min(math.ceil(latest), _LONGEST_DEADLINE)
    return {
        "restartPolicy": "Never",
        "hostname": name,
        "automountServiceAccountToken": options.service_account_token,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": math.ceil(options.termination_grace),
        "securityContext": security,
        "containers": [_container(name, spec, mounts, s3)],
        "volumes": volumes + s3.volumes,
        **_present(
            initContainers=s3.init_containers,
            activeDeadlineSeconds=deadline,
            serviceAccountName=options.service_account,
            imagePullSecrets=[{"name": secret} for secret in options.image_pull_secrets],
            nodeSelector=dict(options.node_selector),
            tolerations=_plain(options.tolerations),
            affinity=_plain(options.affinity),
            topologySpreadConstraints=_plain(options.topology_spread),
            priorityClassName=options.priority_class,
            runtimeClassName=options.runtime_class,
            schedulerName=options.scheduler_name,
        ),
    }


def _container(
    name: str, spec: RunnerSpec, mounts: list[dict[str, Any]], s3: S3Parts
) -> dict[str, Any]:
    return {
        "name": CONTAINER,
        "image": spec.image,
        "command": [spec.pod.python, "-I", "-S", AGENT_PATH],
        "args": _agent_arguments(spec) + s3.arguments,
        # The agent's own folder is that of every process for which none is named.
        "workingDir": WORK,
        "env": _environment(name, spec, s3.env),
        "resources": _resources(spec),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "terminationMessagePath": _LAST_WORD,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": mounts + s3.mounts,
        **_present(imagePullPolicy=spec.pod.image_pull_policy, envFrom=_plain(spec.pod.env_from)),
    }


def _agent_arguments(spec: RunnerSpec) -> list[str]:
    """What :mod:`gra_provisioner.agent.main` takes."""
    options = {
        "--directory": AGENT_DIRECTORY,
        "--port": str(AGENT_PORT),
        # Kubernetes puts the variable's value there.
        "--uid": "$(GRA_RUNNER_UID)",
        "--scope": "cgroup",
        "--orphan-ttl": _seconds(spec.ttl.orphan),
        "--idle-ttl": _seconds(spec.ttl.idle),
        "--lifetime": _seconds(spec.ttl.lifetime),
        "--memory": str(spec.buffers.memory),
        "--spill": str(spec.buffers.spill),
        "--last-word": _LAST_WORD,
    }
    return [word for option in options.items() for word in option]


def _environment(name: str, spec: RunnerSpec, s3: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The agent's variables and those of ``pod.env``; never ``env``, which the tunnel carries.

    ``s3`` are those by which Python finds buckets.
    """
    own: list[dict[str, Any]] = [
        {
            "name": "GRA_RUNNER_UID",
            "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.uid"}},
        },
        {"name": "GRA_RUNNER", "value": name},
        {"name": "HOME", "value": HOME},
        *s3,
    ]
    for index, variable in enumerate(spec.pod.env):
        if variable.get("name") in _AGENTS_ENV:
            raise _refused(spec, f"env[{index}]", f"{variable['name']} is set by gra")
    theirs = {variable["name"] for variable in spec.pod.env}
    return [*(entry for entry in own if entry["name"] not in theirs), *_plain(spec.pod.env)]


def _resources(spec: RunnerSpec) -> dict[str, Any]:
    limits, requests = spec.resources, spec.pod.requests
    cpu = limits.cpu if requests.cpu is None else requests.cpu
    memory = limits.memory if requests.memory is None else requests.memory
    storage = requests.ephemeral_storage
    # Kubernetes itself takes no request for more or less of these than the limit.
    extended = {spec.pod.gpu_resource: str(limits.gpu)} if limits.gpu else {}
    return {
        "limits": {
            "cpu": cpu_quantity(limits.cpu),
            "memory": size_quantity(limits.memory),
            "ephemeral-storage": size_quantity(limits.ephemeral_storage),
            **extended,
        },
        "requests": {
            "cpu": cpu_quantity(cpu),
            "memory": size_quantity(memory),
            "ephemeral-storage": size_quantity(
                limits.ephemeral_storage if storage is None else storage
            ),
            **extended,
        },
    }


def _volumes(
    spec: RunnerSpec, labels: RunnerLabels, agent: str
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The pod's volumes and where they are mounted: the profile's, and ours where it has none.

    The first mount is the agent's.
    """
    _check_volumes(spec)
    theirs = {volume["name"] for volume in spec.pod.volumes}
    taken = {posixpath.normpath(mount["mountPath"]) for mount in spec.pod.volume_mounts}
    mounts: list[dict[str, Any]] = [
        {"name": _AGENT_VOLUME, "mountPath": AGENT_FOLDER, "readOnly": True}
    ]
    mounts += [{"name": n, "mountPath": path} for n, path in _FOLDERS.items() if path not in taken]
    volumes: list[dict[str, Any]] = [{"name": _AGENT_VOLUME, "configMap": {"name": agent}}]
    volumes += [
        # A size limit would only be a second one: what is in it counts as ephemeral storage.
        {
            "name": mount["name"],
            **(
                workspace_volume(spec.workspace, labels.owner)
                if mount["name"] == _WORK
                else {"emptyDir": {}}
            ),
        }
        for mount in mounts[1:]
        if mount["name"] not in theirs
    ]
    return volumes + _plain(spec.pod.volumes), mounts + _plain(spec.pod.volume_mounts)


def _check_volumes(spec: RunnerSpec) -> None:
    for index, volume in enumerate(spec.pod.volumes):
        if volume["name"] in _AGENTS_OWN:
            raise _refused(spec, f"volumes[{index}]", f'the name "{volume["name"]}" is gra\'s own')
        if volume["name"] == _WORK and _has_workspace(spec):
            raise _refused(spec, f"volumes[{index}]", 'workspace says what "work" is')
    for index, mount in enumerate(spec.pod.volume_mounts):
        path = posixpath.normpath(mount["mountPath"])
        if path == WORK and _has_workspace(spec):
            raise _refused(spec, f"volume_mounts[{index}]", f"workspace says what is at {WORK}")
        for own in _AGENTS_OWN.values():
            if f"{path}/".startswith(f"{own}/"):
                rule = f'the mountPath "{path}" is in {own}, which is the agent\'s own'
                raise _refused(spec, f"volume_mounts[{index}]", rule)


def _has_workspace(spec: RunnerSpec) -> bool:
    """Whether the profile says something of the workspace."""
    return spec.workspace.keep or spec.workspace.size is not None


def _check_patched(pod: Mapping[str, Any], patched: Mapping[str, Any], source: str) -> None:
    """Refuse a patch that makes another thing of the pod than a runner of gra."""
    paths: list[tuple[str, ...]] = [("apiVersion",), ("kind",)]
    paths += [("metadata", name) for name in ("name", "namespace", "generateName")]
    paths += [
        ("metadata", kind, key)
        for kind in ("labels", "annotations")
        for key in filter(_is_own, pod["metadata"][kind])
    ]
    for path in paths:
        if dig(patched, *path) != dig(pod, *path):
            raise _not_patchable(source, ".".join(path))
    names = [container.get("name") for container in mappings(patched, "spec", "containers")]
    if CONTAINER not in names:
        raise _not_patchable(source, f'spec.containers (the container "{CONTAINER}")')
    for container in mappings(pod, "spec", "initContainers"):
        names = [each.get("name") for each in mappings(patched, "spec", "initContainers")]
        if container["name"] not in names:
            raise _not_patchable(source, f'spec.initContainers (the container "{S3_SIDECAR}")')


def _is_own(key: str) -> bool:
    """Whether this label or annotation is for gra alone to set."""
    return key == MANAGED_BY[0] or key.startswith(PREFIX)


def _not_patchable(source: str, field: str) -> ConfigError:
    return ConfigError(
        f"{source}.{field}: must stay as gra made it",
        hint="Take it out of the patch: gra finds its runners by it.",
        details={"field": f"pod.patch.{field}"},
    )


def _refused(spec: RunnerSpec, field: str, rule: str) -> ConfigError:
    return ConfigError(
        f"profile {spec.profile!r}: pod.{field}: {rule}",
        hint="Use another name or place.",
        details={"field": f"pod.{field}"},
    )


def _present(**fields: Any) -> dict[str, Any]:
    """The fields that say something: neither ``None`` nor empty."""
    return {name: value for name, value in fields.items() if value not in (None, [], {})}


def _plain(value: Any) -> Any:
    """A copy of JSON data with lists for tuples and dictionaries for mappings."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(inner) for inner in value]
    return value


def _seconds(duration: float | None) -> str:
    """A duration as the agent's command line and the annotations have it."""
    if duration is None:
        return "never"
    return str(int(duration)) if duration == int(duration) else repr(duration)
