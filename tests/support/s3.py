"""A real S3 server: versitygw over a folder of its own.

::

    with S3Server(folder) as server:
        server.make_bucket("lake")
        server.put("lake", "team/a/x.csv", b"a,b")
        user = server.add_user("reader")      # a key of its own, which may do nothing yet
        server.stop(); server.start()         # the same address, the same data

Pods reach one whose ``address`` is the node's (``tests.cluster.layout.NODE_ADDRESS``).
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import random
import secrets
import signal
import socket
import ssl
import subprocess
import time
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path

from gra_provisioner.agent.s3.signing import Credentials, encoded_path, encoded_query
from gra_provisioner.agent.s3.signing import signed_headers as sign
from tests.cluster import golang
from tests.cluster.commands import run
from tests.cluster.layout import Layout
from tests.support.waiting import until

_LOOPBACK = "127.0.0.1"
_START_BOUND = 20.0
_ANSWER_BOUND = 60.0
_END_BOUND = 10.0
# Below those that the system gives to connections, so that nobody takes it between stop and start.
_PORTS = (20000, 32000)
_XML = "{http://s3.amazonaws.com/doc/2006-03-01/}"


class S3Error(AssertionError):
    """The server refused a request, or did not start.  The text is its own."""


def program() -> Path:
    """versitygw, built if it is not in the cache.

    Raises :class:`~tests.cluster.layout.ClusterError` if it cannot be built.
    """
    return golang.build(golang.versitygw(), Layout.of_user().cache) / "versitygw"


def make_certificate(folder: Path, address: str = _LOOPBACK) -> tuple[Path, Path]:
    """A certificate for an address that vouches for itself, and its key."""
    certificate, key = folder / "s3.crt", folder / "s3.key"
    config = folder / "openssl.cnf"
    config.write_text("[req]\ndistinguished_name=name\n[name]\n")
    run(
        *("openssl", "req", "-x509", "-config", config, "-days", "3650", "-nodes"),
        *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
        *("-subj", "/CN=s3", "-addext", f"subjectAltName=IP:{address}"),
        *("-addext", "basicConstraints=critical,CA:TRUE"),
        *("-keyout", key, "-out", certificate),
        doing="making the S3 server's certificate",
    )
    return certificate, key


class S3Server:
    """versitygw over ``folder``, which must support extended attributes, while the block runs.

    ``root`` may do everything.  With ``tls`` it has a certificate that is in ``ca`` and nowhere
    else.
    """

    def __init__(
        self,
        folder: Path,
        address: str = _LOOPBACK,
        *,
        tls: bool = False,
        region: str = "us-east-1",
    ) -> None:
        self.folder = folder
        self.address = address
        self.region = region
        self.port = _free_port(address)
        self.root = Credentials(f"root{secrets.token_hex(6)}", secrets.token_hex(20))
        #: Holds one folder for each bucket, in which each object is a file.
        self.data = folder / "data"
        self.log = folder / "versitygw.log"
        self.ca: Path | None = None
        self._key: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        for path in (self.data, folder / "iam"):
            path.mkdir(parents=True)
        if tls:
            self.ca, self._key = make_certificate(folder, address)

    def __enter__(self) -> S3Server:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.resume()
        self.stop()

    @property
    def host(self) -> str:
        return f"{self.address}:{self.port}"

    @property
    def endpoint(self) -> str:
        """The URL that mounts are given."""
        return f"http{'s' if self.ca else ''}://{self.host}"

    @property
    def pid(self) -> int:
        if self._process is None:
            raise S3Error("the S3 server does not run")
        return self._process.pid

    # -- the process ------------------------------------------------------------------------

    def start(self) -> None:
        """Start it, on the same address and with the same data as before."""
        options = ["--port", self.host, "--region", self.region, "--quiet"]
        options += ["--iam-dir", str(self.folder / "iam"), "--iam-cache-disable"]
        if self.ca is not None:
            options += ["--cert", str(self.ca), "--key", str(self._key)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(program()), *options, "posix", str(self.data)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={
                    "PATH": os.environ["PATH"],
                    "ROOT_ACCESS_KEY": self.root.access_key,
                    "ROOT_SECRET_KEY": self.root.secret_key,
                },
            )
        try:
            until(self._answers, "the S3 server", _START_BOUND)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Kill it; connections break, as in an outage.  Data stay."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(_END_BOUND)
            self._process = None

    def pause(self) -> None:
        """Connections are taken and never answered."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Undo :meth:`pause`."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGCONT)

    def _answers(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            raise S3Error(f"versitygw ended:\n{self.log.read_text()[-4096:]}")
        with contextlib.suppress(OSError, http.client.HTTPException):
            self.request("GET", "/")
            return True
        return False

    # -- users ------------------------------------------------------------------------------

    def add_user(self, name: str, role: str = "user") -> Credentials:
        """A user with a key.  A "user" may use its own buckets, an "admin" those of all."""
        key = Credentials(name, secrets.token_hex(20))
        self._admin(*("create-user", "--access", name, "--secret", key.secret_key, "--role", role))
        return key

    def remove_user(self, name: str) -> None:
        """Revoke the key."""
        self._admin("delete-user", "--access", name)

    def change_secret(self, name: str) -> Credentials:
        """Rotate the key: the old secret is wrong from now on."""
        key = Credentials(name, secrets.token_hex(20))
        self._admin("update-user", "--access", name, "--secret", key.secret_key)
        return key

    def give_bucket(self, bucket: str, user: str) -> None:
        """Make the user the bucket's owner."""
        self._admin("change-bucket-owner", "--bucket", bucket, "--owner", user)

    def _admin(self, *words: str) -> None:
        insecure = ["--allow-insecure"] if self.ca else []
        run(
            *(program(), "admin", "--endpoint-url", self.endpoint, *insecure, *words),
            doing=f"versitygw admin {words[0]}",
            env={
                "ADMIN_ACCESS_KEY": self.root.access_key,
                "ADMIN_SECRET_KEY": self.root.secret_key,
            },
            bound=_ANSWER_BOUND,
        )

    # -- objects ----------------------------------------------------------------------------

    def make_bucket(self, name: str) -> None:
        self.request("PUT", f"/{name}")

    def put(self, bucket: str, key: str, data: bytes) -> None:
        self.request("PUT", f"/{bucket}/{key}", body=data)

    def get(self, bucket: str, key: str) -> bytes:
        """The object's content.  Raises :class:`S3Error` if there is none."""
        return self.request("GET", f"/{bucket}/{key}")

    def remove(self, bucket: str, key: str) -> None:
        self.request("DELETE", f"/{bucket}/{key}")

    def keys(self, bucket: str, prefix: str = "") -> list[str]:
        """All keys that begin with the prefix, in order."""
        found: list[str] = []
        query = {"list-type": "2", "prefix": prefix}
        while True:
            answer = ET.fromstring(self.request("GET", f"/{bucket}", query))  # noqa: S314
            found += [key.text or "" for key in answer.iter(f"{_XML}Key")]
            token = answer.findtext(f"{_XML}NextContinuationToken")
            if not token:
                return found
            query["continuation-token"] = token

    def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: bytes = b"",
        key: Credentials | None = None,
    ) -> bytes:
        """A signed request, as ``root`` unless a key is given; the answer's body.

        Raises :class:`S3Error` with what the server says, or OSError if it cannot be reached.
        """
        query = query or {}
        headers = sign(
            *(method, self.host, path, query, key or self.root, self.region, time.time()),
            payload=hashlib.sha256(body).hexdigest(),
        )
        target = encoded_path(path) + (f"?{encoded_query(query)}" if query else "")
        connection = self._connection()
        try:
            connection.request(method, target, body, headers)
            response = connection.getresponse()
            answer = response.read()
        finally:
            connection.close()
        if response.status >= 300:
            said = answer.decode(errors="replace")
            raise S3Error(f"{method} {path}: {response.status} {said}")
        return answer

    def _connection(self) -> http.client.HTTPConnection:
        if self.ca is None:
            return http.client.HTTPConnection(self.address, self.port, timeout=_ANSWER_BOUND)
        context = ssl.create_default_context(cafile=str(self.ca))
        return http.client.HTTPSConnection(
            self.address, self.port, timeout=_ANSWER_BOUND, context=context
        )


def policy(user: str, bucket: str, *actions: str) -> bytes:
    """A bucket policy that lets a user do this with the bucket and what is in it."""
    resources = [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
    statement = {
        "Effect": "Allow",
        "Principal": {"AWS": [user]},
        "Action": list(actions),
        "Resource": resources,
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]}).encode()


def _free_port(address: str) -> int:
    for port in random.sample(range(*_PORTS), 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((address, port))
            return port
    raise S3Error("no port is free for the S3 server")
