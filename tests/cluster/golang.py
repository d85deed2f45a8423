"""The cluster's own programs, built from Go modules and kept in the cache.

Each module below ``modules/`` pins, in go.mod and go.sum, all that is built from it.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.commands import run
from tests.cluster.layout import ClusterError

MODULES = Path(__file__).parent / "modules"
_MINIMUM = (1, 25)

# From the first proxy of GOPROXY, which is how the go command gets a toolchain too
# (https://go.dev/ref/mod#module-proxy).
_TOOLCHAIN = "1.26.8"
_TOOLCHAIN_SHA256 = {
    "amd64": "30c2b1bf7dcc88d3eb0a1364e47ddd9128edb3110a30e8a0ef61cd5856b31de7",
    "arm64": "02b36b6787b3ac767668f630e2998df45a3b1f9ffee08d1bf3ef6487cd658d99",
}
_BUILD_BOUND = 1800.0
# What the linker leaves out (-w) need not be made.
_FLAGS = ("-mod=readonly", "-trimpath", "-buildvcs=false", "-gcflags=all=-dwarf=false")


def architecture() -> str:
    """This machine's, as Go and container images name it."""
    machine = platform.machine()
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


@dataclass(frozen=True)
class Module:
    """Programs that are built together.  ``programs``: package by the program's name."""

    name: str
    programs: dict[str, str]
    ldflags: str = "-s -w"

    @property
    def folder(self) -> Path:
        return MODULES / self.name

    def key(self) -> str:
        """What the result depends on, as a digest.

        The toolchain is not part of it: a newer one is no reason for building anew.
        """
        digest = hashlib.sha256()
        for part in ("go.mod", "go.sum"):
            digest.update((self.folder / part).read_bytes())
        digest.update(repr((self.programs, _FLAGS, self.ldflags, architecture())).encode())
        return digest.hexdigest()[:16]


def _kubernetes() -> Module:
    go_mod = (MODULES / "kubernetes" / "go.mod").read_text()
    found = re.search(r"k8s\.io/kubernetes (v(\d+)\.(\d+)\.\S+)", go_mod)
    if found is None:
        raise ClusterError("modules/kubernetes/go.mod does not require k8s.io/kubernetes")
    version, major, minor = found.groups()
    variables = {
        "gitVersion": version,
        "gitMajor": major,
        "gitMinor": minor,
        "gitTreeState": "clean",
    }
    ldflags = [f"-X k8s.io/component-base/version.{name}={variables[name]}" for name in variables]
    names = (
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
        "kube-proxy",
        "kubectl",
        "kubelet",
    )
    return Module(
        "kubernetes",
        {name: f"k8s.io/kubernetes/cmd/{name}" for name in names},
        " ".join(["-s -w", *ldflags]),
    )


def toxiproxy() -> Module:
    """The proxy that makes networks bad.  It is no part of the cluster: tests without one use it
    too, and build it where it is missing.
    """
    return Module("toxiproxy", {"toxiproxy-server": "github.com/Shopify/toxiproxy/v2/cmd/server"})


def versitygw() -> Module:
    """An S3 server over a folder.  As the proxy, it is used without a cluster too."""
    return Module("versitygw", {"versitygw": "github.com/versity/versitygw/cmd/versitygw"})


def all_modules() -> tuple[Module, ...]:
    """Everything that is built with Go."""
    etcd = Module("etcd", {"etcd": "go.etcd.io/etcd/server/v3"})
    return (etcd, _kubernetes(), toxiproxy(), versitygw())


def built(module: Module, cache: Path) -> Path:
    """The folder where the module's programs are, once they are built."""
    return cache / "bin" / f"{module.name}-{module.key()}"


def build(module: Module, cache: Path) -> Path:
    """Build the module's programs where the cache does not have them; their folder."""
    target = built(module, cache)
    if target.is_dir():
        return target
    go = _find_go(cache)
    with appearing(target) as folder:
        run(
            *(str(go), "build", *_FLAGS, "-ldflags", module.ldflags, "-o", str(folder)),
            *module.programs.values(),
            doing=f"building {module.name}",
            cwd=module.folder,
            env={"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "", "GOWORK": "off"},
            bound=_BUILD_BOUND,
        )
        for name, package in module.programs.items():
            (folder / _built_name(package)).rename(folder / name)
    return target


def _built_name(package: str) -> str:
    """What ``go build`` calls a program: the last element that is no major version."""
    *_, parent, last = package.split("/")
    return parent if re.fullmatch(r"v\d+", last) else last


@contextmanager
def appearing(target: Path) -> Iterator[Path]:
    """A folder to fill, which becomes ``target`` at once when the block ends well.

    Of two processes that make the same one, the first wins.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        yield folder
        folder.chmod(0o755)
        if not target.is_dir():
            folder.rename(target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _find_go(cache: Path) -> Path:
    found = shutil.which("go")
    if found is not None:
        version = run(found, "env", "GOVERSION", doing="asking for Go's version").strip()
        numbers = re.match(r"go(\d+)\.(\d+)", version)
        if numbers is not None and (int(numbers[1]), int(numbers[2])) >= _MINIMUM:
            return Path(found)
    target = cache / f"go-{_TOOLCHAIN}"
    if not target.is_dir():
        _install_toolchain(target)
    return target / "bin" / "go"


def _install_toolchain(target: Path) -> None:
    wanted = _TOOLCHAIN_SHA256.get(architecture())
    if wanted is None:
        raise ClusterError(
            f"there is no Go {_MINIMUM[0]}.{_MINIMUM[1]} or later, and none pinned for "
            f"{architecture()}; please install one"
        )
    name = f"v0.0.1-go{_TOOLCHAIN}.linux-{architecture()}"
    url = f"{_proxy()}/golang.org/toolchain/@v/{name}.zip"
    with appearing(target) as folder, tempfile.TemporaryFile() as file:
        digest = hashlib.sha256()
        try:
            with urllib.request.urlopen(url, timeout=60) as response:  # noqa: S310
                while piece := response.read(1 << 20):
                    digest.update(piece)
                    file.write(piece)
        except (urllib.error.URLError, TimeoutError) as error:
            raise ClusterError(f"getting Go {_TOOLCHAIN} from GOPROXY: {error}") from error
        if digest.hexdigest() != wanted:
            raise ClusterError(f"Go {_TOOLCHAIN} from GOPROXY is not the one that is pinned")
        _unpack(zipfile.ZipFile(file), f"golang.org/toolchain@{name}/", folder)


def _proxy() -> str:
    """The first Go module proxy that is configured."""
    configured = os.environ.get("GOPROXY") or "https://proxy.golang.org"
    for entry in re.split("[,|]", configured):
        if entry.startswith(("https://", "http://", "file://")):
            return entry.rstrip("/")
    raise ClusterError(
        f"there is no Go {_MINIMUM[0]}.{_MINIMUM[1]} or later, and GOPROXY names no proxy to get "
        "one from; please install one"
    )


def _unpack(archive: zipfile.ZipFile, prefix: str, folder: Path) -> None:
    for member in archive.infolist():
        path = folder / member.filename.removeprefix(prefix)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(archive.read(member))
        # A module's zip file keeps no permissions.
        if path.parent.name == "bin" or "pkg/tool" in member.filename:
            path.chmod(0o755)
