"""Which HTTP status an error is answered with: one table for all of gra's errors.  Pure.

What the codes mean here: 4xx, the request (or what it is about) must change; 503, the same request
may succeed later; 502, what stands behind the server failed, and will again; 504, it took too
long.  500 is a fault of gra's own.
"""

from __future__ import annotations

from collections.abc import Mapping

from .. import errors
from ..errors import GraError

#: What each means, for the API's description and its page.
MEANINGS: Mapping[int, str] = {
    400: "The query is wrong, or the body is no JSON; the message names what is.",
    403: "This is not allowed: to a client that is not known, to this user by the server's "
    "authorizer, to this server with another owner's runner, or to the server in its cluster.",
    404: "There is no such runner or path, or it is not to be seen.",
    405: "The path is known by another method.",
    409: "Not as things are now: the runner is starting, or has ended.",
    413: "The body, or what would have to be sent to the runner, is too large.",
    422: "The body is wrong, or what it names is not in the runner; the message names the field.",
    429: "A quota of the cluster is used up.",
    500: "A fault of gra's; the server's log has the traceback.",
    502: "The runner or the cluster failed at it, and will again.",
    503: "The same may succeed later: the backend does not answer or has no room, or the server's "
    "configuration is to be corrected.",
    504: "The runner did not start within its start_timeout.",
}

#: By the class of the error or the nearest above it.
BY_CLASS: Mapping[type[GraError], int] = {
    GraError: 500,
    errors.ConfigError: 422,
    # The server's own: no request changes it.
    errors.KubeconfigError: 503,
    errors.RunnerNotFound: 404,
    errors.BackendError: 503,
    errors.ClusterRefused: 502,
    errors.LaunchError: 502,
    errors.WorkingDirectoryMissing: 422,
    errors.FolderNotCopied: 422,
    errors.ResultsNotFetched: 409,
    errors.KernelDied: 409,
    errors.LogUnavailable: 409,
    errors.RunnerEnded: 409,
    errors.UnknownLogSource: 422,
    errors.TunnelError: 502,
    errors.RequestError: 502,
}

#: What the REST API itself refuses.
OF_THE_API: Mapping[str, int] = {
    "InvalidQuery": 400,
    "MalformedJson": 400,
    "BadHttpRequest": 400,
    "NotAuthorized": 403,
    "NotYourRunner": 403,
    "UnknownPath": 404,
    "MethodNotAllowed": 405,
    "RunnerStarting": 409,
    "BodyTooLarge": 413,
    "InvalidRequest": 422,
    "NotConfigured": 503,
    "NotReady": 503,
    "ServerStopping": 503,
    "InternalError": 500,
}

#: What the API server of a cluster refuses (``ClusterRefused``).
OF_THE_CLUSTER: Mapping[str, int] = {
    "Forbidden": 403,
    "PolicyDenied": 403,
    "AlreadyExists": 409,
    "Conflict": 409,
    "NamespaceTerminating": 409,
    "InvalidPod": 422,
    "LimitRangeViolated": 422,
    "PodSecurityViolated": 422,
    "PriorityClassMissing": 422,
    "RuntimeClassMissing": 422,
    "ServiceAccountMissing": 422,
    "QuotaExceeded": 429,
    "ApiServerTrouble": 503,
    "NotFound": 502,
    "RequestRefused": 502,
    # The server's own credentials and namespace, not the client's.
    "CredentialsRejected": 503,
    "NamespaceMissing": 503,
}

#: Why a runner did not start (``LaunchError``), where that may be another time.
OF_A_LAUNCH: Mapping[str, int] = {
    "ClusterFull": 503,
    "NoNodes": 503,
    "NodeDiskFull": 503,
    "NodesNotReady": 503,
    "RegistryRateLimit": 503,
    "RegistryUnreachable": 503,
    "StartTimeout": 504,
}

#: What an agent refuses (``RequestError``).
OF_AN_AGENT: Mapping[str, int] = {
    "AlreadyAttached": 409,
    "KernelRunning": 409,
    "NoKernel": 409,
    "NoSuchProcess": 409,
    "NoSuchStream": 409,
    "NotATerminal": 409,
    "RequestTooLarge": 413,
    "BadRequest": 422,
    "ExecutableInvalid": 422,
    "ExecutableNotFound": 422,
    "InvalidRequest": 422,
    "PermissionDenied": 422,
    "InternalError": 502,
    "RequestFailed": 502,
    "SystemError": 502,
    "UnknownMethod": 502,
    "ProcessStartFailed": 503,
    "TerminalUnavailable": 503,
}

BY_REASON: Mapping[type[GraError], Mapping[str, int]] = {
    GraError: OF_THE_API,
    errors.ClusterRefused: OF_THE_CLUSTER,
    errors.LaunchError: OF_A_LAUNCH,
    errors.RequestError: OF_AN_AGENT,
}


def status_of(error: GraError) -> int:
    """The HTTP status: by the error's reason where its class has a table of these, or by class."""
    for kind in type(error).__mro__:
        if not issubclass(kind, GraError):
            continue
        status = BY_REASON.get(kind, {}).get(error.code) or BY_CLASS.get(kind)
        if status is not None:
            return status
    return BY_CLASS[GraError]
