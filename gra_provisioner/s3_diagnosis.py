"""What ``gra doctor`` says of the buckets of a profile: credentials, and whether S3 answers.

The bucket is asked from here, by the same request that the agent makes (:mod:`.agent.s3.probe`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from .agent.failure import AgentError
from .agent.s3 import mount as agent_mount
from .agent.s3.probe import BOUND, probe
from .agent.s3.signing import Credentials
from .agent.s3.threads import in_thread
from .diagnosis import Finding, bad, good, of_error
from .errors import MountError, from_wire
from .runner import RunnerSpec, S3Mount
from .s3_credentials import AccessKey, own_credentials

# What is known of a bucket without its key: that an S3 server has refused to answer without one.
_ANSWERS = frozenset({"S3AccessDenied", "S3AccessKeyUnknown", "S3SecretKeyWrong"})


async def diagnose_buckets(
    spec: RunnerSpec, environ: Mapping[str, str], *, is_local: bool
) -> Sequence[Finding]:
    """Two findings for each bucket: its credentials, and its server's answer.

    ``environ`` is the environment of this process; ``is_local`` whether runners are here, too, so
    that what cannot be reached from here cannot be reached by them.
    """
    asked = [
        _bucket(f"s3[{index}]", mount, environ, is_local=is_local)
        for index, mount in enumerate(spec.s3)
        if mount.via != "volume"
    ]
    return [finding for found in await asyncio.gather(*asked) for finding in found]


async def _bucket(
    name: str, mount: S3Mount, environ: Mapping[str, str], *, is_local: bool
) -> Sequence[Finding]:
    source = mount.credentials
    if source.source == "secret":
        about = _secret(name, mount, is_local=is_local)
    elif source.source == "anonymous":
        about = good(f"{name}.credentials", f"{mount.url} is asked without credentials.")
    else:
        try:
            key = own_credentials([mount], environ)[0]
        except MountError as error:
            return [of_error(f"{name}.credentials", error)]
        about = good(f"{name}.credentials", f"There are credentials for {mount.url}.")
        return [about, await _server(f"{name}.server", mount, key, is_local=is_local)]
    return [about, await _server(f"{name}.server", mount, None, is_local=is_local)]


def _secret(name: str, mount: S3Mount, *, is_local: bool) -> Finding:
    secret = mount.credentials.name
    if is_local:
        return bad(
            f"{name}.credentials",
            f"The credentials of {mount.url} are in the Secret {secret!r}, and Secrets are a "
            "cluster's.",
            "Name credentials of your own in the profile, or use a cluster.",
        )
    return good(
        f"{name}.credentials",
        f"The credentials of {mount.url} are in the Secret {secret!r}, which gra does not read: "
        "whether they are right is known once a runner has them.",
    )


async def _server(name: str, mount: S3Mount, key: AccessKey | None, *, is_local: bool) -> Finding:
    credentials = None
    if key is not None:
        token = key.session_token
        credentials = Credentials(
            key.access_key.value, key.secret_key.value, token.value if token else ""
        )
    meant = _as_the_agent_has_it(mount)
    try:
        error = await in_thread(lambda: probe(meant, credentials), BOUND)
    except asyncio.TimeoutError:
        error = AgentError(
            "S3EndpointUnreachable",
            f"{mount.endpoint} did not answer within {BOUND:g} s.",
            hint="Check the endpoint's address, and whether a proxy or a VPN is needed.",
        )
    is_keyless = mount.credentials.source == "secret"
    if error is None or (is_keyless and error.reason in _ANSWERS):
        return good(name, f"{mount.endpoint} answers for {mount.url}.")
    found = of_error(name, from_wire(error.to_wire()), wanted=is_local)
    if is_local:
        return found
    return Finding(
        name,
        found.status,
        f"From here: {found.message}",
        f"{found.hint} Pods may have another way to it.".strip(),
        found.reason,
    )


def _as_the_agent_has_it(mount: S3Mount) -> agent_mount.Mount:
    return agent_mount.Mount(
        id="0",
        bucket=mount.bucket,
        prefix=mount.prefix,
        path=mount.path,
        endpoint=mount.endpoint,
        region=mount.region,
        read_only=mount.read_only,
        path_style=mount.path_style,
        uid=0,
        gid=0,
        umask=mount.umask,
        credentials="anonymous" if mount.credentials.source == "anonymous" else "own",
        options=(),
        # One in a ConfigMap is not here; then the system's may do.
        ca=mount.ca,
    )
