"""What an answer of S3, or none, means: a reason, a message and what to do.  Pure.

The codes are S3's (https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html); servers
that are not AWS have the same, or fewer.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
from typing import Dict, Mapping, Optional, Tuple

from ..failure import AgentError
from .mount import ANONYMOUS, Mount
from .signing import DEFAULT_REGION

_CODES: Dict[str, str] = {
    "AccessDenied": "S3AccessDenied",
    "AccountProblem": "S3AccessDenied",
    "AllAccessDisabled": "S3AccessDenied",
    "InvalidObjectState": "S3AccessDenied",
    "MethodNotAllowed": "S3AccessDenied",
    "InvalidAccessKeyId": "S3AccessKeyUnknown",
    "NoSuchAccessKey": "S3AccessKeyUnknown",
    "NotSignedUp": "S3AccessKeyUnknown",
    "SignatureDoesNotMatch": "S3SecretKeyWrong",
    "ExpiredToken": "S3TokenExpired",
    "InvalidToken": "S3TokenExpired",
    "InvalidTokenId": "S3TokenExpired",
    "TokenRefreshRequired": "S3TokenExpired",
    "InvalidBucketName": "S3BucketMissing",
    "NoSuchBucket": "S3BucketMissing",
    "AuthorizationHeaderMalformed": "S3WrongRegion",
    "IllegalLocationConstraintException": "S3WrongRegion",
    "IncorrectEndpoint": "S3WrongRegion",
    "InvalidRegion": "S3WrongRegion",
    "PermanentRedirect": "S3WrongRegion",
    "Redirect": "S3WrongRegion",
    "TemporaryRedirect": "S3WrongRegion",
    "RequestExpired": "S3ClockSkew",
    "RequestTimeTooSkewed": "S3ClockSkew",
    "BandwidthLimitExceeded": "S3ServerTrouble",
    "InternalError": "S3ServerTrouble",
    "RequestTimeout": "S3ServerTrouble",
    "ServiceUnavailable": "S3ServerTrouble",
    "SlowDown": "S3ServerTrouble",
    "Throttling": "S3ServerTrouble",
}
_HINTS: Dict[str, str] = {
    "S3AccessDenied": "Let this key list the bucket (s3:ListBucket) and read it (s3:GetObject), or "
    "name a bucket or prefix that it may use.",
    "S3AccessKeyUnknown": "Check the access key, and that it is of this endpoint: it may have been "
    "revoked, or mistyped.",
    "S3SecretKeyWrong": "Check the secret key: it may have been rotated, mistyped, or be that of "
    "another access key.",
    "S3TokenExpired": "Get new temporary credentials, then restart the kernel.",
    "S3BucketMissing": "Check the bucket's name, and the endpoint; gra makes no buckets.",
    "S3WrongRegion": "Set the mount's region, and an endpoint of that region.",
    "S3ClockSkew": "Set the clock of the machine that the runner is on (NTP).",
    "S3ServerTrouble": "It is the server that has trouble; gra tries again.",
    "S3NotS3": "Check the endpoint: it is to be the URL of an S3 server's API, not of its console "
    "or of a web site.",
    "S3MountFailed": "Look up the server's code, or ask who runs it.",
}
_LONGEST = 200


def redacted(text: str, secrets: Tuple[str, ...]) -> str:
    """A text without what is secret."""
    for secret in secrets:
        if len(secret) > 3:
            text = text.replace(secret, "…")
    return text


def of_answer(
    mount: Mount,
    status: int,
    headers: Mapping[str, str],
    body: str,
    skew: float = 0.0,
    secrets: Tuple[str, ...] = (),
) -> Optional[AgentError]:
    """What is wrong, or None where the bucket was listed.

    ``headers`` have lower-case names; ``skew`` is how many seconds the server's clock is ahead.
    """
    if status == 200 and "<ListBucketResult" in body:
        return None
    code = _element(body, "Code") if "<Error" in body else ""
    said = redacted(_element(body, "Message"), secrets) if code else ""
    region = _element(body, "Region") or headers.get("x-amz-bucket-region", "")
    if not code:
        code, reason = f"HTTP {status}", _of_status(status, headers)
    else:
        reason = _CODES.get(code, "S3ServerTrouble" if status >= 500 else "S3MountFailed")
    messages = {
        "S3AccessDenied": f"The key may not list {mount.source}",
        "S3AccessKeyUnknown": f"{mount.endpoint} does not know the access key",
        "S3SecretKeyWrong": f"{mount.endpoint} does not take the signature: the secret key is "
        "not that of the access key",
        "S3TokenExpired": f"The temporary credentials for {mount.source} have expired or are "
        "no longer valid",
        "S3BucketMissing": f"There is no bucket {mount.bucket} at {mount.endpoint}",
        "S3WrongRegion": f"The bucket {mount.bucket} is not in the region "
        f"{mount.region or DEFAULT_REGION}" + (f" but in {region}" if region else ""),
        "S3ClockSkew": "The clock of the runner's machine is not that of "
        f"{mount.endpoint}: {_skew_text(skew)}",
        "S3ServerTrouble": f"{mount.endpoint} has trouble",
        "S3NotS3": f"{mount.endpoint} answers, but not as S3 does",
        "S3MountFailed": f"{mount.endpoint} refused to list {mount.source}",
    }
    hint = _HINTS[reason]
    if reason == "S3AccessDenied" and mount.credentials == ANONYMOUS:
        messages[reason] = f"{mount.source} may not be listed without a key"
        hint = "Give the mount credentials: the bucket is not public."
    if reason == "S3WrongRegion" and region:
        hint = f'Set region = "{region}" for the mount, and an endpoint of that region.'
    return AgentError(reason, f"{messages[reason]} ({_cut(code, said)}).", hint)


def _skew_text(skew: float) -> str:
    if abs(skew) < 1:
        return "they differ by more than 15 minutes"
    return f"it is {abs(skew):.0f} s {'behind' if skew > 0 else 'ahead'}"


def _of_status(status: int, headers: Mapping[str, str]) -> str:
    is_s3 = any(name.startswith("x-amz-") for name in headers)
    if status in (301, 307) and is_s3:
        return "S3WrongRegion"
    if status in (401, 403) and is_s3:
        return "S3AccessDenied"
    if status in (429, 500, 502, 503, 504):
        return "S3ServerTrouble"
    return "S3NotS3"


def _element(body: str, name: str) -> str:
    found = re.search(f"<{name}>([^<]*)</{name}>", body)
    return found.group(1) if found else ""


def _cut(code: str, said: str) -> str:
    text = f"{code}: {said}" if said else code
    text = re.sub(r"[\x00-\x1f\x7f]+", " ", text).strip().rstrip(".")
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"


def of_exception(mount: Mount, error: BaseException, doing: str = "") -> AgentError:
    """What is wrong where no answer came.  ``doing`` is what was under way at a time-out."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return AgentError(
            "S3TlsRefused",
            f"The certificate of {mount.endpoint} is not trusted: {error.verify_message}.",
            "Name the certificate authority's bundle in the mount's profile, or use an endpoint "
            "by the name that its certificate is for.",
        )
    if isinstance(error, ssl.SSLError):
        said = str(getattr(error, "reason", None) or "the handshake failed")
        return AgentError(
            "S3TlsRefused",
            f"{mount.endpoint} could not be spoken to with TLS: {said.replace('_', ' ').lower()}.",
            "Check that the server speaks https at this port; a server without TLS has an "
            "endpoint that begins with http://.",
        )
    if isinstance(error, UnicodeError):
        # A host name that no resolver takes.
        error = socket.gaierror(socket.EAI_NONAME, "the name cannot be one of a host")
    if isinstance(error, (http.client.HTTPException, ValueError)) and not isinstance(
        error, ConnectionError
    ):
        return AgentError(
            "S3NotS3", f"{mount.endpoint} answers, but not as S3 does.", _HINTS["S3NotS3"]
        )
    if isinstance(error, socket.gaierror):
        what = "its name is not known here"
        hint = "Check the endpoint's name, and that the runner's DNS knows it."
    elif isinstance(error, ConnectionRefusedError):
        what = "nobody listens there"
        hint = "Check the endpoint's port, and that the server runs."
    elif isinstance(error, (socket.timeout, TimeoutError)):
        what = f"it did not answer in time{f' ({doing})' if doing else ''}"
        hint = "Check that the runner's network lets it reach the endpoint."
    elif isinstance(error, ConnectionError):
        what = "it closed the connection"
        hint = "Check the endpoint, and whether it is to begin with https://."
    else:
        what = str(getattr(error, "strerror", None) or type(error).__name__)
        hint = "Check that the runner's network lets it reach the endpoint."
    return AgentError("S3EndpointUnreachable", f"{mount.endpoint} cannot be reached: {what}.", hint)
