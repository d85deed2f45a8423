"""Container images as one archive: an OCI image layout in a tar file.

https://github.com/opencontainers/image-spec/blob/v1.1.0/image-layout.md; containerd takes an
image's name from the annotation that it writes itself (images/archive in its source).
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_MEDIA_TYPE = "application/vnd.oci.image"
_PIECE = 1 << 20


@dataclass(frozen=True)
class Layer:
    """A layer that has been written: an uncompressed tar file."""

    path: Path
    digest: str
    size: int


@dataclass(frozen=True)
class Image:
    """An image to write.  ``config`` is the OCI configuration's object ``config``."""

    name: str
    layers: tuple[Layer, ...]
    config: Mapping[str, Any] = field(default_factory=dict)


class LayerWriter:
    """Puts files into a layer, all of them root's."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self._folders: set[str] = set()

    def copy(self, source: Path, name: str) -> None:
        """Put in a file, a link or a folder (without what is in it) as ``name``.

        Whole seconds stay as they are, since a .pyc file is good for one time of its source.
        """
        info = self._tar.gettarinfo(source, name)
        info.mtime = int(info.mtime)
        # Two names of one file may go into different layers.
        if info.islnk():
            info.type, info.size = tarfile.REGTYPE, source.stat().st_size
        if info.isreg():
            with source.open("rb") as file:
                self._add(info, file)
        elif info.issym() or info.isdir():
            self._add(info)

    def text(self, name: str, content: str) -> None:
        info = tarfile.TarInfo(name)
        data = content.encode()
        info.size, info.mode = len(data), 0o644
        self._add(info, io.BytesIO(data))

    def link(self, name: str, target: str) -> None:
        info = tarfile.TarInfo(name)
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, target, 0o777
        self._add(info)

    def folder(self, name: str, mode: int = 0o755) -> None:
        info = tarfile.TarInfo(name)
        info.type, info.mode = tarfile.DIRTYPE, mode
        self._add(info)

    def _add(self, info: tarfile.TarInfo, file: Any = None) -> None:
        if info.isdir():
            if info.name in self._folders:
                return
            self._folders.add(info.name)
        info.uid = info.gid = 0
        info.uname = info.gname = ""
        self._tar.addfile(info, file)


@contextmanager
def writing_layer(path: Path) -> Iterator[LayerWriter]:
    """A layer to fill, in the file ``path``."""
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        yield LayerWriter(tar)


def written(path: Path) -> Layer:
    """The layer in a file, with its digest."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return Layer(path, f"sha256:{digest.hexdigest()}", path.stat().st_size)


def files_below(root: Path) -> Iterator[tuple[Path, str]]:
    """All that is below a folder, folders before what is in them: the path, and its name there."""
    for folder, folders, files in os.walk(root):
        folders.sort()
        for name in sorted([*folders, *files]):
            path = Path(folder, name)
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode) or stat.S_ISLNK(mode) or stat.S_ISDIR(mode):
                yield path, str(path.relative_to(root))


def write_archive(path: Path, images: Sequence[Image], architecture: str) -> dict[str, str]:
    """Write images, sharing their layers, into one archive; each image's digest by its name."""
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        archive = _Archive(tar)
        for layer in _unique(layer for image in images for layer in image.layers):
            archive.put_file(layer)
        manifests = [_put_image(archive, image, architecture) for image in images]
        archive.put("index.json", _packed({"schemaVersion": 2, "manifests": manifests}))
        archive.put("oci-layout", _packed({"imageLayoutVersion": "1.0.0"}))
    return {
        image.name: manifest["digest"] for image, manifest in zip(images, manifests, strict=True)
    }


class _Archive:
    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self._names: set[str] = set()

    def put(self, name: str, data: bytes) -> None:
        if name in self._names:
            return
        self._names.add(name)
        info = tarfile.TarInfo(name)
        info.size = len(data)
        self._tar.addfile(info, io.BytesIO(data))

    def put_blob(self, data: bytes, kind: str) -> dict[str, Any]:
        """Put in ``data``; its descriptor."""
        digest = hashlib.sha256(data).hexdigest()
        self.put(f"blobs/sha256/{digest}", data)
        return _descriptor(kind, f"sha256:{digest}", len(data))

    def put_file(self, layer: Layer) -> None:
        info = tarfile.TarInfo(f"blobs/{layer.digest.replace(':', '/')}")
        info.size = layer.size
        with layer.path.open("rb") as file:
            self._tar.addfile(info, file)


def _put_image(archive: _Archive, image: Image, architecture: str) -> dict[str, Any]:
    config = {
        "architecture": architecture,
        "os": "linux",
        "config": dict(image.config),
        "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in image.layers]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{_MEDIA_TYPE}.manifest.v1+json",
        "config": archive.put_blob(_packed(config), "config.v1+json"),
        "layers": [_descriptor("layer.v1.tar", layer.digest, layer.size) for layer in image.layers],
    }
    descriptor = archive.put_blob(_packed(manifest), "manifest.v1+json")
    return {**descriptor, "annotations": {"io.containerd.image.name": image.name}}


def _descriptor(kind: str, digest: str, size: int) -> dict[str, Any]:
    return {"mediaType": f"{_MEDIA_TYPE}.{kind}", "digest": digest, "size": size}


def _packed(value: object) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def _unique(layers: Iterable[Layer]) -> Iterable[Layer]:
    return {layer.digest: layer for layer in layers}.values()
