"""Buckets as those are told of them who bring them into a runner.  Pure.

s3fs is run by the sidecar of a pod, or by the agent of a local runner: both take the documents of
:func:`mount_documents`.  For ``fsspec`` there is nothing but variables.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from .errors import ConfigError
from .runner import RunnerSpec, S3Mount

_AMAZON = "https://s3.amazonaws.com"


def mounted(mounts: Sequence[S3Mount]) -> list[tuple[int, S3Mount]]:
    """The mounts that s3fs makes, each with its place among all."""
    return [(index, mount) for index, mount in enumerate(mounts) if mount.via == "s3fs"]


def mount_documents(
    mounts: Sequence[S3Mount],
    user: int,
    group: int,
    ca: Callable[[int, S3Mount], str] = lambda index, mount: mount.ca,
) -> list[dict[str, Any]]:
    """The mounts that s3fs makes, for who makes them.  No credentials are in it.

    ``user`` and ``group`` own what is in the bucket; ``ca`` says where a mount's certificates are.
    """
    return [
        {
            "id": str(index),
            "bucket": mount.bucket,
            "prefix": mount.prefix,
            "path": mount.path,
            "endpoint": mount.endpoint,
            "region": mount.region,
            "read_only": mount.read_only,
            "path_style": mount.path_style,
            "uid": user,
            "gid": group,
            "umask": mount.umask,
            "credentials": _kind(mount),
            "options": dict(mount.options),
            "ca": ca(index, mount),
        }
        for index, mount in mounted(mounts)
    ]


def _kind(mount: S3Mount) -> str:
    return "own" if mount.credentials.own else mount.credentials.source


def fsspec_variables(mounts: Sequence[S3Mount], ca: str | None = None) -> dict[str, str]:
    """What Python's fsspec and AWS's libraries find the buckets by, without credentials.

    Empty where no mount is ``via`` fsspec; the others agree on what is asked here
    (:func:`.s3_schema.fit_together`).  ``ca`` is where the certificates are, by default as the
    mount says.

    Sources: https://docs.aws.amazon.com/sdkref/latest/guide/settings-reference.html,
    https://filesystem-spec.readthedocs.io/en/latest/features.html#configuration
    """
    mount = next((mount for mount in mounts if mount.via == "fsspec"), None)
    if mount is None:
        return {}
    variables: dict[str, str] = {}
    options: dict[str, Any] = {}
    if mount.endpoint != _AMAZON:
        variables["AWS_ENDPOINT_URL_S3"] = options["endpoint_url"] = mount.endpoint
    if mount.region:
        variables["AWS_DEFAULT_REGION"] = variables["AWS_REGION"] = mount.region
    if mount.path_style:
        options["config_kwargs"] = {"s3": {"addressing_style": "path"}}
    if mount.credentials.source == "anonymous":
        options["anon"] = True
    bundle = mount.ca if ca is None else ca
    if bundle:
        variables["AWS_CA_BUNDLE"] = bundle
    if options:
        variables["FSSPEC_S3"] = json.dumps(options)
    return variables


def not_here(spec: RunnerSpec) -> ConfigError | None:
    """What a runner of this host cannot have of a spec, as only a cluster has it."""
    for index, mount in enumerate(spec.s3):
        field, what, hint = "", "", ""
        if mount.via == "volume":
            field, what = "via", "volumes are a cluster's"
            hint = 'Use via = "s3fs" or via = "fsspec" in the profile, or a cluster.'
        elif mount.credentials.source == "secret":
            field, what = "credentials.secret", "Secrets are a cluster's"
            hint = (
                "Use credentials of your own in the profile, which are variables or a section of "
                "~/.aws/credentials, or a cluster."
            )
        elif mount.ca_config_map:
            field, what = "ca", "ConfigMaps are a cluster's"
            hint = "Name a file of this host, or use a cluster."
        if field:
            return ConfigError(
                f"profile {spec.profile!r}: s3[{index}].{field}: this runner is on this host, and "
                f"{what}",
                hint=hint,
                details={"field": f"s3[{index}].{field}"},
            )
    return None
