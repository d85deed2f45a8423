"""A strategic merge patch of a pod, by the rules of ``kubectl patch``.

Objects are merged by key and ``null`` removes a key; a list is replaced, unless Kubernetes gives
it a key by which its entries are known (:data:`_MERGE_KEYS`).  An object may hold the directives

- ``$patch``: ``replace`` (by this object) or ``delete`` (all that is there); in an entry of a list
  with a key ``delete`` removes that entry, and an entry that is only ``$patch: replace`` has the
  other entries replace the list;
- ``$retainKeys``: a list of the only keys that may remain;
- ``$deleteFromPrimitiveList/finalizers``: values to remove from that list.

Entries that are there keep their places, new ones come after them.

Sources: https://kubernetes.io/docs/tasks/manage-kubernetes-objects/update-api-object-kubectl-patch/,
https://github.com/kubernetes/community/blob/master/contributors/devel/sig-api-machinery/strategic-merge-patch.md,
and the tags ``patchStrategy`` and ``patchMergeKey`` in k8s.io/api/core/v1/types.go.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import ConfigError

_CONTAINER = {"env": "name", "ports": "containerPort", "volumeDevices": "devicePath"}
_CONTAINER |= {"volumeMounts": "mountPath"}
_SPEC = {
    "containers": "name",
    "ephemeralContainers": "name",
    "hostAliases": "ip",
    "imagePullSecrets": "name",
    "initContainers": "name",
    "resourceClaims": "name",
    "schedulingGates": "name",
    "topologySpreadConstraints": "topologyKey",
    "volumes": "name",
}
# The path of each list whose entries are merged, and the field that an entry is known by.  All
# other lists are atomic: tolerations, args, affinity terms, …
_MERGE_KEYS: Mapping[str, str] = {
    "metadata.ownerReferences": "uid",
    **{f"spec.{field}": key for field, key in _SPEC.items()},
    **{
        f"spec.{containers}.{field}": key
        for containers in ("containers", "ephemeralContainers", "initContainers")
        for field, key in _CONTAINER.items()
    },
}
# The lists of plain values that are merged as sets.
_SETS = frozenset({"metadata.finalizers"})

_PATCH = "$patch"
_RETAIN = "$retainKeys"
_DELETE_FROM = "$deleteFromPrimitiveList/"


def merge(pod: Mapping[str, Any], patch: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The pod with the patch laid over it; neither is changed.

    Raises :class:`~gra_provisioner.errors.ConfigError` for a directive that does not exist and
    for an entry without its key; ``source`` is what the path of the wrong field is told after.
    """
    return _Merge(source).objects(pod, patch, "", "")


class _Merge:
    """One patch being applied.

    A ``path`` is as in :data:`_MERGE_KEYS`, a ``field`` is the same place as errors name it.
    """

    def __init__(self, source: str) -> None:
        self._source = source

    def objects(
        self, old: Mapping[str, Any], patch: Mapping[str, Any], path: str, field: str
    ) -> dict[str, Any]:
        directive = self._directive(patch, field)
        if directive == "delete":
            return {}
        result = {} if directive == "replace" else copy.deepcopy(dict(old))
        self._retain(result, patch, field)
        for key, value in patch.items():
            below, named = f"{path}.{key}".lstrip("."), f"{field}.{key}"
            if key.startswith(_DELETE_FROM):
                self._remove(result, key.removeprefix(_DELETE_FROM), value, path, named)
            elif key in (_PATCH, _RETAIN):
                continue
            elif key.startswith("$"):
                raise self._error(named, "no such directive of a strategic merge patch")
            elif value is None:
                result.pop(key, None)
            else:
                result[key] = self._value(result.get(key), value, below, named)
        return result

    def _value(self, old: Any, patch: Any, path: str, field: str) -> Any:
        if isinstance(patch, Mapping):
            return self.objects(old if isinstance(old, Mapping) else {}, patch, path, field)
        if not isinstance(patch, (list, tuple)):
            return patch
        there = list(old) if isinstance(old, (list, tuple)) else []
        if path in _SETS:
            return list(dict.fromkeys([*there, *patch]))
        if path in _MERGE_KEYS:
            return self._entries(there, patch, path, field)
        return copy.deepcopy(list(patch))

    def _entries(
        self, old: Sequence[Any], patch: Sequence[Any], path: str, field: str
    ) -> list[Any]:
        """Lists of objects that are known by the value of a field."""
        key = _MERGE_KEYS[path]
        result = list(copy.deepcopy(old))
        for index, entry in enumerate(patch):
            named = f"{field}[{index}]"
            if not isinstance(entry, Mapping):
                raise self._error(named, "must be a table")
            if self._directive(entry, named) == "replace":
                if entry.keys() != {_PATCH}:
                    raise self._error(named, f'must have nothing besides "{_PATCH}" = "replace"')
                result = []
        for index, entry in enumerate(patch):
            named = f"{field}[{index}]"
            directive = self._directive(entry, named)
            if directive == "replace":
                continue
            if not isinstance(entry.get(key), (str, int)):
                raise self._error(named, f'must have "{key}", by which it is merged')
            same = [at for at, there in enumerate(result) if there.get(key) == entry[key]]
            if directive == "delete":
                result = [there for at, there in enumerate(result) if at not in same]
            elif same:
                result[same[0]] = self.objects(result[same[0]], entry, path, named)
            else:
                result.append(self.objects({}, entry, path, named))
        return result

    def _directive(self, patch: Mapping[str, Any], field: str) -> str:
        directive = patch.get(_PATCH, "")
        if _PATCH in patch and directive not in ("delete", "replace"):
            raise self._error(f"{field}.{_PATCH}", 'must be "delete" or "replace"')
        return str(directive)

    def _retain(self, result: dict[str, Any], patch: Mapping[str, Any], field: str) -> None:
        if _RETAIN not in patch:
            return
        keys = patch[_RETAIN]
        if not isinstance(keys, (list, tuple)) or not all(isinstance(key, str) for key in keys):
            raise self._error(f"{field}.{_RETAIN}", "must be a list of names")
        for key in result.keys() - set(keys):
            del result[key]

    def _remove(
        self, result: dict[str, Any], name: str, values: Any, path: str, field: str
    ) -> None:
        below = f"{path}.{name}".lstrip(".")
        if below not in _SETS or not isinstance(values, (list, tuple)):
            raise self._error(field, f"must be a list, and only for {', '.join(_SETS)}")
        result[name] = [value for value in result.get(name, ()) if value not in values]

    def _error(self, field: str, rule: str) -> ConfigError:
        name = field.lstrip(".")
        return ConfigError(
            f"{self._source}.{name}: {rule}",
            hint="See https://kubernetes.io/docs/tasks/manage-kubernetes-objects/"
            "update-api-object-kubectl-patch/",
            details={"field": name},
        )
