"""The images of ``runner-image/``, built from its Containerfile on a minimal Debian.

``localhost/gra-test/runner:1`` and ``localhost/gra-test/s3fs-sidecar:1``.  They share their layers.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from tests.cluster import debian, host
from tests.cluster.commands import run
from tests.cluster.debian import _apt_settings, _mirrors
from tests.cluster.golang import appearing, architecture
from tests.cluster.images import PREFIX
from tests.cluster.layout import Layout
from tools import image, image_settings

RUNNER = f"{PREFIX}/runner:1"
SIDECAR = f"{PREFIX}/s3fs-sidecar:1"

_ARCHIVE = "images.tar"
_DIGESTS = "images.json"
_BASE = f"{PREFIX}/debian:1"
# Any will do, as long as it is the same each time: 1980 began.
_MOMENT = 315532800
_BOUND = 1200.0
# Layers in an OCI layout are compressed; gzip takes as long as the build.
_QUICKLY = ("--compression-format=zstd", "--compression-level=1")
# It needs no more rights than root has in a container.
_ISOLATION = {"BUILDAH_ISOLATION": "chroot"}
# Python's official slim image has no Perl but perl-base.  Of two packages that stand for a merged
# /usr apt would take the one that needs all of Perl.
_PREFERENCES = "Package: usrmerge\nPin: release *\nPin-Priority: -1\n"
_HOOKS = "/usr/share/mmdebstrap/hooks/maybe-merged-usr"
_NOT_INSTALLED = ("info", "lintian", "locale", "man")


def key() -> str:
    """What the images depend on, as a digest."""
    digest = hashlib.sha256()
    sources = sorted(path for path in image.CONTEXT.rglob("*") if path.is_file())
    kept = (path for path in sources if path.suffix not in {".md", ".in", ".pyc"})
    for path in (*kept, Path(__file__), Path(image.__file__)):
        digest.update(path.read_bytes())
    digest.update(f"{architecture()} {debian.codename()}".encode())
    return digest.hexdigest()[:16]


def built(cache: Path) -> Path:
    """The folder where the images' archive is, once it is built."""
    return cache / "runner-images" / key()


def build(cache: Path) -> Path:
    """Build the images' archive where the cache does not have it; its folder.

    Raises :class:`~tests.cluster.layout.ClusterError` with the words of what failed.
    """
    target = built(cache)
    if not target.is_dir():
        with appearing(target) as folder:
            # Not below /tmp, which may be small, or a file system that overlays cannot lie on.
            scratch = Path(tempfile.mkdtemp(prefix=".building-", dir=target.parent))
            try:
                digests = _build(scratch, folder / _ARCHIVE)
            finally:
                host.detach_mounts(scratch)
                shutil.rmtree(scratch)
            (folder / _DIGESTS).write_text(json.dumps(digests))
    return target


def import_missing(layout: Layout) -> bool:
    """Bring the images into containerd unless they are there; whether one was missing."""
    ctr = ("ctr", "--address", layout.containerd_socket, "--namespace", "k8s.io", "images")
    rows = run(*ctr, "list", doing="listing containerd's images").splitlines()
    # Columns: reference, type, digest, size …
    there = {words[0]: words[2] for words in map(str.split, rows) if len(words) > 2}
    folder = built(layout.cache)
    wanted: dict[str, str] = json.loads((folder / _DIGESTS).read_text())
    if wanted.items() <= there.items():
        return False
    doing = "importing the runner's images into containerd"
    run(*ctr, "import", folder / _ARCHIVE, doing=doing, bound=_BOUND)
    return True


def _build(scratch: Path, archive: Path) -> dict[str, str]:
    buildah = _buildah(scratch)
    _make_base(buildah, scratch)
    settings = scratch / "settings"
    settings.mkdir(mode=0o700)
    secrets = image_settings.host_settings(settings)
    arguments = image.arguments_for(_BASE, _MOMENT)
    layout = scratch / "layout"
    for target, name in zip(image.TARGETS, (SIDECAR, RUNNER), strict=True):
        command = buildah.build_command(target, name, arguments, secrets)
        run(*command, doing=f"building the image {target}", env=_ISOLATION, bound=_BOUND)
        run(
            *(*buildah.words, "push", *_QUICKLY, name, f"oci:{layout}:{target}"),
            doing=f"writing the image {target}",
            bound=_BOUND,
        )
    digests = _name_images(layout, dict(zip(image.TARGETS, (SIDECAR, RUNNER), strict=True)))
    with tarfile.open(archive, "w", format=tarfile.GNU_FORMAT) as tar:
        tar.add(layout, ".")
    return digests


def _buildah(scratch: Path) -> image.Builder:
    """One whose storage goes with the scratch folder."""
    on_overlay = run("stat", "--file-system", "--format=%T", scratch, doing="looking at the disk")
    driver = "vfs" if "overlay" in on_overlay else "overlay"
    storage = ("--root", str(scratch / "storage"), "--runroot", str(scratch / "run"))
    return image.Builder(("buildah", "--storage-driver", driver, *storage))


def _make_base(buildah: image.Builder, scratch: Path) -> None:
    context = scratch / "base"
    context.mkdir()
    settings = scratch / "apt.conf"
    settings.write_text(_apt_settings())
    preferences = scratch / "usrmerge"
    preferences.write_text(_PREFERENCES)
    place = '"$1/etc/apt/preferences.d/usrmerge"'
    run(
        *("mmdebstrap", "--mode=root", "--variant=minbase", "--include=python3"),
        *(f"--aptopt={settings}", f"--hook-dir={_HOOKS}"),
        *(f"--setup-hook=cp {preferences} {place}", f"--customize-hook=rm {place}"),
        *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in _NOT_INSTALLED),
        "--dpkgopt=path-exclude=/usr/share/doc/*",
        "--dpkgopt=path-include=/usr/share/doc/*/copyright",
        debian.codename(),
        context / "root.tar",
        *_mirrors(),
        doing="making a minimal Debian",
        bound=_BOUND,
    )
    (context / "Containerfile").write_text('FROM scratch\nADD root.tar /\nCMD ["bash"]\n')
    # Files keep their times: Debian's bytecode is good for those of its sources.
    run(
        *(*buildah.words, "build", f"--tag={_BASE}", str(context)),
        doing="making an image of the minimal Debian",
        env=_ISOLATION,
        bound=_BOUND,
    )


def _name_images(layout: Path, names: dict[str, str]) -> dict[str, str]:
    """Write into the layout's index what containerd is to call the images; their digests.

    It takes an image's name from an annotation that it writes itself (images/archive in its
    source).
    """
    path = layout / "index.json"
    index: dict[str, Any] = json.loads(path.read_text())
    digests = {}
    for manifest in index["manifests"]:
        notes = manifest["annotations"]
        name = names[notes["org.opencontainers.image.ref.name"]]
        notes["io.containerd.image.name"] = name
        digests[name] = manifest["digest"]
    path.write_text(json.dumps(index))
    return digests
