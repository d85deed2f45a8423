"""What the API server's refusals mean.

Most of what an admission plugin has to say comes as 403 Forbidden and is told apart by its text
alone.  The texts are those of Kubernetes 1.28 to 1.34.
Sources: kubernetes ``apimachinery/pkg/api/errors`` (Status objects), ``apiserver/pkg/endpoints/
handlers/responsewriters/errors.go`` (RBAC), ``apiserver/pkg/admission/plugin/{resourcequota,
namespace/lifecycle,webhook,policy}``, ``plugin/pkg/admission/{limitranger,serviceaccount,priority,
runtimeclass}``, ``pod-security-admission/admission``.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .podview import json_object, mappings, text
from .reasons import Explanation, Reason, explain, quote


@dataclass(frozen=True)
class _Request:
    """What was asked, and what was answered."""

    status: int
    sentence: str
    body: Mapping[str, Any]
    verb: str
    resource: str
    namespace: str
    user: str

    @property
    def what(self) -> str:
        """``create pods in the namespace 'team'``."""
        where = f" in the namespace {self.namespace!r}" if self.namespace else ""
        return f"{self.verb} {self.resource}{where}"


def refusal(
    status: int,
    body: Mapping[str, Any] | str,
    verb: str,
    resource: str,
    namespace: str,
    *,
    user: str = "",
) -> Explanation:
    """What an answer of ``status`` 400 or more means, to a request such as ``create pods``.

    ``body`` is the answer's Status object, or whatever text a proxy in between wrote.  ``user`` is
    whom the credentials name, where the answer does not.  The explanation is ``terminal`` unless
    the same request may soon succeed; ``details["status"]`` has the HTTP status.
    """
    answer = body if isinstance(body, Mapping) else json_object(body) or {"message": body}
    sentence = html.unescape(text(answer, "message")).strip() or f"HTTP status {status}"
    request = _Request(status, sentence, answer, verb, resource, namespace, user)
    why = _from_text(request) or _FROM_STATUS.get(status, _other)(request)
    return Explanation(why.reason, why.message, why.hint, {**why.details, "status": status})


# -- told by their text -------------------------------------------------------------------------


@dataclass(frozen=True)
class _Rule:
    """A text of the API server's, and what it means."""

    pattern: re.Pattern[str]
    reason: Reason
    message: str
    hint: str


def _rule(pattern: str, reason: Reason, message: str, hint: str) -> _Rule:
    return _Rule(re.compile(pattern), reason, message, hint)


# The groups of a pattern fill in its message.
_RULES = (
    _rule(
        r"violates PodSecurity \"(?P<level>[^\"]+)\".*\"gra-s3\" must not set "
        r"securityContext\.privileged",
        Reason.POD_SECURITY_VIOLATED,
        "The namespace {namespace!r} enforces the Pod Security level {level!r}, which does not "
        "allow the privileged container that mounts buckets by s3fs",
        "An administrator can allow it: kubectl label --overwrite namespace {namespace} "
        "pod-security.kubernetes.io/enforce=privileged\nOf the other two ways in the profile's "
        's3, via = "volume" is a claim or a CSI driver of the cluster, and via = "fsspec" mounts '
        "nothing: Python reads s3:// itself.",
    ),
    _rule(
        r"violates PodSecurity \"(?P<level>[^\"]+)\"",
        Reason.POD_SECURITY_VIOLATED,
        "The namespace {namespace!r} enforces the Pod Security level {level!r}, which the "
        "runner's pod does not meet",
        "Change what it names in the profile (pod.user, pod.volumes, pod.patch), or use a "
        "namespace that allows it.",
    ),
    _rule(
        r"exceeded quota: (?P<quota>\S+),",
        Reason.QUOTA_EXCEEDED,
        "The quota {quota!r} of the namespace {namespace!r} is used up",
        "Delete runners that are not needed, use a smaller profile, or ask the cluster's "
        "administrator for more.",
    ),
    _rule(
        r"failed quota: (?P<quota>[^\s:]+): must specify",
        Reason.QUOTA_EXCEEDED,
        "The quota {quota!r} of the namespace {namespace!r} demands sizes that the runner's "
        "pod does not name",
        "Set them in the profile: resources, or pod.patch for containers of your own.",
    ),
    _rule(
        r"insufficient quota to (?:consume|match)|(?:status unknown for|failed) quota",
        Reason.QUOTA_EXCEEDED,
        "A quota of the namespace {namespace!r} does not allow it",
        "Ask the cluster's administrator.",
    ),
    _rule(
        r"(?:minimum|maximum) \S+ usage per \S+ is|max limit to request ratio per",
        Reason.LIMIT_RANGE_VIOLATED,
        "A LimitRange of the namespace {namespace!r} does not allow the runner's size",
        "Use a profile within these limits (resources, pod.requests), or ask the cluster's "
        "administrator.",
    ),
    _rule(
        r"error looking up service account \S+/(?P<account>[^\s:]+):.* not found",
        Reason.SERVICE_ACCOUNT_MISSING,
        "There is no service account {account!r} in the namespace {namespace!r}",
        "Create it, or correct pod.service_account in the profile.",
    ),
    _rule(
        r"no PriorityClass with name (?P<name>\S+) was found",
        Reason.PRIORITY_CLASS_MISSING,
        "The cluster has no priority class {name!r}",
        "Correct pod.priority_class in the profile; `kubectl get priorityclasses` shows them.",
    ),
    _rule(
        r"RuntimeClass \"(?P<name>[^\"]+)\" not found",
        Reason.RUNTIME_CLASS_MISSING,
        "The cluster has no runtime class {name!r}",
        "Correct pod.runtime_class in the profile; `kubectl get runtimeclasses` shows them.",
    ),
    _rule(
        r"namespace (?P<gone>\S+) (?:is being|because it is being) terminated"
        r"|in namespace (?P<going>\S+) because it is being terminated",
        Reason.NAMESPACE_TERMINATING,
        "The namespace {namespace!r} is being deleted",
        "Use another namespace, or wait until it is gone and create it anew.",
    ),
    _rule(
        r"namespaces? \"(?P<name>[^\"]+)\" not found",
        Reason.NAMESPACE_MISSING,
        "There is no namespace {name!r}",
        "Correct the namespace (GRA_NAMESPACE, or `namespace` of [kubernetes] in the "
        "configuration), or have it created: `kubectl create namespace {name}`.",
    ),
    _rule(
        r"admission webhook \"(?P<name>[^\"]+)\" denied the request",
        Reason.POLICY_DENIED,
        "The cluster's admission webhook {name!r} does not allow it",
        "The rule is the cluster's own: change what it names in the profile, or ask the "
        "cluster's administrator.",
    ),
    _rule(
        r"ValidatingAdmissionPolicy '(?P<name>[^']+)'.* denied request",
        Reason.POLICY_DENIED,
        "The cluster's admission policy {name!r} does not allow it",
        "The rule is the cluster's own: change what it names in the profile, or ask the "
        "cluster's administrator.",
    ),
    _rule(
        r"failed calling webhook \"(?P<name>[^\"]+)\"",
        Reason.API_SERVER_TROUBLE,
        "The cluster's admission webhook {name!r} does not answer, and without it nothing is "
        "created",
        "Try again later; the cluster's administrator can mend it.",
    ),
    _rule(
        r"not yet ready to handle request",
        Reason.API_SERVER_TROUBLE,
        "The API server is still starting",
        "Try again in a moment.",
    ),
)


def _from_text(request: _Request) -> Explanation | None:
    for rule in _RULES:
        match = rule.pattern.search(request.sentence)
        if match is None:
            continue
        names = {name: value for name, value in match.groupdict().items() if value}
        words = {"namespace": request.namespace, **names}
        # Of a hint, only the command has something to fill in.
        hint = rule.hint.replace("{name}", words.get("name", ""))
        hint = hint.replace("{namespace}", request.namespace)
        message = f"{rule.message.format(**words)}: {quote(request.sentence)}"
        return explain(rule.reason, message, hint, **names)
    return None


# -- told by the status -------------------------------------------------------------------------

# https://kubernetes.io/docs/reference/access-authn-authz/authorization/
_RBAC = re.compile(
    r'User "(?P<user>[^"]*)" cannot (?P<verb>\S+) resource "(?P<resource>[^"]+)" '
    r'in API group "(?P<group>[^"]*)" (?:in the namespace "(?P<namespace>[^"]*)"|at the cluster)'
)
# What a subresource that is a websocket wants: get up to Kubernetes 1.34, create from 1.35 on.
_TO_CONNECT = ("get", "create")
# A subresource that is none.
_LOG = "pods/log"


def _verbs(verb: str, resource: str) -> Sequence[str]:
    return _TO_CONNECT if "/" in resource and resource != _LOG else (verb,)


def _forbidden(request: _Request) -> Explanation:
    match = _RBAC.search(request.sentence)
    if match is None:
        hint = "Ask the cluster's administrator."
        if "/" in request.resource and not text(request.body, "message"):
            # Something on the way has kept what the API server said.
            verbs = _verbs(request.verb, request.resource)
            role = _role(verbs, request.resource, "", request.namespace)
            hint = f"Most likely the user lacks this rule, in a Role that is bound to it:\n{role}"
        return explain(
            Reason.FORBIDDEN,
            f"The cluster does not allow to {request.what}: {quote(request.sentence)}",
            hint,
            user=request.user,
        )
    user, namespace = match["user"] or request.user, match["namespace"]
    where = f"in the namespace {namespace!r}" if namespace else "in the whole cluster"
    verbs = _verbs(match["verb"], match["resource"])
    whom = f"The user {user!r}" if user else "Whoever the credentials name"
    return explain(
        Reason.FORBIDDEN,
        f"{whom} may not {match['verb']} {match['resource']} {where}: {quote(request.sentence)}",
        "Other credentials (another context), or this rule in a Role that is bound to the user:\n"
        + _role(verbs, match["resource"], match["group"], namespace),
        user=user,
        verb=match["verb"],
        resource=match["resource"],
        namespace=namespace,
    )


def _role(verbs: Sequence[str], resource: str, group: str, namespace: str | None) -> str:
    """The YAML that allows these verbs on one resource.

    Source: https://kubernetes.io/docs/reference/access-authn-authz/rbac/#role-example
    """
    kind = "Role" if namespace else "ClusterRole"
    place = [f"  namespace: {namespace}"] if namespace else []
    return "\n".join(
        [
            "apiVersion: rbac.authorization.k8s.io/v1",
            f"kind: {kind}",
            "metadata:",
            "  name: gra",
            *place,
            "rules:",
            f'- apiGroups: ["{group}"]',
            f'  resources: ["{resource}"]',
            f"  verbs: {json.dumps(list(verbs))}",
        ]
    )


def _unauthorized(request: _Request) -> Explanation:
    return explain(
        Reason.CREDENTIALS_REJECTED,
        f"The API server does not accept the credentials ({request.what}): "
        f"{quote(request.sentence)}",
        "They have expired or are another cluster's: log in again, as for kubectl. "
        "`kubectl auth whoami` with the same context shows whether it worked.",
        user=request.user,
    )


def _not_found(request: _Request) -> Explanation:
    return explain(
        Reason.NOT_FOUND,
        f"What was asked for is not there ({request.what}): {quote(request.sentence)}",
        "It was deleted, or the address is not that of a Kubernetes API server.",
    )


def _conflict(request: _Request) -> Explanation:
    if text(request.body, "reason") == "AlreadyExists":
        return explain(Reason.ALREADY_EXISTS, f"The name is taken: {quote(request.sentence)}")
    return explain(
        Reason.CONFLICT,
        f"Something else changed it at the same time ({request.what}): {quote(request.sentence)}",
        "Try again.",
    )


def _invalid(request: _Request) -> Explanation:
    if request.resource == _LOG:
        return explain(Reason.REQUEST_REFUSED, f"The log cannot be read: {quote(request.sentence)}")
    causes = mappings(request.body, "details", "causes")
    fields = list(dict.fromkeys(field for cause in causes if (field := text(cause, "field"))))
    named = f" ({', '.join(fields)})" if fields else ""
    return explain(
        Reason.INVALID_POD,
        f"Something in it is not valid{named}: {quote(request.sentence)}",
        "Correct the profile: its pod table, and above all pod.patch.",
        fields=fields,
    )


def _trouble(request: _Request) -> Explanation:
    return explain(
        Reason.API_SERVER_TROUBLE,
        f"The API server cannot {request.what} just now (HTTP {request.status}): "
        f"{quote(request.sentence)}",
        "It is overloaded or being repaired, as a rule for a short time. Runners go on.",
    )


def _other(request: _Request) -> Explanation:
    if request.status >= 500:
        return _trouble(request)
    return explain(
        Reason.REQUEST_REFUSED,
        f"The API server refused to {request.what} (HTTP {request.status}): "
        f"{quote(request.sentence)}",
        "Is the address that of a Kubernetes API server, and not of a proxy before it?",
    )


_FROM_STATUS: dict[int, Callable[[_Request], Explanation]] = {
    400: _invalid,
    401: _unauthorized,
    403: _forbidden,
    404: _not_found,
    409: _conflict,
    413: _invalid,
    422: _invalid,
    429: _trouble,
}
