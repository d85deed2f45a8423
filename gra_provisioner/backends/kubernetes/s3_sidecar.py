"""What buckets of S3 add to a runner's pod.  Pure.

By ``s3fs`` it is a native sidecar (https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/),
the agent's own archive run as ``s3-sidecar``, and for each bucket an empty folder in the kernel's
container into whose place the sidecar moves the mount.  No mount is shared with the node
(``mountPropagation``), and the kernel's container is as restricted as without it.  The folders are
read-only, so that nothing can be written to where no bucket is.

By ``volume`` it is one of Kubernetes' own, by ``fsspec`` a few variables.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...errors import ConfigError
from ...runner import RunnerSpec, S3Mount
from ...s3_mounts import fsspec_variables, mount_documents, mounted
from ...units import cpu_quantity, size_quantity
from .podview import S3_SIDECAR as SIDECAR

#: Where agent and sidecar meet.
SOCKET_FOLDER = "/run/gra-s3"
SOCKET = f"{SOCKET_FOLDER}/mounter.sock"
#: What the sidecar mounts, as JSON.  It takes nothing else from anybody.
MOUNTS_VARIABLE = "GRA_S3_MOUNTS"
#: Where the sidecar finds the Secrets, each in a folder that has its mount's id as its name.
SECRETS_FOLDER = "/run/secrets/gra"
#: Where the sidecar, or for fsspec the kernel, finds certificates of ConfigMaps.
CA_FOLDER = "/run/gra-s3-ca"
#: Where s3fs keeps what it reads and has yet to write.
CACHE_FOLDER = "/var/cache/gra-s3"

_CACHE = f"{SIDECAR}-cache"
_CA_FILE = "ca.crt"
_SECRET_FILES = ("access_key", "secret_key", "session_token")
_VARIABLES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_OTHER_WAYS = (
    'Of the other two ways, via = "volume" is a claim or a CSI driver of the cluster, and '
    'via = "fsspec" mounts nothing: Python reads s3:// itself.'
)
# What the scheduler keeps free.  The limit is a bound on what s3fs may do, and rarely reached.
_REQUEST_CPU = 0.05
_REQUEST_MEMORY = 128 * 2**20
# It writes nothing but its log, and files in memory; some quotas demand that a pod names it.
_DISK = 64 * 2**20
_SOCKET_SIZE = 2**20


@dataclass
class S3Parts:
    """What is added: to the pod, and to the container with the agent in it."""

    init_containers: list[dict[str, Any]] = field(default_factory=list)
    volumes: list[dict[str, Any]] = field(default_factory=list)
    mounts: list[dict[str, Any]] = field(default_factory=list)
    env: list[dict[str, Any]] = field(default_factory=list)
    arguments: list[str] = field(default_factory=list)


def s3_parts(spec: RunnerSpec, agent_path: str, agent_mount: Mapping[str, Any]) -> S3Parts:
    """What the buckets of a spec add to its pod.

    ``agent_mount`` is the mount of the volume with the agent's archive, which is at ``agent_path``.

    Raises :class:`~gra_provisioner.errors.ConfigError` where the profile does not allow what they
    need, or has something else in their places.
    """
    parts = S3Parts()
    if not spec.s3:
        return parts
    _check_places(spec)
    for index, mount in enumerate(spec.s3):
        if mount.via == "volume":
            _add_volume(parts, index, mount)
    _add_fsspec(parts, spec)
    if mounted(spec.s3):
        _check_allowed(spec)
        _add_sidecar(parts, spec, agent_path, agent_mount)
    return parts


def _add_volume(parts: S3Parts, index: int, mount: S3Mount) -> None:
    name = f"{SIDECAR}-{index}"
    parts.volumes.append({"name": name, **_plain(mount.volume)})
    place: dict[str, Any] = {"name": name, "mountPath": mount.path}
    if mount.read_only:
        place["readOnly"] = True
    if mount.prefix:
        place["subPath"] = mount.prefix
    parts.mounts.append(place)


def _add_fsspec(parts: S3Parts, spec: RunnerSpec) -> None:
    """Variables for Python: all but the client's own credentials, which the tunnel carries."""
    found = next(((i, mount) for i, mount in enumerate(spec.s3) if mount.via == "fsspec"), None)
    if found is None:
        return
    index, mount = found
    if mount.ca_config_map:
        volume, place = _certificates(index, mount)
        parts.volumes.append(volume)
        parts.mounts.append(place)
    variables = fsspec_variables(spec.s3, _ca_path(index, mount))
    parts.env += [{"name": name, "value": _literal(text)} for name, text in variables.items()]
    wanted = mount.credentials
    if wanted.source != "secret":
        return
    keys = (wanted.access_key, wanted.secret_key, wanted.session_token)
    for variable, key in zip(_VARIABLES, keys, strict=True):
        reference: dict[str, Any] = {"name": wanted.name, "key": key}
        if variable == _VARIABLES[-1]:
            reference["optional"] = True
        parts.env.append({"name": variable, "valueFrom": {"secretKeyRef": reference}})


def _add_sidecar(
    parts: S3Parts, spec: RunnerSpec, agent_path: str, agent_mount: Mapping[str, Any]
) -> None:
    sidecar = spec.s3_sidecar
    memory = {"medium": "Memory"}
    parts.volumes += [
        {"name": SIDECAR, "emptyDir": {**memory, "sizeLimit": size_quantity(_SOCKET_SIZE)}},
        {"name": _CACHE, "emptyDir": {**memory, "sizeLimit": size_quantity(sidecar.cache)}},
    ]
    places = [
        dict(agent_mount),
        {"name": SIDECAR, "mountPath": SOCKET_FOLDER},
        {"name": _CACHE, "mountPath": CACHE_FOLDER},
    ]
    parts.mounts.append({"name": SIDECAR, "mountPath": SOCKET_FOLDER, "readOnly": True})
    parts.arguments += ["--s3-socket", SOCKET]
    for index, mount in mounted(spec.s3):
        # Nothing can ever be written into it: what is seen there is the bucket or nothing.
        parts.volumes.append({"name": f"{SIDECAR}-{index}", "emptyDir": {}})
        parts.mounts.append(
            {"name": f"{SIDECAR}-{index}", "mountPath": mount.path, "readOnly": True}
        )
        if mount.credentials.source == "secret":
            volume, place = _secret(index, mount)
            parts.volumes.append(volume)
            places.append(place)
        if mount.ca_config_map:
            volume, place = _certificates(index, mount)
            parts.volumes.append(volume)
            places.append(place)
    parts.init_containers.append(_container(spec, agent_path, places))


def _container(spec: RunnerSpec, agent_path: str, places: list[dict[str, Any]]) -> dict[str, Any]:
    sidecar = spec.s3_sidecar
    told = mount_documents(spec.s3, spec.pod.user, spec.pod.group, _ca_path)
    container: dict[str, Any] = {
        "name": SIDECAR,
        "image": sidecar.image,
        # Started before the runner's container, ended after it, started again when it ends.
        "restartPolicy": "Always",
        "command": ["python3", "-I", "-S", agent_path, "s3-sidecar"],
        "args": _sidecar_arguments(spec),
        "env": [{"name": MOUNTS_VARIABLE, "value": _literal(json.dumps(told))}],
        "resources": {
            "limits": {
                "cpu": cpu_quantity(sidecar.cpu),
                "memory": size_quantity(sidecar.memory),
                "ephemeral-storage": size_quantity(_DISK),
            },
            "requests": {
                "cpu": cpu_quantity(min(sidecar.cpu, _REQUEST_CPU)),
                "memory": size_quantity(min(sidecar.memory, _REQUEST_MEMORY)),
                "ephemeral-storage": size_quantity(_DISK),
            },
        },
        "securityContext": {
            # Only root with all capabilities may mount, and enter another mount namespace.
            "privileged": True,
            "runAsUser": 0,
            "runAsGroup": 0,
            "runAsNonRoot": False,
            "readOnlyRootFilesystem": True,
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": places,
    }
    if spec.pod.image_pull_policy is not None:
        container["imagePullPolicy"] = spec.pod.image_pull_policy
    return container


def _sidecar_arguments(spec: RunnerSpec) -> list[str]:
    """What :mod:`gra_provisioner.agent.s3.sidecar` takes."""
    options = {
        "--socket": SOCKET,
        "--user": str(spec.pod.user),
        "--secrets": SECRETS_FOLDER,
        "--cache": CACHE_FOLDER,
        "--cache-size": str(spec.s3_sidecar.cache),
        # For what is yet to be written: no longer than Kubernetes waits.
        "--grace": f"{spec.pod.termination_grace:g}",
    }
    return [word for option in options.items() for word in option]


def _secret(index: int, mount: S3Mount) -> tuple[dict[str, Any], dict[str, Any]]:
    """The keys of a Secret as files, for the sidecar only.  The token may be missing."""
    name, wanted = f"{SIDECAR}-secret-{index}", mount.credentials
    access, secret, token = (
        {"key": key, "path": file}
        for key, file in zip(
            (wanted.access_key, wanted.secret_key, wanted.session_token),
            _SECRET_FILES,
            strict=True,
        )
    )
    sources = [
        {"secret": {"name": wanted.name, "items": [access, secret]}},
        {"secret": {"name": wanted.name, "items": [token], "optional": True}},
    ]
    volume = {"name": name, "projected": {"sources": sources, "defaultMode": 0o400}}
    return volume, {
        "name": name,
        "mountPath": f"{SECRETS_FOLDER}/{index}",
        "readOnly": True,
    }


def _certificates(index: int, mount: S3Mount) -> tuple[dict[str, Any], dict[str, Any]]:
    name = f"{SIDECAR}-ca-{index}"
    items = [{"key": mount.ca_key, "path": _CA_FILE}]
    volume = {"name": name, "configMap": {"name": mount.ca_config_map, "items": items}}
    return volume, {"name": name, "mountPath": f"{CA_FOLDER}/{index}", "readOnly": True}


def _ca_path(index: int, mount: S3Mount) -> str:
    return f"{CA_FOLDER}/{index}/{_CA_FILE}" if mount.ca_config_map else mount.ca


def _literal(text: str) -> str:
    """The text as a variable's value: Kubernetes puts variables in the place of ``$(NAME)``."""
    return text.replace("$", "$$")


def _check_allowed(spec: RunnerSpec) -> None:
    index, mount = mounted(spec.s3)[0]
    if not spec.allow_privileged_sidecar:
        raise ConfigError(
            f"profile {spec.profile!r}: s3[{index}] ({mount.url} at {mount.path}): in a pod, s3fs "
            "needs a privileged container beside the kernel's, which the profile does not allow",
            hint="Set allow_privileged_sidecar = true in the profile if the namespace may have "
            f"one. {_OTHER_WAYS}",
            details={"field": "allow_privileged_sidecar"},
        )
    if not spec.s3_sidecar.image:
        raise ConfigError(
            f"profile {spec.profile!r}: s3_sidecar.image: must be given where a pod mounts "
            f"{mount.url} by s3fs",
            hint="Name an image that has s3fs and Python, in the profile or by RUNNER_S3_IMAGE; "
            f"`make image` in gra's repository makes one. {_OTHER_WAYS}",
            details={"field": "s3_sidecar.image"},
        )


def _check_places(spec: RunnerSpec) -> None:
    """Refuse what the profile has in the places of its buckets."""
    taken = {posixpath.normpath(mount["mountPath"]) for mount in spec.pod.volume_mounts}
    for index, mount in enumerate(spec.s3):
        if mount.path in taken:
            raise _refused(spec, index, f"pod.volume_mounts has something at {mount.path}, too")
    for volume in spec.pod.volumes:
        if volume["name"] == SIDECAR or volume["name"].startswith(f"{SIDECAR}-"):
            raise ConfigError(
                f'profile {spec.profile!r}: pod.volumes: the name "{volume["name"]}" is gra\'s own',
                hint="Use another name.",
                details={"field": "pod.volumes"},
            )


def _refused(spec: RunnerSpec, index: int, rule: str) -> ConfigError:
    return ConfigError(
        f"profile {spec.profile!r}: s3[{index}].mount: {rule}",
        hint="Use another place.",
        details={"field": f"s3[{index}].mount"},
    )


def _plain(value: Any) -> Any:
    """A copy of JSON data with lists for tuples and dictionaries for mappings."""
    return json.loads(json.dumps(value))
