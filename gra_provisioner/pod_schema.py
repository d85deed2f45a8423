"""What configuration may say about pods: the tables ``[kubernetes]`` and ``[profiles.x.pod]``.

Names are checked by the syntax that Kubernetes has for them.  Its own objects (volumes, affinity,
…) are taken as they are, but for what a runner's pod is made with: the API server knows every
field of its version, and says so.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StrictBool, StrictStr

from . import runner
from .fields import Bound, Cpu, PositiveSize, Table, Text

if TYPE_CHECKING:
    from typing_extensions import Self

# https://kubernetes.io/docs/concepts/overview/working-with-objects/names/
_DNS_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_DNS_SUBDOMAIN = re.compile(rf"(?=.{{1,253}}\Z){_DNS_LABEL.pattern}(?:\.{_DNS_LABEL.pattern})*")
# https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/
_QUALIFIED = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", re.ASCII)
# https://github.com/kubernetes/apimachinery/blob/v0.34.0/pkg/util/validation/validation.go
_ENV_NAME = re.compile(r"[A-Za-z._-][A-Za-z0-9._-]*", re.ASCII)
_LARGEST_ID = 2**31 - 1


def _dns_label(name: str) -> str:
    if not _DNS_LABEL.fullmatch(name):
        raise ValueError(
            "must be a name of at most 63 lower-case letters, digits and '-' that begins and "
            "ends with a letter or digit"
        )
    return name


def _dns_subdomain(name: str) -> str:
    if not _DNS_SUBDOMAIN.fullmatch(name):
        raise ValueError(
            "must be a name of lower-case letters, digits, '-' and '.' that begins and ends with "
            "a letter or digit"
        )
    return name


def _label_key(key: str) -> str:
    prefix, slash, name = key.rpartition("/")
    if not _QUALIFIED.fullmatch(name) or (slash and not _DNS_SUBDOMAIN.fullmatch(prefix)):
        raise ValueError(
            "must be a name of at most 63 letters, digits, '-', '_' and '.', if need be with a "
            'domain before it: "team", "example.com/team"'
        )
    return key


def _label_value(value: str) -> str:
    if value and not _QUALIFIED.fullmatch(value):
        raise ValueError(
            "must be a label's value: at most 63 letters, digits, '-', '_' and '.' that begins "
            "and ends with a letter or digit"
        )
    return value


def _extended_resource(name: str) -> str:
    if "/" not in name:
        raise ValueError('must be a resource with a domain, for example "nvidia.com/gpu"')
    return _label_key(name)


def _interpreter(command: str) -> str:
    if not command or ("/" in command and not command.startswith("/")):
        raise ValueError(
            'must be a command in the image or its absolute path: "python3", '
            '"/opt/conda/bin/python"'
        )
    return command


def _id_from(least: int) -> Callable[[object], int]:
    def valid(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            value = -1
        if not least <= value <= _LARGEST_ID:
            raise ValueError(f"must be a number, {least} to {_LARGEST_ID}")
        return value

    return valid


def _json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _json(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json(inner) for inner in value]
    if value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise ValueError("must hold texts, numbers, true, false, lists and tables only")


def _volume(volume: dict[str, Any]) -> dict[str, Any]:
    name = volume.get("name")
    if not isinstance(name, str) or not _DNS_LABEL.fullmatch(name):
        raise ValueError(
            'must have "name", of at most 63 lower-case letters, digits and "-" that begins and '
            "ends with a letter or digit"
        )
    return volume


def _volume_mount(mount: dict[str, Any]) -> dict[str, Any]:
    path = mount.get("mountPath")
    if not isinstance(mount.get("name"), str):
        raise ValueError('must have "name", that of a volume')
    if not isinstance(path, str) or not path.startswith("/") or ":" in path:
        raise ValueError('must have "mountPath", an absolute path in the runner without ":"')
    return mount


def _env_variable(variable: dict[str, Any]) -> dict[str, Any]:
    name = variable.get("name")
    if not isinstance(name, str) or not _ENV_NAME.fullmatch(name):
        raise ValueError('must have "name", the name of a variable')
    if "value" in variable and "valueFrom" in variable:
        raise ValueError('must have either "value" or "valueFrom"')
    if not isinstance(variable.get("value", ""), str):
        raise ValueError('must have a text in quotes as its "value"')
    return variable


def _unique(key: str) -> Callable[[Sequence[Mapping[str, Any]]], Sequence[Mapping[str, Any]]]:
    """No two objects of the list with the same value of this field."""

    def valid(objects: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
        seen = set()
        for each in objects:
            if each[key] in seen:
                raise ValueError(f'must not have two with the {key} "{each[key]}"')
            seen.add(each[key])
        return objects

    return valid


def _blank_is_none(value: object) -> object:
    return None if value == "" else value


def _kubeconfig(paths: str) -> str:
    if not all(path.startswith("/") for path in paths.split(os.pathsep)):
        raise ValueError(
            "must be an absolute path on this host, for example "
            f'"/etc/gra/kubeconfig", or several with "{os.pathsep}" between'
        )
    return paths


DnsLabel = Annotated[StrictStr, AfterValidator(_dns_label)]
DnsSubdomain = Annotated[StrictStr, AfterValidator(_dns_subdomain)]
# An empty text takes back what an earlier layer or an extended profile says.
NameOrNone = Annotated[DnsSubdomain | None, BeforeValidator(_blank_is_none)]
LabelKey = Annotated[StrictStr, AfterValidator(_label_key)]
LabelValue = Annotated[StrictStr, AfterValidator(_label_value)]
UserId = Annotated[int, BeforeValidator(_id_from(1))]
GroupId = Annotated[int, BeforeValidator(_id_from(0))]
KubernetesObject = Annotated[dict[StrictStr, Any], AfterValidator(_json)]
Volume = Annotated[KubernetesObject, AfterValidator(_volume)]
VolumeMount = Annotated[KubernetesObject, AfterValidator(_volume_mount)]
EnvVariable = Annotated[KubernetesObject, AfterValidator(_env_variable)]


class Kubernetes(Table):
    """Which cluster to use: see :class:`gra_provisioner.profiles.KubernetesConfig`.

    An empty text takes back what an earlier layer says.
    """

    context: Annotated[Text | None, BeforeValidator(_blank_is_none)] = None
    namespace: Annotated[DnsLabel | None, BeforeValidator(_blank_is_none)] = None
    kubeconfig: Annotated[
        Annotated[Text, AfterValidator(_kubeconfig)] | None, BeforeValidator(_blank_is_none)
    ] = None


class Requests(Table):
    """What the scheduler keeps free: see :class:`gra_provisioner.runner.Requests`."""

    cpu: Cpu | None = None
    memory: PositiveSize | None = None
    ephemeral_storage: PositiveSize | None = None


class Pod(Table):
    """What is particular to pods: see :class:`gra_provisioner.runner.PodOptions`."""

    python: Annotated[Text, AfterValidator(_interpreter)] = runner.PodOptions.python
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    image_pull_secrets: tuple[DnsSubdomain, ...] = ()
    user: UserId = runner.PodOptions.user
    group: GroupId = runner.PodOptions.group
    fs_group: GroupId | None = None
    requests: Requests = Requests()
    gpu_resource: Annotated[StrictStr, AfterValidator(_extended_resource)] = (
        runner.PodOptions.gpu_resource
    )
    node_selector: dict[LabelKey, LabelValue] = Field(default_factory=dict)
    tolerations: tuple[KubernetesObject, ...] = ()
    affinity: KubernetesObject = Field(default_factory=dict)
    topology_spread: tuple[KubernetesObject, ...] = ()
    priority_class: NameOrNone = None
    runtime_class: NameOrNone = None
    scheduler_name: NameOrNone = None
    service_account: NameOrNone = None
    service_account_token: StrictBool = False
    volumes: Annotated[tuple[Volume, ...], AfterValidator(_unique("name"))] = ()
    volume_mounts: Annotated[tuple[VolumeMount, ...], AfterValidator(_unique("mountPath"))] = ()
    env: Annotated[tuple[EnvVariable, ...], AfterValidator(_unique("name")), Field(repr=False)] = ()
    env_from: tuple[KubernetesObject, ...] = ()
    labels: dict[LabelKey, LabelValue] = Field(default_factory=dict)
    annotations: dict[LabelKey, Text] = Field(default_factory=dict)
    termination_grace: Bound = runner.PodOptions.termination_grace
    scheduling_grace: Bound = runner.PodOptions.scheduling_grace
    patch: KubernetesObject = Field(default_factory=dict, repr=False)

    def merged(self, over: Table) -> Self:
        """As :meth:`Table.merged`, but Kubernetes' own objects are replaced as a whole.

        Half of one affinity and half of another would be what nobody asked for.
        """
        whole = {"affinity", "patch"} & over.model_fields_set
        update = {name: getattr(over, name) for name in whole}
        return super().merged(over).model_copy(update=update)
