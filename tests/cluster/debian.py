"""A minimal Debian with Python and Jupyter kernels in a folder: what images are made from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.cluster.commands import run
from tests.cluster.layout import ClusterError

REPOSITORY = Path(__file__).parents[2]
# Where the kernels are, below the root.
KERNELS = "opt/kernels"

_KERNELS = ("ipykernel", "bash_kernel")
_PACKAGES = "bash,libstdc++6,python3"
_BUILD_BOUND = 600.0


def codename() -> str:
    """The release that this host runs, which is what the images are made of."""
    release = Path("/etc/os-release").read_text()
    found = re.search(r"^VERSION_CODENAME=(\w+)", release, re.MULTILINE)
    if found is None:
        raise ClusterError("/etc/os-release names no release of Debian: no image can be built")
    return found[1]


def pins() -> str:
    """The lines of requirements/dev.txt that the kernels need, with their hashes."""
    wanted: set[str] = set()
    pending = list(_KERNELS)
    while pending:
        name = canonicalize_name(pending.pop())
        if name not in wanted:
            wanted.add(name)
            pending += _required_by(name)
    pinned = (REPOSITORY / "requirements" / "dev.txt").read_text()
    blocks = re.findall(r"^[\w.-]+==.*(?:\n +--hash.*)+", pinned, re.MULTILINE)
    return "\n".join(
        block for block in blocks if canonicalize_name(block.partition("==")[0]) in wanted
    )


def _required_by(name: str) -> Sequence[str]:
    # The image's Python may be another than this one: markers are left to the installer.
    try:
        found = [Requirement(line) for line in requires(name) or []]
    except PackageNotFoundError:
        return []
    return [item.name for item in found if "extra" not in str(item.marker or "")]


def make(scratch: Path) -> Path:
    """Make it in ``scratch``.  Needs root.

    Apt's and pip's settings of this host hold.  Raises :class:`ClusterError` with the words of
    what failed.
    """
    root = scratch / "root"
    settings = scratch / "apt.conf"
    settings.write_text(_apt_settings())
    run(
        *("mmdebstrap", "--mode=root", "--variant=essential", "--format=directory"),
        *(f"--include={_PACKAGES}", f"--aptopt={settings}", codename()),
        root,
        *_mirrors(),
        doing="making a minimal Debian",
        bound=_BUILD_BOUND,
    )
    (python,) = root.glob("usr/bin/python3.*[0-9]")
    requirements = scratch / "requirements.txt"
    requirements.write_text(pins())
    run(
        REPOSITORY / "tools" / "bootstrap.sh",
        *("uv", "pip", "install", "--quiet", "--target"),
        root / KERNELS,
        *("--python-version", python.name.removeprefix("python"), "--no-deps"),
        *("--only-binary", ":all:", "--require-hashes", "--requirements"),
        requirements,
        doing="installing the kernels",
        bound=_BUILD_BOUND,
    )
    # On a read-only root file system none can be made later.
    run(
        *("chroot", root, "python3", "-m", "compileall", "-q"),
        *("--invalidation-mode", "unchecked-hash", f"/{KERNELS}"),
        doing="compiling the kernels to bytecode",
    )
    run(
        *("chroot", root, "env", f"PYTHONPATH=/{KERNELS}"),
        *("python3", "-c", "import bash_kernel, debugpy, ipykernel.kernelapp"),
        doing="trying the kernels",
    )
    return root


def _apt_settings() -> str:
    """Proxies, certificates and the like of apt on this host."""
    dump = run("apt-config", "dump", "Acquire", doing="reading apt's settings")
    lines = re.findall(r'^Acquire::https?::\S+ ".+";$', dump, re.MULTILINE)
    return "".join(f"{line}\n" for line in lines)


def _mirrors() -> list[str]:
    """The lines of sources.list for what this host gets its system from."""
    text = "deb $(REPO_URI) $(CODENAME) $(COMPONENT) # $(ORIGIN)"
    lines = run(
        *("apt-get", "indextargets", "--format", text, "Created-By: Packages"),
        doing="reading apt's sources",
    ).splitlines()
    return [line.partition(" # ")[0] for line in lines if line.endswith(("# Debian", "# Ubuntu"))]
