"""Requests are signed as S3 signs them."""

from __future__ import annotations

import calendar
import hashlib

import pytest

from gra_provisioner.agent.s3.signing import (
    EMPTY_PAYLOAD,
    Credentials,
    encoded_path,
    encoded_query,
    signed_headers,
)

_KEY = Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
_NOW = calendar.timegm((2013, 5, 24, 0, 0, 0))
_TEXT = hashlib.sha256(b"Welcome to Amazon S3.").hexdigest()


@pytest.mark.parametrize(
    ("method", "path", "query", "headers", "payload", "signature"),
    [
        (
            "GET",
            "/test.txt",
            {},
            {"Range": "bytes=0-9"},
            EMPTY_PAYLOAD,
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            "PUT",
            "/test$file.text",
            {},
            {
                "Date": "Fri, 24 May 2013 00:00:00 GMT",
                "x-amz-storage-class": "REDUCED_REDUNDANCY",
            },
            _TEXT,
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
        (
            "GET",
            "/",
            {"lifecycle": ""},
            {},
            EMPTY_PAYLOAD,
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        ),
        (
            "GET",
            "/",
            {"prefix": "J", "max-keys": "2"},
            {},
            EMPTY_PAYLOAD,
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ],
    ids=["get", "put", "lifecycle", "list"],
)
def test_the_signature_is_that_of_awss_examples(
    method: str,
    path: str,
    query: dict[str, str],
    headers: dict[str, str],
    payload: str,
    signature: str,
) -> None:
    sent = signed_headers(
        *(method, "examplebucket.s3.amazonaws.com", path, query, _KEY, "us-east-1", _NOW),
        headers=headers,
        payload=payload,
    )

    assert sent["authorization"].endswith(f"Signature={signature}")


def test_a_temporary_key_sends_its_token_and_signs_it() -> None:
    token = Credentials(_KEY.access_key, _KEY.secret_key, "the-token")
    sent = signed_headers("GET", "s3", "/", {}, token, "", _NOW)

    assert sent["x-amz-security-token"] == "the-token"
    assert "x-amz-security-token" in sent["authorization"]


def test_names_are_escaped_as_s3_signs_them() -> None:
    assert encoded_path("/lake/a b/ü+~.csv") == "/lake/a%20b/%C3%BC%2B~.csv"
    assert encoded_query({"prefix": "a/b c", "max-keys": "1"}) == "max-keys=1&prefix=a%2Fb%20c"


def test_credentials_are_never_shown_as_text() -> None:
    shown = f"{_KEY} {_KEY!r} {[_KEY]}"

    assert _KEY.secret_key not in shown
    assert _KEY.access_key not in shown
