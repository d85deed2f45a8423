"""Fixtures of the tests that use S3: one server for all of them, a bucket for each."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.s3 import S3Server


@pytest.fixture
def s3_folder() -> Iterator[Path]:
    """For a server of the test's own, which it stops or changes."""
    folder = Path(tempfile.mkdtemp(prefix="gra-s3-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """A server that tests share; none of them stops it."""
    folder = Path(tempfile.mkdtemp(prefix="gra-s3-"))
    with S3Server(folder) as server:
        yield server
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def bucket(s3_server: S3Server) -> str:
    """An empty bucket of the test's own, on the server that is shared."""
    name = f"lake-{secrets.token_hex(4)}"
    s3_server.make_bucket(name)
    return name
