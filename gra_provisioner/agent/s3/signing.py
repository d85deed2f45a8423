"""Requests to S3, signed.  Pure.

AWS Signature Version 4, as S3 wants it:
https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from typing import Dict, Mapping, NamedTuple
from urllib.parse import quote

EMPTY_PAYLOAD = hashlib.sha256(b"").hexdigest()
# What most servers that are not AWS take for theirs.
DEFAULT_REGION = "us-east-1"
_ALGORITHM = "AWS4-HMAC-SHA256"
_SERVICE = "s3"


class Credentials(NamedTuple):
    """A key of S3.  ``session_token`` is empty for keys that last.  Never shown as text."""

    access_key: str
    secret_key: str
    session_token: str = ""

    def __repr__(self) -> str:
        return "Credentials(…)"


def encoded_path(path: str) -> str:
    """A path of a URL as it is signed and sent: all but ``/`` and unreserved characters escaped."""
    return quote(path, safe="/-_.~")


def encoded_query(query: Mapping[str, str]) -> str:
    """A query in canonical order, as it is signed and sent."""
    pairs = sorted((quote(name, safe="-_.~"), quote(query[name], safe="-_.~")) for name in query)
    return "&".join(f"{name}={value}" for name, value in pairs)


def signed_headers(
    method: str,
    host: str,
    path: str,
    query: Mapping[str, str],
    credentials: Credentials,
    region: str,
    now: float,
    headers: Mapping[str, str] = {},
    payload: str = EMPTY_PAYLOAD,
) -> Dict[str, str]:
    """All headers of a request, the signature among them; ``headers`` are more to be signed.

    ``host`` is the header's value (with the port where it is not the scheme's own), ``path`` is
    not escaped, ``now`` is seconds since the epoch, ``payload`` the body's SHA-256 in hexadecimal.
    """
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    sent = {
        **{name.lower(): value.strip() for name, value in headers.items()},
        "host": host,
        "x-amz-content-sha256": payload,
        "x-amz-date": moment,
    }
    if credentials.session_token:
        sent["x-amz-security-token"] = credentials.session_token
    names = ";".join(sorted(sent))
    request = "\n".join(
        (
            method,
            encoded_path(path),
            encoded_query(query),
            *(f"{name}:{sent[name]}" for name in sorted(sent)),
            "",
            names,
            payload,
        )
    )
    scope = f"{moment[:8]}/{region or DEFAULT_REGION}/{_SERVICE}/aws4_request"
    digest = hashlib.sha256(request.encode()).hexdigest()
    text = f"{_ALGORITHM}\n{moment}\n{scope}\n{digest}"
    key = f"AWS4{credentials.secret_key}".encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    sent["authorization"] = (
        f"{_ALGORITHM} Credential={credentials.access_key}/{scope},"
        f"SignedHeaders={names},Signature={signature}"
    )
    return sent
