"""Why a runner in a pod was not made, did not start, or ended: names that stay the same.

An :class:`Explanation` is what the pure modules beside this one give: for the backend, which
makes an error of it, and for ``gra list``, which shows it.  ``docs/errors.md`` has every
:class:`Reason` with what to do about it.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


class Reason(str, enum.Enum):
    """Every reason that the Kubernetes backend finds by itself.

    The agent's own (``Orphaned``, ``Idle``, ``LifetimeReached``) pass through as they are.
    """

    # -- the API server refused ---------------------------------------------------------------
    # Terminal: the credentials are wrong or have expired.
    CREDENTIALS_REJECTED = "CredentialsRejected"
    # Terminal: the user may not do this in this namespace.
    FORBIDDEN = "Forbidden"
    # Terminal: the namespace does not exist.
    NAMESPACE_MISSING = "NamespaceMissing"
    # Terminal: the namespace is being deleted.
    NAMESPACE_TERMINATING = "NamespaceTerminating"
    # Terminal: a ResourceQuota of the namespace is used up, or demands what the pod lacks.
    QUOTA_EXCEEDED = "QuotaExceeded"
    # Terminal: the pod asks for more or less than a LimitRange allows.
    LIMIT_RANGE_VIOLATED = "LimitRangeViolated"
    # Terminal: the namespace enforces a Pod Security level that the pod does not meet.
    POD_SECURITY_VIOLATED = "PodSecurityViolated"
    # Terminal: the pod's service account does not exist.
    SERVICE_ACCOUNT_MISSING = "ServiceAccountMissing"
    # Terminal: the pod's priority class does not exist.
    PRIORITY_CLASS_MISSING = "PriorityClassMissing"
    # Terminal: the pod's runtime class does not exist.
    RUNTIME_CLASS_MISSING = "RuntimeClassMissing"
    # Terminal: an admission policy or webhook of the cluster said no.
    POLICY_DENIED = "PolicyDenied"
    # Terminal: a field of the pod is wrong.
    INVALID_POD = "InvalidPod"
    # Terminal for the name that was tried: another object has it.
    ALREADY_EXISTS = "AlreadyExists"
    # Terminal: what was asked for is not there.
    NOT_FOUND = "NotFound"
    # Terminal: refused with a status that says no more.
    REQUEST_REFUSED = "RequestRefused"
    # Not terminal: the object was changed at the same time.
    CONFLICT = "Conflict"
    # Not terminal: the API server, or a webhook that it asks, is overloaded or broken.
    API_SERVER_TROUBLE = "ApiServerTrouble"

    # -- no node takes the pod ----------------------------------------------------------------
    # Terminal: no node is large enough, even when it is empty.
    TOO_LARGE_FOR_ANY_NODE = "TooLargeForAnyNode"
    # Terminal after a while: nodes are large enough, and all in use.
    CLUSTER_FULL = "ClusterFull"
    # Terminal: node selector or affinity match no node.
    NO_MATCHING_NODE = "NoMatchingNode"
    # Terminal: every node that is left has a taint that the pod does not tolerate.
    UNTOLERATED_TAINT = "UntoleratedTaint"
    # Not terminal: the nodes are starting, or away for a moment.
    NODES_NOT_READY = "NodesNotReady"
    # Terminal after a while: the cluster has no node.
    NO_NODES = "NoNodes"
    # Terminal: a volume of the pod cannot be used on any node that would do.
    VOLUME_NOT_ON_ANY_NODE = "VolumeNotOnAnyNode"
    # Terminal after a while: refused for a reason that is none of the above.
    UNSCHEDULABLE = "Unschedulable"
    # Terminal: a PersistentVolumeClaim that the pod names does not exist.
    CLAIM_MISSING = "ClaimMissing"
    # Terminal once it is known that no volume will come: a claim has none.
    CLAIM_UNBOUND = "ClaimUnbound"
    # Terminal: a claim is being deleted, or its volume is gone.
    CLAIM_UNUSABLE = "ClaimUnusable"

    # -- the image ----------------------------------------------------------------------------
    # Terminal: the registry has no such image.
    IMAGE_NOT_FOUND = "ImageNotFound"
    # Terminal: the registry does not give the image to this cluster.
    IMAGE_PULL_DENIED = "ImagePullDenied"
    # Terminal: the name is none that an image can have.
    INVALID_IMAGE_NAME = "InvalidImageName"
    # Terminal: the node does not have the image and may not pull it.
    IMAGE_NOT_ON_NODE = "ImageNotOnNode"
    # Terminal: the image is not made for this kind of machine.
    IMAGE_WRONG_PLATFORM = "ImageWrongPlatform"
    # Terminal: its signature is not the one that the cluster demands.
    IMAGE_UNTRUSTED = "ImageUntrusted"
    # Terminal from the second failure on: the registry does not answer, or not as it should.
    REGISTRY_UNREACHABLE = "RegistryUnreachable"
    # Terminal from the second failure on: the registry allows no more downloads for now.
    REGISTRY_RATE_LIMIT = "RegistryRateLimit"
    # Terminal from the second failure on: the node has no room for the image.
    NODE_DISK_FULL = "NodeDiskFull"
    # Terminal from the second failure on: any other failure of a pull.
    IMAGE_PULL_FAILED = "ImagePullFailed"

    # -- volumes and the container ------------------------------------------------------------
    # Terminal: a Secret, or a key in it, does not exist.
    SECRET_MISSING = "SecretMissing"  # noqa: S105
    # Terminal: a ConfigMap, or a key in it, does not exist.
    CONFIG_MAP_MISSING = "ConfigMapMissing"
    # Not terminal: a volume cannot be mounted yet.
    VOLUME_NOT_MOUNTED = "VolumeNotMounted"
    # Terminal: the image would run as root, or as a user whose number is not known.
    RUNS_AS_ROOT = "RunsAsRoot"
    # Terminal: the image has no such Python.
    NO_PYTHON = "NoPython"
    # Terminal: the Python of the image may not be executed, or not on this machine.
    PYTHON_NOT_EXECUTABLE = "PythonNotExecutable"
    # Terminal: the container could not be made or started, for any other reason.
    CONTAINER_NOT_STARTED = "ContainerNotStarted"
    # Terminal: a container that must run before the runner failed.
    INIT_CONTAINER_FAILED = "InitContainerFailed"
    # Terminal: the node that was chosen sent the pod back.
    REJECTED_BY_NODE = "RejectedByNode"
    # Terminal: what was expected did not happen within the time allowed.
    START_TIMEOUT = "StartTimeout"

    # -- ends: all terminal -------------------------------------------------------------------
    # The agent's options are not those that it knows.
    AGENT_REFUSED_OPTIONS = "AgentRefusedOptions"
    # The agent exited with an error.
    AGENT_CRASHED = "AgentCrashed"
    # The agent was killed by a signal, without a word of whose.
    AGENT_KILLED = "AgentKilled"
    # The agent is gone and nobody knows how.
    AGENT_LOST = "AgentLost"
    # The agent got SIGTERM, and nothing says who sent it.
    TERMINATED = "Terminated"
    # The whole runner ran out of memory.
    OOM_KILLED = "OOMKilled"
    # Its node was short of something, or it used more disk than it may.
    EVICTED = "Evicted"
    # Somebody asked for its eviction, for example to empty the node.
    EVICTED_BY_REQUEST = "EvictedByRequest"
    # A pod of higher priority needed the room.
    PREEMPTED = "Preempted"
    # It ran for activeDeadlineSeconds.
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    # Its node was shut down.
    NODE_SHUTDOWN = "NodeShutdown"
    # Its node was lost, and the cluster gave it up.
    NODE_LOST = "NodeLost"
    # It was deleted by gra.
    DELETED = "Deleted"
    # It was deleted by something else than gra.
    DELETED_OUTSIDE_GRA = "DeletedOutsideGra"

    # -- away ---------------------------------------------------------------------------------
    # Not terminal: its node does not answer, so that nobody knows how it is.
    NODE_NOT_READY = "NodeNotReady"

    @property
    def terminal(self) -> bool:
        """Whether nothing will change by waiting or by asking again."""
        return self not in _NOT_TERMINAL


_NOT_TERMINAL = frozenset(
    {
        Reason.CONFLICT,
        Reason.API_SERVER_TROUBLE,
        Reason.NODES_NOT_READY,
        Reason.VOLUME_NOT_MOUNTED,
        Reason.NODE_NOT_READY,
    }
)

# Longer than any sentence of Kubernetes' own; an event has at most 1,024 bytes.
_LONGEST = 4000


@dataclass(frozen=True)
class Explanation:
    """What happened and what to do about it, with the meaning of the fields of ``GraError``.

    ``reason`` is a :class:`Reason`'s value or the agent's own word.  ``details`` has JSON types
    only.
    """

    reason: str
    message: str
    hint: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def terminal(self) -> bool:
        """Whether nothing will change by waiting or by asking again."""
        return self.reason not in _NOT_TERMINAL


def explain(reason: Reason, message: str, hint: str = "", **details: Any) -> Explanation:
    """An explanation of this reason.  ``details`` that are ``None`` or empty are left out."""
    kept = {name: value for name, value in details.items() if value not in (None, "", [], {})}
    return Explanation(reason.value, message, hint, kept)


def quote(sentence: str) -> str:
    """A sentence of Kubernetes' own, fit to stand at the end of one of ours."""
    sentence = " ".join(sentence.split())
    if len(sentence) > _LONGEST:
        sentence = sentence[: _LONGEST - 1] + "…"
    return sentence if sentence.endswith((".", "…", "!", "?")) else f"{sentence}."
