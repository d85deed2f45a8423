"""What the cluster changes on the host, made and undone: bridges, mounts, cgroups, filters."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.cluster import processes
from tests.cluster.commands import run
from tests.cluster.layout import (
    CGROUP,
    CNI_NETWORK,
    NODE_ADDRESS,
    NODE_BRIDGE,
    POD_BRIDGE,
    ClusterError,
    Layout,
)

_FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
_START_POLICY = Path("/usr/sbin/policy-rc.d")
# Debian package by the program or file that is needed of it.
_PACKAGES = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    "nft": "nftables",
    "ip": "iproute2",
    "openssl": "openssl",
    "mmdebstrap": "mmdebstrap",
    "buildah": "buildah",
    "busybox": "busybox-static",
    # For the tests that mount S3 on this host; the cluster itself has them in an image.
    "s3fs": "s3fs",
    "fusermount": "fuse",
    "mount": "mount",
    "/etc/ssl/certs/ca-certificates.crt": "ca-certificates",
}
_INSTALLER = Path(__file__).parents[2] / "tools" / "apt-install.sh"
_INSTALL_BOUND = 600.0
_CGROUP_BOUND = 10.0
_MNT_DETACH = 2


def install_packages() -> bool:
    """Install the Debian packages of which something is missing; whether any was."""
    missing = sorted({package for name, package in _PACKAGES.items() if not _is_there(name)})
    if not missing:
        return False
    with _no_service_started():
        run(
            _INSTALLER,
            *("The test cluster needs more programs.", *missing),
            doing="installing packages",
            bound=_INSTALL_BOUND,
        )
    return True


def _is_there(name: str) -> bool:
    return Path(name).exists() if name.startswith("/") else shutil.which(name) is not None


@contextmanager
def _no_service_started() -> Iterator[None]:
    """Where there is systemd, containerd's package would start a containerd of its own.

    Packages ask this file first (https://www.debian.org/doc/debian-policy/ch-opersys.html,
    section 9.3.3.1, and invoke-rc.d(8)).
    """
    if _START_POLICY.exists():
        yield
        return
    _START_POLICY.write_text("#!/bin/sh\nexit 101\n")
    _START_POLICY.chmod(0o755)
    try:
        yield
    finally:
        _START_POLICY.unlink()


def prepare(layout: Layout) -> None:
    """Make the node's bridge and the cgroups, and have packets of pods forwarded."""
    before = layout.state / "ip_forward"
    before.write_text(_FORWARDING.read_text())
    if before.read_text().strip() != "1":
        _FORWARDING.write_text("1")
    run("ip", "link", "add", NODE_BRIDGE, "type", "bridge", doing="making the node's bridge")
    run("ip", "address", "add", f"{NODE_ADDRESS}/32", "dev", NODE_BRIDGE, doing="its address")
    run("ip", "link", "set", NODE_BRIDGE, "up", doing="bringing the node's bridge up")
    for cgroup in _cgroups():
        _pass_on_controllers(cgroup.parent)
        cgroup.mkdir(exist_ok=True)


def _pass_on_controllers(root: Path) -> None:
    """In version 2 a cgroup has the controllers that its parent passes on (cgroups(7))."""
    available = root / "cgroup.controllers"
    if not available.exists():
        return
    for controller in available.read_text().split():
        try:
            (root / "cgroup.subtree_control").write_text(f"+{controller}")
        except OSError as error:  # noqa: PERF203
            raise ClusterError(
                f"passing the controller {controller} on from {root}: {error.strerror}; "
                "a container in which processes are in the root cgroup cannot have a cluster"
            ) from error


def refuse_second(layout: Layout) -> None:
    """Raises :class:`ClusterError` where this host has another cluster than this one."""
    others = processes.other_clusters(layout)
    if others:
        raise ClusterError(
            f"another test cluster runs on this host, with its state in {', '.join(others)}; "
            "take it down with the XDG_CACHE_HOME that it was brought up with"
        )


def undo(layout: Layout) -> None:
    """End all that runs, and remove all that the cluster made on the host.  Repeatable.

    Raises :class:`ClusterError` naming what stays in spite of this.
    """
    refuse_second(layout)
    # First who would start things anew.
    processes.kill([found for found in processes.all_of(layout) if found.name() != _SHIM])
    _kill_containers()
    processes.kill(processes.all_of(layout))
    _remove_shared_files(layout)
    detach_mounts(layout.state)
    _remove_links()
    for family in ("ip", "ip6"):
        if _nft_has(family):
            run("nft", "delete", "table", family, "kube-proxy", doing="removing packet filters")
    _remove_cgroups()
    before = layout.state / "ip_forward"
    if before.exists():
        _FORWARDING.write_text(before.read_text())
    if layout.state.exists():
        shutil.rmtree(layout.state)


_SHIM = "containerd-shim-runc-v2"


def _kill_containers() -> None:
    """End every process in the cluster's cgroups, those that appear meanwhile too."""
    deadline = time.monotonic() + _CGROUP_BOUND
    while pids := _pids_in_cgroups():
        if time.monotonic() >= deadline:
            raise ClusterError(f"containers' processes do not end: {sorted(pids)}")
        for pid in pids:
            with contextlib.suppress(psutil.NoSuchProcess):
                psutil.Process(pid).kill()
        time.sleep(0.05)


def _pids_in_cgroups() -> set[int]:
    pids: set[int] = set()
    for cgroup in _cgroups():
        for path in _tree(cgroup):
            with contextlib.suppress(FileNotFoundError):
                pids.update(map(int, (path / "cgroup.procs").read_text().split()))
    return pids


def _remove_cgroups() -> None:
    for cgroup in _cgroups():
        for path in _tree(cgroup):
            _remove_cgroup(path)


def _remove_cgroup(path: Path) -> None:
    """The kernel takes a moment to take the last process out."""
    deadline = time.monotonic() + _CGROUP_BOUND
    while path.exists():
        try:
            path.rmdir()
        except OSError as error:  # noqa: PERF203
            if error.errno != errno.EBUSY or time.monotonic() >= deadline:
                raise ClusterError(f"removing the cgroup {path}: {error.strerror}") from error
            time.sleep(0.05)


def _tree(cgroup: Path) -> Iterator[Path]:
    """A cgroup and all below it, the deepest first."""
    for folder, _, _ in os.walk(cgroup, topdown=False):
        yield Path(folder)


def _cgroups() -> list[Path]:
    """The cluster's cgroup in each hierarchy that is mounted, of version 1 or 2."""
    return [
        Path(point, CGROUP)
        for point, kind in _mounts()
        if kind in {"cgroup", "cgroup2"} and os.access(point, os.W_OK)
    ]


def _mounts() -> list[tuple[str, str]]:
    """Mount point and file system type of every mount, in the order of mounting (proc(5))."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        words = line.split()
        point = re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), words[4])
        found.append((point, words[words.index("-") + 1]))
    return found


def detach_mounts(folder: Path) -> None:
    """Unmount everything at and below a folder, whatever still uses it."""
    libc = ctypes.CDLL(None, use_errno=True)
    for point, _ in reversed(_mounts()):
        below = point == str(folder) or point.startswith(f"{folder}/")
        if below and libc.umount2(os.fsencode(point), _MNT_DETACH) != 0:
            reason = os.strerror(ctypes.get_errno())
            raise ClusterError(f"unmounting {point}: {reason}")


def remove_unfinished(folder: Path) -> None:
    """Remove what builds that were killed have left in a folder of the cache.

    Finished ones have names without a dot in front.  Only who has the host's lock may call it:
    others' builds go on in there.
    """
    for left in folder.glob(".*"):
        detach_mounts(left)
        shutil.rmtree(left)


def _remove_links() -> None:
    for bridge in (NODE_BRIDGE, POD_BRIDGE):
        if not Path("/sys/class/net", bridge).exists():
            continue
        for port in Path("/sys/class/net", bridge, "brif").iterdir():
            # The other end may just go with its pod.
            with contextlib.suppress(ClusterError):
                run("ip", "link", "delete", port.name, doing="removing a pod's link")
        run("ip", "link", "delete", bridge, doing="removing a bridge")


def _nft_has(family: str) -> bool:
    if not shutil.which("nft"):
        return False
    return f"table {family} kube-proxy" in run("nft", "list", "tables", doing="listing tables")


def _remove_shared_files(layout: Layout) -> None:
    """What lies in folders that belong to all containerds and kubelets of the host."""
    for address in layout.containerd.glob("state/io.containerd.runtime.v2.task/*/*/address"):
        Path(address.read_text().removeprefix("unix://")).unlink(missing_ok=True)
    for log in Path("/var/log/containers").glob("*"):
        if log.is_symlink() and str(log.readlink()).startswith(f"{layout.state}/"):
            log.unlink()
    results = Path("/var/lib/cni/results")
    for result in results.glob(f"{CNI_NETWORK}-*"):
        container = result.name.split("-")[1]
        for path in results.glob(f"*-{container}-*"):
            path.unlink()
