"""What the API server's refusals mean, in its own words."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gra_provisioner.backends.kubernetes.reasons import Explanation, Reason
from gra_provisioner.backends.kubernetes.refusals import refusal
from tests.unit.backends.kubernetes.kubejson import recorded


def status_object(code: int, reason: str, message: str, **details: Any) -> dict[str, Any]:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "message": message,
        "reason": reason,
        "details": details,
        "code": code,
    }


def refused(code: int, message: str, reason: str = "Forbidden", **details: Any) -> Explanation:
    body = status_object(code, reason, message, **details)
    return refusal(code, body, "create", "pods", "team", user="ana")


@pytest.mark.parametrize(
    ("message", "reason", "words"),
    [
        (
            (
                'pods "runner-1" is forbidden: exceeded quota: team-quota, requested: '
                "limits.cpu=2, "
                "used: limits.cpu=7, limited: limits.cpu=8"
            ),
            Reason.QUOTA_EXCEEDED,
            "'team-quota'",
        ),
        (
            (
                'pods "runner-1" is forbidden: failed quota: team-quota: must specify '
                "limits.cpu for: s3; limits.memory for: s3"
            ),
            Reason.QUOTA_EXCEEDED,
            "does not name",
        ),
        (
            'pods "runner-1" is forbidden: insufficient quota to consume: requests.nvidia.com/gpu',
            Reason.QUOTA_EXCEEDED,
            "'team'",
        ),
        (
            'pods "runner-1" is forbidden: maximum cpu usage per Container is 1, but limit is 2',
            Reason.LIMIT_RANGE_VIOLATED,
            "LimitRange",
        ),
        (
            (
                'pods "runner-1" is forbidden: [minimum memory usage per Pod is 4Gi, but request '
                "is "
                "2147483648, cpu max limit to request ratio per Container is 2, but provided ratio "
                "is "
                "4.000000]"
            ),
            Reason.LIMIT_RANGE_VIOLATED,
            "LimitRange",
        ),
        (
            (
                'pods "runner-1" is forbidden: violates PodSecurity "restricted:latest": '
                'allowPrivilegeEscalation != false (container "runner" must set '
                "securityContext.allowPrivilegeEscalation=false)"
            ),
            Reason.POD_SECURITY_VIOLATED,
            "'restricted:latest'",
        ),
        (
            (
                'pods "runner-1" is forbidden: violates PodSecurity "baseline:latest": privileged '
                '(container "gra-s3" must not set securityContext.privileged=true)'
            ),
            Reason.POD_SECURITY_VIOLATED,
            "the privileged container that mounts buckets by s3fs",
        ),
        (
            (
                'pods "runner-1" is forbidden: error looking up service account team/robot: '
                'serviceaccount "robot" not found'
            ),
            Reason.SERVICE_ACCOUNT_MISSING,
            "'robot'",
        ),
        (
            'pods "runner-1" is forbidden: no PriorityClass with name urgent was found',
            Reason.PRIORITY_CLASS_MISSING,
            "'urgent'",
        ),
        (
            'pods "runner-1" is forbidden: pod rejected: RuntimeClass "gvisor" not found',
            Reason.RUNTIME_CLASS_MISSING,
            "'gvisor'",
        ),
        (
            (
                'pods "runner-1" is forbidden: unable to create new content in namespace team '
                "because "
                "it is being terminated"
            ),
            Reason.NAMESPACE_TERMINATING,
            "'team'",
        ),
        (
            'admission webhook "policy.example" denied the request: images must be signed',
            Reason.POLICY_DENIED,
            "'policy.example'",
        ),
        (
            (
                "pods \"runner-1\" is forbidden: ValidatingAdmissionPolicy 'no-root' with binding "
                "'no-root-team' denied request: runAsNonRoot is required"
            ),
            Reason.POLICY_DENIED,
            "'no-root'",
        ),
        (
            'pods "runner-1" is forbidden: something that nobody foresaw',
            Reason.FORBIDDEN,
            "create pods in the namespace 'team'",
        ),
    ],
)
def test_refusals_of_admission_are_told_apart_by_their_text(
    message: str, reason: Reason, words: str
) -> None:
    why = refused(403, message)
    assert why.reason == reason
    assert message in why.message
    assert words in why.message
    assert why.hint
    assert why.terminal
    assert why.details["status"] == 403


def test_who_may_not_do_what_is_told_with_the_role_that_would_allow_it() -> None:
    why = refused(
        403,
        'pods is forbidden: User "system:serviceaccount:team:ana" cannot create resource "pods" '
        'in API group "" in the namespace "team"',
    )
    assert why.reason == Reason.FORBIDDEN
    assert "'system:serviceaccount:team:ana' may not create pods in the namespace 'team'" in (
        why.message
    )
    assert why.hint.splitlines()[1:] == [
        "apiVersion: rbac.authorization.k8s.io/v1",
        "kind: Role",
        "metadata:",
        "  name: gra",
        "  namespace: team",
        "rules:",
        '- apiGroups: [""]',
        '  resources: ["pods"]',
        '  verbs: ["create"]',
    ]


def test_a_role_for_a_subresource_and_an_api_group() -> None:
    why = refused(
        403,
        'pods "runner-1" is forbidden: User "ana" cannot get resource "pods/portforward" in API '
        'group "metrics.k8s.io" in the namespace "team"',
    )
    assert 'resources: ["pods/portforward"]' in why.hint
    assert 'apiGroups: ["metrics.k8s.io"]' in why.hint
    assert 'verbs: ["get", "create"]' in why.hint


def test_a_websocket_that_is_refused_without_a_word_is_told_with_the_role_for_it() -> None:
    why = refusal(403, "", "create", "pods/exec", "team")
    assert why.reason == Reason.FORBIDDEN
    assert "create pods/exec in the namespace 'team'" in why.message
    assert 'resources: ["pods/exec"]' in why.hint
    assert 'verbs: ["get", "create"]' in why.hint


def test_a_right_in_the_whole_cluster_takes_a_cluster_role() -> None:
    why = refused(
        403,
        'namespaces is forbidden: User "ana" cannot list resource "namespaces" in API group "" '
        "at the cluster scope",
    )
    assert "kind: ClusterRole" in why.hint
    assert "namespace:" not in why.hint


def test_a_name_that_the_api_server_made_safe_for_browsers_is_itself_again() -> None:
    why = refused(
        403,
        'pods is forbidden: User "R&amp;D" cannot create resource "pods" in API group "" in the '
        'namespace "team"',
    )
    assert why.details["user"] == "R&D"


def test_a_missing_namespace_is_told_with_the_setting() -> None:
    why = refused(404, 'namespaces "team" not found', "NotFound", kind="namespaces", name="team")
    assert why.reason == Reason.NAMESPACE_MISSING
    assert "GRA_NAMESPACE" in why.hint
    assert "kubectl create namespace team" in why.hint


def test_fields_that_are_wrong_are_named() -> None:
    why = refused(
        422,
        'Pod "runner-1" is invalid: spec.containers[0].resources.requests: Invalid value: "3": '
        "must be less than or equal to cpu limit of 2",
        "Invalid",
        causes=[{"field": "spec.containers[0].resources.requests", "message": "x"}],
    )
    assert why.reason == Reason.INVALID_POD
    assert why.details["fields"] == ["spec.containers[0].resources.requests"]
    assert "pod.patch" in why.hint


def test_a_policy_that_answers_as_if_the_pod_were_invalid_is_a_policy() -> None:
    why = refused(
        422,
        "pods \"runner-1\" is forbidden: ValidatingAdmissionPolicy 'no-root' denied request: no",
        "Invalid",
    )
    assert why.reason == Reason.POLICY_DENIED


@pytest.mark.parametrize(
    ("code", "reason", "message", "expected", "terminal"),
    [
        (400, "BadRequest", 'strict decoding error: unknown field "a"', Reason.INVALID_POD, True),
        (401, "Unauthorized", "Unauthorized", Reason.CREDENTIALS_REJECTED, True),
        (404, "NotFound", 'pods "runner-1" not found', Reason.NOT_FOUND, True),
        (405, "MethodNotAllowed", "create is not supported", Reason.REQUEST_REFUSED, True),
        (409, "AlreadyExists", 'pods "runner-1" already exists', Reason.ALREADY_EXISTS, True),
        (409, "Conflict", "Operation cannot be fulfilled on pods", Reason.CONFLICT, False),
        (413, "RequestEntityTooLarge", "Request entity too large", Reason.INVALID_POD, True),
        (429, "TooManyRequests", "the server is busy", Reason.API_SERVER_TROUBLE, False),
        (500, "InternalError", "etcdserver: no leader", Reason.API_SERVER_TROUBLE, False),
        (503, "ServiceUnavailable", "apiserver is down", Reason.API_SERVER_TROUBLE, False),
        (504, "Timeout", "Timeout: request did not complete", Reason.API_SERVER_TROUBLE, False),
        (
            500,
            "InternalError",
            'Internal error occurred: failed calling webhook "policy.example": connection refused',
            Reason.API_SERVER_TROUBLE,
            False,
        ),
        (
            403,
            "Forbidden",
            'pods "runner-1" is forbidden: not yet ready to handle request',
            Reason.API_SERVER_TROUBLE,
            False,
        ),
    ],
)
def test_what_may_be_asked_again_is_not_terminal(
    code: int, reason: str, message: str, expected: Reason, terminal: bool
) -> None:
    why = refused(code, message, reason)
    assert why.reason == expected
    assert why.terminal is terminal
    assert message in why.message


def test_a_status_object_as_text_is_read_too() -> None:
    text = json.dumps(status_object(404, "NotFound", 'namespaces "team" not found'))
    assert refusal(404, text, "create", "pods", "team").reason == Reason.NAMESPACE_MISSING


def test_what_a_proxy_wrote_is_told() -> None:
    why = refusal(502, "<html>Bad Gateway</html>", "list", "pods", "team")
    assert why.reason == Reason.API_SERVER_TROUBLE
    assert "Bad Gateway" in why.message


_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@given(
    st.integers(400, 599),
    st.text(max_size=80)
    | st.fixed_dictionaries({}, optional={"message": _ANY, "reason": _ANY, "details": _ANY}),
    st.text(max_size=10),
)
def test_any_answer_has_an_explanation_of_json_types(status: int, body: Any, word: str) -> None:
    why = refusal(status, body, word, word, word, user=word)
    assert why.reason in {reason.value for reason in Reason}
    assert why.message
    assert json.loads(json.dumps(dict(why.details))) == why.details


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("quota", Reason.QUOTA_EXCEEDED),
        ("quota-unnamed", Reason.QUOTA_EXCEEDED),
        ("limit-range", Reason.LIMIT_RANGE_VIOLATED),
        ("pod-security", Reason.POD_SECURITY_VIOLATED),
        ("service-account", Reason.SERVICE_ACCOUNT_MISSING),
        ("priority-class", Reason.PRIORITY_CLASS_MISSING),
        ("runtime-class", Reason.RUNTIME_CLASS_MISSING),
        ("namespace-missing", Reason.NAMESPACE_MISSING),
        ("namespace-going", Reason.NAMESPACE_TERMINATING),
        ("forbidden", Reason.FORBIDDEN),
        ("forbidden-portforward", Reason.FORBIDDEN),
        ("forbidden-cluster", Reason.FORBIDDEN),
        ("unauthorized", Reason.CREDENTIALS_REJECTED),
        ("invalid", Reason.INVALID_POD),
        ("invalid-mount", Reason.INVALID_POD),
        ("not-decodable", Reason.INVALID_POD),
        ("already-exists", Reason.ALREADY_EXISTS),
        ("not-found", Reason.NOT_FOUND),
        ("admission-policy", Reason.POLICY_DENIED),
        ("webhook-away", Reason.API_SERVER_TROUBLE),
    ],
)
def test_real_refusals_are_explained(file: str, reason: Reason) -> None:
    data = recorded(f"refused-{file}")
    why = refusal(data["status"], data["body"], data["verb"], data["resource"], "team")
    assert why.reason == reason
    assert data["body"]["message"] in why.message
    assert why.terminal is reason.terminal
    assert json.loads(json.dumps(dict(why.details))) == why.details
