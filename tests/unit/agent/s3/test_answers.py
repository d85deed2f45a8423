"""Every answer of S3, and every way of getting none, has a reason and says what to do."""

from __future__ import annotations

import errno
import http.client
import socket
import ssl
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gra_provisioner.agent.failure import AgentError
from gra_provisioner.agent.s3.answers import of_answer, of_exception
from gra_provisioner.agent.s3.mount import Mount

_REASONS = {
    "S3AccessKeyUnknown",
    "S3SecretKeyWrong",
    "S3TokenExpired",
    "S3AccessDenied",
    "S3BucketMissing",
    "S3WrongRegion",
    "S3ClockSkew",
    "S3EndpointUnreachable",
    "S3TlsRefused",
    "S3NotS3",
    "S3ServerTrouble",
    "S3MountFailed",
}


def _mount(**changes: Any) -> Mount:
    value = {
        "id": "0",
        "bucket": "lake",
        "prefix": "team/a",
        "path": "/data/lake",
        "endpoint": "https://s3.example.com",
        "uid": 1000,
        "gid": 1000,
        "credentials": "own",
        "path_style": True,
    }
    return Mount.parse({**value, **changes})


def _error(code: str, message: str = "said", more: str = "") -> str:
    return (
        f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message>{more}</Error>"
    )


def _of(
    status: int, body: str = "", headers: dict[str, str] | None = None, **more: Any
) -> AgentError:
    error = of_answer(_mount(), status, headers or {}, body, **more)
    assert error is not None
    return error


def test_a_list_of_the_bucket_is_what_is_wanted() -> None:
    body = '<?xml version="1.0"?><ListBucketResult xmlns="x"><Name>lake</Name></ListBucketResult>'
    assert of_answer(_mount(), 200, {}, body) is None


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [
        (403, "InvalidAccessKeyId", "S3AccessKeyUnknown"),
        (403, "SignatureDoesNotMatch", "S3SecretKeyWrong"),
        (400, "ExpiredToken", "S3TokenExpired"),
        (400, "InvalidToken", "S3TokenExpired"),
        (403, "AccessDenied", "S3AccessDenied"),
        (404, "NoSuchBucket", "S3BucketMissing"),
        (400, "InvalidBucketName", "S3BucketMissing"),
        (400, "AuthorizationHeaderMalformed", "S3WrongRegion"),
        (301, "PermanentRedirect", "S3WrongRegion"),
        (403, "RequestTimeTooSkewed", "S3ClockSkew"),
        (503, "SlowDown", "S3ServerTrouble"),
        (500, "InternalError", "S3ServerTrouble"),
        (500, "NobodyKnows", "S3ServerTrouble"),
        (400, "NobodyKnows", "S3MountFailed"),
    ],
)
def test_each_code_has_its_reason(status: int, code: str, reason: str) -> None:
    error = _of(status, _error(code))

    assert error.reason == reason
    assert code in error.message
    assert error.hint


@pytest.mark.parametrize(
    ("status", "headers", "reason"),
    [
        (200, {}, "S3NotS3"),
        (404, {}, "S3NotS3"),
        (403, {}, "S3NotS3"),
        (302, {"location": "https://login.example.com"}, "S3NotS3"),
        (403, {"x-amz-request-id": "1"}, "S3AccessDenied"),
        (301, {"x-amz-bucket-region": "eu-west-1"}, "S3WrongRegion"),
        (502, {}, "S3ServerTrouble"),
        (429, {}, "S3ServerTrouble"),
    ],
)
def test_an_answer_without_a_code_is_told_by_its_status(
    status: int, headers: dict[str, str], reason: str
) -> None:
    assert _of(status, "<html>hello</html>", headers).reason == reason


def test_the_region_that_the_server_names_is_in_the_hint() -> None:
    by_body = _of(400, _error("AuthorizationHeaderMalformed", more="<Region>eu-west-1</Region>"))
    by_header = _of(301, "", {"x-amz-bucket-region": "eu-west-1"})

    for error in (by_body, by_header):
        assert 'region = "eu-west-1"' in error.hint


def test_it_says_how_far_the_clock_is_off() -> None:
    assert "3600 s behind" in _of(403, _error("RequestTimeTooSkewed"), skew=3600.0).message
    assert "3600 s ahead" in _of(403, _error("RequestTimeTooSkewed"), skew=-3600.0).message


def test_a_bucket_that_is_not_public_says_so_to_who_has_no_key() -> None:
    mount = _mount(credentials="anonymous")
    error = of_answer(mount, 403, {}, _error("AccessDenied"))

    assert error is not None
    assert "not public" in error.hint


@pytest.mark.parametrize(
    ("exception", "reason", "says"),
    [
        (socket.gaierror(socket.EAI_NONAME, "no"), "S3EndpointUnreachable", "name"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "no"), "S3EndpointUnreachable", "listens"),
        (TimeoutError("timed out"), "S3EndpointUnreachable", "in time (connecting)"),
        (OSError(errno.EHOSTUNREACH, "No route to host"), "S3EndpointUnreachable", "No route"),
        (http.client.RemoteDisconnected("x"), "S3EndpointUnreachable", "closed"),
        (http.client.BadStatusLine("SSH-2.0"), "S3NotS3", "not as S3"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong"), "S3TlsRefused", "TLS"),
        (UnicodeError("label too long"), "S3EndpointUnreachable", "name"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_each_way_of_getting_no_answer_has_its_reason(
    exception: Exception, reason: str, says: str
) -> None:
    error = of_exception(_mount(), exception, "connecting")

    assert error.reason == reason
    assert says in error.message
    assert error.hint


@given(
    st.integers(100, 599),
    st.text(max_size=300),
    st.dictionaries(st.sampled_from(["x-amz-id-2", "date", "server"]), st.text(max_size=20)),
)
def test_whatever_is_answered_has_a_known_reason(
    status: int, body: str, headers: dict[str, str]
) -> None:
    for text in (body, _error(body), f"<Error>{body}"):
        error = of_answer(_mount(), status, headers, text)
        assert error is None or error.reason in _REASONS
        assert error is None or len(error.message) < 500


@given(st.text(alphabet="abcdefgh0123456789", min_size=8, max_size=40))
def test_no_secret_that_a_server_repeats_gets_into_a_message(secret: str) -> None:
    error = _of(403, _error("SignatureDoesNotMatch", f"not {secret}!"), secrets=("AKIA", secret))

    assert f"not {secret}" not in error.message
