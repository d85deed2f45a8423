"""Strategies for what configuration can make: specs of runners, and whom they are for."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from gra_provisioner.profiles import load_config, resolve
from gra_provisioner.runner import RunnerLabels

_NAMES = st.from_regex(r"\A[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?\Z")
_KEYS = st.from_regex(r"\A([a-z]{1,5}\.[a-z]{2}/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,8}[A-Za-z0-9])?\Z")
_VALUES = st.from_regex(r"\A([A-Za-z0-9]([A-Za-z0-9._-]{0,8}[A-Za-z0-9])?)?\Z")
_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
_DURATIONS = st.just(False) | st.integers(1, 10**9) | st.floats(0.001, 1e6)
_SIZES = st.integers(1, 2**50)
_IDS = st.integers(1, 2**31 - 1)
_PREFIXES = st.lists(
    st.text(
        st.characters(codec="utf-8", exclude_categories=("C",), exclude_characters="/"), min_size=1
    ).filter(lambda part: part not in (".", "..")),
    max_size=3,
).map("/".join)


def _optional(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


_VOLUMES = st.lists(
    _NAMES.filter(lambda name: not name.startswith("gra-")).map(
        lambda name: {"name": name, "emptyDir": {}}
    ),
    max_size=3,
    unique_by=lambda volume: volume["name"],
)
_POD = _optional(
    python=st.sampled_from(["python", "/opt/conda/bin/python3"]),
    image_pull_policy=st.sampled_from(["Always", "IfNotPresent", "Never"]),
    image_pull_secrets=st.lists(_NAMES, max_size=2),
    user=_IDS,
    group=_IDS,
    fs_group=_IDS,
    gpu_resource=st.sampled_from(["nvidia.com/gpu", "amd.com/gpu"]),
    node_selector=st.dictionaries(_KEYS, _VALUES, max_size=2),
    tolerations=st.lists(_KEYS.map(lambda key: {"key": key, "operator": "Exists"}), max_size=2),
    priority_class=_NAMES,
    runtime_class=_NAMES,
    scheduler_name=_NAMES,
    service_account=_NAMES,
    volumes=_VOLUMES,
    volume_mounts=st.just([{"name": "tmp", "mountPath": "/srv"}]),
    env=st.just([{"name": "A", "value": "1"}, {"name": "HOME", "value": "/"}]),
    env_from=st.lists(st.just({"secretRef": {"name": "s"}}), max_size=1),
    labels=st.dictionaries(_KEYS, _VALUES, max_size=2),
    annotations=st.dictionaries(_KEYS, _TEXT, max_size=2),
    termination_grace=st.floats(0.001, 1e6),
    patch=st.sampled_from([{}, {"spec": {"hostAliases": [{"ip": "10.0.0.1"}]}}]),
)
# What a namespace that is restricted allows; privileged sidecars have tests of their own.
_VOLUME_OF_S3 = _optional(prefix=_PREFIXES, read_only=st.booleans()).map(
    lambda more: {"via": "volume", "mount": "/data/lake", "claim": "lake", **more}
)
_FOR_FSSPEC = _optional(
    prefix=_PREFIXES,
    region=st.just("eu-central-1"),
    endpoint=st.just("https://s3.example.com"),
    credentials=st.sampled_from([{"secret": "k"}, {"anonymous": True}, {"profile": "p"}]),
    ca=st.just({"config_map": "c"}),
).map(lambda more: {"via": "fsspec", "bucket": "lake", **more})
_SETTINGS = _optional(
    s3=st.tuples(_VOLUME_OF_S3) | st.tuples(_FOR_FSSPEC) | st.tuples(_FOR_FSSPEC, _VOLUME_OF_S3),
    workspace=_optional(size=_SIZES, keep=st.booleans(), name=_NAMES),
    image=st.sampled_from(["a", "registry.example.com:5000/a/b:c@sha256:" + "0" * 64]),
    start_timeout=st.floats(0.001, 1e8),
    resources=_optional(
        cpu=st.floats(0.001, 2**20),
        memory=_SIZES,
        ephemeral_storage=_SIZES,
        gpu=st.integers(0, 8),
    ),
    ttl=_optional(orphan=_DURATIONS, idle=_DURATIONS, lifetime=_DURATIONS),
    buffers=_optional(memory=_SIZES, spill=_SIZES),
    pod=_POD,
)
_CONFIG = load_config({}, [])
SPECS = _SETTINGS.map(lambda data: resolve(_CONFIG, data))
LABELS = st.builds(RunnerLabels, _TEXT, _TEXT, st.none() | _TEXT, _TEXT, _TEXT)
