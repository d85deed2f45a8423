"""Buckets brought into a runner before its kernel starts, over the tunnel.

The agent mounts what is to be mounted and says when all of it is there; the client gives it its own
credentials, which are in nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from .backends.base import PhaseCallback
from .errors import MountError, RequestError, Unreachable
from .runner import Runner, RunnerSpec
from .s3_credentials import AccessKey
from .s3_mounts import fsspec_variables, mount_documents, mounted
from .tunnel.client import Tunnel

#: The phase of a launch in which buckets are mounted.
PHASE = "mounts"

# The backend whose runners are on the client's own host.
_LOCAL = "local"

# In seconds.  What is wrong is known within five; the first look at a large bucket may take longer.
_WITHIN = 45.0
_ANSWERED_WITHIN = 10.0


async def start_mounts(
    tunnel: Tunnel,
    runner: Runner,
    spec: RunnerSpec,
    keys: Mapping[int, AccessKey],
    on_phase: PhaseCallback,
) -> None:
    """Wait until every bucket that s3fs mounts is there.

    ``keys`` are the client's own (:func:`.s3_credentials.own_credentials`).  Called before each
    start of a kernel: a bucket that is there with the same credentials stays as it is.

    Raises :class:`~.errors.MountError` with the agent's reason (``S3AccessDenied``, …).
    """
    wanted = mounted(spec.s3)
    if not wanted:
        return
    what = ", ".join(f"{mount.url} at {mount.path}" for _, mount in wanted)
    on_phase(PHASE, f"{runner.name}: mounting {what}")
    own = {str(index) for index, _ in wanted}
    args: dict[str, Any] = {
        "credentials": {
            str(index): key.document() for index, key in keys.items() if str(index) in own
        },
        "timeout": _WITHIN,
    }
    if runner.backend == _LOCAL:
        # A pod's stand in the pod, so that nobody who can reach the agent has a say in them.
        args["mounts"] = mount_documents(spec.s3, os.getuid(), os.getgid())
    try:
        await tunnel.request("mounts.start", args, timeout=_WITHIN + _ANSWERED_WITHIN)
    except RequestError as error:
        raise _failed(error, runner, spec) from None
    except Unreachable as error:
        raise MountError(
            f"The runner did not say within {_WITHIN + _ANSWERED_WITHIN:g} s whether {what} was "
            f"mounted. {error.message}",
            hint=error.hint,
        ) from error


def _failed(error: RequestError, runner: Runner, spec: RunnerSpec) -> MountError:
    if error.code == "UnknownMethod":
        return MountError(
            f"The agent of {runner.name} is of an earlier version of gra, which mounts nothing.",
            hint=f"Delete it (`gra delete {runner.name}`) and start a new runner.",
            reason="S3NotSupported",
        )
    message, details = error.message, dict(error.details)
    for index, mount in mounted(spec.s3):
        if details.get("mount") == str(index):
            message = f"{mount.url} cannot be mounted at {mount.path}. {message}"
            details.update(bucket=mount.bucket, path=mount.path)
    return MountError(message, hint=error.hint, details=details, reason=error.code)


def kernel_variables(
    runner: Runner, spec: RunnerSpec, keys: Mapping[int, AccessKey]
) -> dict[str, str]:
    """The variables by which a kernel's own Python finds buckets that are not mounted.

    In a pod they stand in the pod, but for the client's own credentials.  Holds those.
    """
    variables = fsspec_variables(spec.s3) if runner.backend == _LOCAL else {}
    for index, mount in enumerate(spec.s3):
        if mount.via == "fsspec" and index in keys:
            variables.update(keys[index].variables())
            break
    return variables
