"""The images that tests use.  They come from no registry, and share their layers.

======================================  ==========================================================
``localhost/gra-test/python:1``         Debian's Python, with ipykernel and bash_kernel
``localhost/gra-test/noipykernel:1``    Debian's Python alone
``localhost/gra-test/conda:1``          Python and the kernels in ``/opt/conda``, on PATH by the
                                        image's environment; none in ``/usr/bin``
``localhost/gra-test/nopython:1``       busybox
``localhost/gra-test/pause:1``          what holds a pod's namespaces
======================================  ==========================================================
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.cluster import debian, host, oci
from tests.cluster.commands import run
from tests.cluster.golang import appearing, architecture
from tests.cluster.layout import ClusterError, Layout

PREFIX = "localhost/gra-test"
PAUSE = f"{PREFIX}/pause:1"

_ARCHIVE = "images.tar"
_DIGESTS = "images.json"
_IMPORT_BOUND = 300.0
_CONDA = "opt/conda"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_PYTHON = re.compile(r"usr/bin/(?:py|pdb|2to3)[^/]*$|(?:usr/lib|usr/share|etc)/python3[^/]*(?:/|$)")
# Documentation, and what no kernel calls: more than half of a minimal Debian.
_LEFT_OUT = re.compile(
    r"(?:dev|proc|sys|run|boot|var/cache|var/lib/apt|var/lib/dpkg|var/log"
    r"|usr/share/(?:bug|doc|i18n|info|lintian|locale|man|perl5?|zoneinfo)"
    r"|usr/lib/[^/]*/(?:gconv|perl[^/]*)"
    r"|usr/lib/python3[^/]*/(?:lib2to3|pydoc_data|test))/."
    r"|usr/(?:bin/perl|lib/[^/]*/libperl)[^/]*$"
)


def key() -> str:
    """What the images depend on, as a digest."""
    digest = hashlib.sha256()
    for module in (__file__, debian.__file__, oci.__file__):
        digest.update(Path(module).read_bytes())
    digest.update(f"{debian.pins()} {architecture()} {debian.codename()}".encode())
    return digest.hexdigest()[:16]


def built(cache: Path) -> Path:
    """The folder where the images' archive is, once it is built."""
    return cache / "images" / key()


def build(cache: Path) -> Path:
    """Build the images' archive where the cache does not have it; its folder.

    Raises :class:`ClusterError` with the words of what failed.
    """
    target = built(cache)
    if not target.is_dir():
        with appearing(target) as folder:
            scratch = Path(tempfile.mkdtemp(prefix="gra-images-"))
            try:
                images = _images(debian.make(scratch), scratch)
                digests = oci.write_archive(folder / _ARCHIVE, images, architecture())
            finally:
                # Were /dev still mounted in there, removing the folder would remove the host's.
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
    run(
        *(*ctr, "import", folder / _ARCHIVE),
        doing="importing the images into containerd",
        bound=_IMPORT_BOUND,
    )
    return True


def _images(root: Path, scratch: Path) -> tuple[oci.Image, ...]:
    def layer(fill: Callable[[oci.LayerWriter, Path], None]) -> oci.Layer:
        path = scratch / f"{fill.__name__}.tar"
        with oci.writing_layer(path) as writer:
            fill(writer, root)
        return oci.written(path)

    base, python, kernels, busybox = map(layer, (_base, _python, _kernels, _busybox))
    plain = {"Env": [f"PATH={_PATH}"], "Cmd": ["bash"]}
    conda = {"Env": [f"PATH=/{_CONDA}/bin:{_PATH}"], "Cmd": ["bash"]}
    # It reaps, and it ends when it is told to, as the pause of Kubernetes does.
    hold = "trap 'exit 0' TERM INT; sleep 2147483647 & wait"
    return (
        oci.Image(f"{PREFIX}/python:1", (base, python, kernels, layer(_python_kernels)), plain),
        oci.Image(f"{PREFIX}/noipykernel:1", (base, python), plain),
        oci.Image(f"{PREFIX}/conda:1", (base, kernels, layer(_conda)), conda),
        oci.Image(f"{PREFIX}/nopython:1", (busybox,), {**plain, "Cmd": ["sh"]}),
        oci.Image(PAUSE, (busybox,), {"Entrypoint": ["/bin/sh", "-c", hold]}),
    )


def _base(layer: oci.LayerWriter, root: Path) -> None:
    for path, name in oci.files_below(root):
        kernels = name.startswith(debian.KERNELS)
        if not (kernels or _PYTHON.match(name) or _LEFT_OUT.match(name)):
            layer.copy(path, name)


def _python(layer: oci.LayerWriter, root: Path) -> None:
    _copy_python(layer, root, lambda name: name)
    layer.link("usr/bin/python", "python3")


def _kernels(layer: oci.LayerWriter, root: Path) -> None:
    for path, name in oci.files_below(root / debian.KERNELS):
        layer.copy(path, f"{debian.KERNELS}/{name}")


def _python_kernels(layer: oci.LayerWriter, root: Path) -> None:
    layer.text("usr/lib/python3/dist-packages/kernels.pth", f"/{debian.KERNELS}\n")


def _conda(layer: oci.LayerWriter, root: Path) -> None:
    _copy_python(layer, root, lambda name: re.sub("^usr/", f"{_CONDA}/", name))
    layer.link(f"{_CONDA}/bin/python", "python3")
    layer.text(f"{_CONDA}/lib/python3/dist-packages/kernels.pth", f"/{debian.KERNELS}\n")


def _copy_python(layer: oci.LayerWriter, root: Path, renamed: Callable[[str], str]) -> None:
    for path, name in oci.files_below(root):
        if _PYTHON.match(name) and not _LEFT_OUT.match(name):
            layer.copy(path, renamed(name))


def _busybox(layer: oci.LayerWriter, root: Path) -> None:
    program = shutil.which("busybox")
    if program is None:
        raise ClusterError("there is no busybox (Debian's package busybox-static)")
    for folder in ("bin", "dev", "etc", "proc", "sys"):
        layer.folder(folder)
    layer.folder("tmp", 0o1777)
    layer.copy(Path(program).resolve(), "bin/busybox")
    for applet in run(program, "--list", doing="listing busybox's commands").split():
        if applet != "busybox":
            layer.link(f"bin/{applet}", "busybox")
    layer.text("etc/passwd", "root:x:0:0:root:/:/bin/sh\n")
