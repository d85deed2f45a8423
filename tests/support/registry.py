"""A container registry on 127.0.0.1 that a test makes refuse, keep silent or send slowly.

Container runtimes speak plain HTTP with a registry on their own host: the node must be this host.
https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.cluster.commands import run
from tests.cluster.layout import Layout

_PIECE = 1 << 16
_OCI = "application/vnd.oci.image"
_PATH = re.compile(r"/v2/(?P<repository>.+)/(?P<kind>manifests|blobs)/(?P<reference>[^/]+)")


@dataclass(frozen=True)
class Blob:
    """A layer or a configuration.  ``pieces`` gives its bytes, as fast as they are to be sent."""

    size: int
    pieces: Callable[[], Iterator[bytes]]


@dataclass(frozen=True)
class Answer:
    """What is answered in the place of an image."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


class Registry:
    """A registry that serves.  Got by :func:`running`; repositories are added while it runs."""

    def __init__(self) -> None:
        registry = self

        class Handler(_Handler):
            home = registry

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = False
        self._thread = threading.Thread(target=self._server.serve_forever, name="registry")
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        # Set at the end, so that whoever keeps silent or sends slowly stops doing so.
        self.closing = threading.Event()
        # Set once somebody has asked for an image that gets no answer.
        self.asked = threading.Event()
        self.answers: dict[str, Answer] = {}
        self.silent: set[str] = set()
        self.manifests: dict[str, bytes] = {}
        self.blobs: dict[str, Blob] = {}
        # Of the configurations that were made here: a runtime knows images by them too.
        self.configurations: list[str] = []

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    # -- what there is ----------------------------------------------------------------------

    def name(self, repository: str) -> str:
        """The full name of an image; one that nobody has added is not found."""
        return f"{self.address}/{repository}:1"

    def refusing(self, repository: str, status: int, code: str, message: str) -> str:
        """An image that the registry does not give away; its name.

        ``code`` and ``message`` are the registry's own words.
        """
        body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
        headers = {"WWW-Authenticate": 'Basic realm="test"'} if status == 401 else {}
        self.answers[repository] = Answer(status, body, headers)
        return self.name(repository)

    def keeping_silent(self, repository: str) -> str:
        """An image on whose account the registry never says anything; its name."""
        self.silent.add(repository)
        return self.name(repository)

    def serving(self, repository: str, archive: Path, base: str, seconds: float) -> str:
        """The image ``base`` of an archive with a layer more, which takes ``seconds`` to send.

        ``archive`` is an OCI image layout in a tar file.  Returns the image's name.
        """
        manifest, config = self._add_archive(archive, base)
        noise, layer = _layer_of_noise()
        diff_ids = [*config["rootfs"]["diff_ids"], f"sha256:{hashlib.sha256(layer).hexdigest()}"]
        config = {**config, "rootfs": {**config["rootfs"], "diff_ids": diff_ids}}
        parts = max(1, len(layer) // _PIECE)
        pause = seconds / parts

        def slowly() -> Iterator[bytes]:
            for start in range(0, len(layer), _PIECE):
                self.closing.wait(pause)
                yield layer[start : start + _PIECE]

        raw = json.dumps(config).encode()
        manifest = {
            **manifest,
            "config": self._add(raw, "config.v1+json", lambda: iter([raw])),
            "layers": [*manifest["layers"], self._add(layer, "layer.v1.tar", slowly)],
            "annotations": {"test": noise},
        }
        self.configurations.append(manifest["config"]["digest"])
        self.manifests[repository] = json.dumps(manifest).encode()
        return self.name(repository)

    def _add_archive(self, archive: Path, base: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """Serve all blobs of an archive; manifest and configuration of one of its images."""

        def blob(digest: str) -> Any:
            return json.loads(b"".join(self.blobs[digest].pieces()))

        with tarfile.open(archive) as tar:
            members = {member.name: member for member in tar.getmembers()}
            index = json.loads(_content(tar, members["index.json"]))
        for name, member in members.items():
            if name.startswith("blobs/"):
                digest = name.removeprefix("blobs/").replace("/", ":")
                reader = _reader(archive, member.offset_data, member.size)
                self.blobs[digest] = Blob(member.size, reader)
        for found in index["manifests"]:
            if found["annotations"]["io.containerd.image.name"] == base:
                manifest = blob(found["digest"])
                return manifest, blob(manifest["config"]["digest"])
        raise ValueError(f"the archive {archive} has no image {base!r}")

    def _add(self, data: bytes, kind: str, pieces: Callable[[], Iterator[bytes]]) -> dict[str, Any]:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self.blobs[digest] = Blob(len(data), pieces)
        return {"mediaType": f"{_OCI}.{kind}", "digest": digest, "size": len(data)}


@contextmanager
def running() -> Iterator[Registry]:
    """A registry while the block runs."""
    registry = Registry()
    registry.start()
    try:
        yield registry
    finally:
        registry.close()


@contextmanager
def forgotten(registry: Registry) -> Iterator[None]:
    """What the test cluster's node has pulled in the block is removed from it."""
    yield
    socket = Layout.of_user().containerd_socket
    ctr = ("ctr", "--address", socket, "--namespace", "k8s.io", "images")
    listed = run(*ctr, "list", "--quiet", doing="listing containerd's images").split()
    names = [
        name
        for name in listed
        if name.startswith(f"{registry.address}/") or name in registry.configurations
    ]
    if names:
        run(*ctr, "remove", *names, doing="removing a test's images")


def _layer_of_noise() -> tuple[str, bytes]:
    """A layer that no node has yet, and what is in it."""
    noise = os.urandom(16 * _PIECE)
    with io.BytesIO() as file:
        with tarfile.open(fileobj=file, mode="w") as tar:
            info = tarfile.TarInfo("noise")
            info.size = len(noise)
            tar.addfile(info, io.BytesIO(noise))
        return noise[:8].hex(), file.getvalue()


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    if file is None:
        raise ValueError(f"{member.name} is no file")
    return file.read()


def _reader(path: Path, offset: int, size: int) -> Callable[[], Iterator[bytes]]:
    def pieces() -> Iterator[bytes]:
        left = size
        with path.open("rb") as file:
            file.seek(offset)
            while left and (piece := file.read(min(left, _PIECE))):
                left -= len(piece)
                yield piece

    return pieces


class _Handler(BaseHTTPRequestHandler):
    """HTTP/1.0: no connection is left that would have to be waited for."""

    home: Registry

    def do_HEAD(self) -> None:
        self._serve()

    def do_GET(self) -> None:
        self._serve()

    def log_message(self, *_: object) -> None:
        """Nothing: what went wrong is what tests are about."""

    def _serve(self) -> None:
        match = _PATH.fullmatch(self.path)
        repository = match["repository"] if match else ""
        if repository in self.home.silent:
            self.home.asked.set()
            self.home.closing.wait()
            return
        answer = self.home.answers.get(repository)
        manifest = self.home.manifests.get(repository)
        if answer is not None:
            self._say(answer)
        elif match is None or manifest is None:
            body = {"errors": [{"code": "NAME_UNKNOWN", "message": "no such repository"}]}
            self._say(Answer(404, json.dumps(body).encode()))
        elif match["kind"] == "manifests":
            digest = f"sha256:{hashlib.sha256(manifest).hexdigest()}"
            kind = f"{_OCI}.manifest.v1+json"
            headers = {"Content-Type": kind, "Docker-Content-Digest": digest}
            self._say(Answer(200, manifest, headers))
        else:
            self._send(self.home.blobs[match["reference"]])

    def _say(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in {"Content-Type": "application/json", **answer.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def _send(self, blob: Blob) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(blob.size))
        self.end_headers()
        if self.command == "HEAD":
            return
        for piece in blob.pieces():
            self.wfile.write(piece)
            self.wfile.flush()
