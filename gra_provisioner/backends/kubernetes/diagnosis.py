"""What ``gra doctor`` asks of a cluster: dry runs of pods, and what there is for volumes."""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...archive import archive_digest, build_agent_archive
from ...diagnosis import Finding
from ...errors import ClusterRefused, ConfigError, GraError
from ...runner import RunnerLabels, RunnerSpec
from . import s3_ways
from .client import Client
from .manifest import agent_name, pod_manifest
from .workspace import workspace_claim

_DRY = (("dryRun", "All"), ("fieldValidation", "Strict"))
_STORAGE = "/apis/storage.k8s.io/v1"


async def diagnose(client: Client, spec: RunnerSpec, owner: str) -> Sequence[Finding]:
    """Which runners, and which ways to S3, the namespace allows.  Nothing is made.

    Raises :class:`~gra_provisioner.errors.ConfigError` for a profile that no pod can be made of,
    and :class:`~gra_provisioner.errors.BackendError` where the cluster cannot be asked.
    """
    wanted = {mount.via for mount in spec.s3}
    namespace = client.namespace
    plain = _pod(dataclasses.replace(spec, s3=()), owner)
    pods = plain, _privileged(spec, plain, owner), s3_ways.with_claim(plain)
    seen, refusals, kept = await asyncio.gather(
        _volumes(client),
        asyncio.gather(*(_dry_run(client, pod) for pod in pods)),
        _workspace(client, spec, owner),
    )
    refused, sidecar, volume = refusals
    told = refused is None
    return [
        s3_ways.runner_pod(refused, spec.profile, namespace),
        s3_ways.sidecar(sidecar, namespace, wanted="s3fs" in wanted, told=told),
        s3_ways.volume(volume, namespace, seen, wanted="volume" in wanted, told=told),
        s3_ways.fsspec(spec.image, wanted="fsspec" in wanted),
        *s3_ways.missing_claims(spec.s3, seen["claims"], namespace),
        *([] if kept is None else [kept(seen["storage classes"])]),
    ]


def _privileged(
    spec: RunnerSpec, plain: Mapping[str, Any], owner: str
) -> Mapping[str, Any] | GraError:
    """The pod with its own sidecar, or with any; or why the profile cannot have it."""
    if not any(mount.via == "s3fs" for mount in spec.s3):
        return s3_ways.with_sidecar(plain, spec.s3_sidecar.image or spec.image)
    try:
        return _pod(spec, owner)
    except ConfigError as error:
        return error


def _pod(spec: RunnerSpec, owner: str) -> dict[str, Any]:
    # No runner has such a name, so that no answer is about one.
    name = f"{s3_ways.NAME}-{secrets.token_hex(4)}"
    agent = agent_name(archive_digest(build_agent_archive()))
    return pod_manifest(name, spec, RunnerLabels(owner), agent)


async def _workspace(
    client: Client, spec: RunnerSpec, owner: str
) -> Callable[[Sequence[str] | None], Finding] | None:
    """What is said of the claim of a workspace that is kept, given the storage classes."""
    claim = workspace_claim(spec, RunnerLabels(owner))
    if claim is None:
        return None
    try:
        await client.request("POST", "persistentvolumeclaims", body=claim, query=_DRY)
    except ClusterRefused as refused:
        error: GraError | None = refused
    else:
        error = None
    name, wanted = claim["metadata"]["name"], spec.workspace.storage_class
    return lambda classes: s3_ways.workspace(error, name, wanted, classes)


async def _dry_run(client: Client, pod: Mapping[str, Any] | GraError) -> GraError | None:
    """Why the API server would not make this pod; ``None`` if it would."""
    if isinstance(pod, GraError):
        return pod
    try:
        await client.request("POST", "pods", body=pod, query=_DRY)
    except ClusterRefused as error:
        return error
    return None


async def _volumes(client: Client) -> dict[str, Sequence[str] | None]:
    """The names of what volumes are made of."""
    claims, classes, drivers = await asyncio.gather(
        client.names(f"/api/v1/namespaces/{client.namespace}/persistentvolumeclaims"),
        client.names(f"{_STORAGE}/storageclasses"),
        client.names(f"{_STORAGE}/csidrivers"),
    )
    return {"claims": claims, "storage classes": classes, "CSI drivers": drivers}
