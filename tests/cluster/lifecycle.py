"""Bringing the cluster up, looking at it, repairing it and taking it down."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.cluster import certificates, golang, host, images, processes, runner_images
from tests.cluster.commands import run, tail
from tests.cluster.layout import NODE_NAME, ClusterError, Layout, NotPossibleHereError
from tests.cluster.locks import Use, host_lock
from tests.cluster.parts import Part, all_parts, configuration

Say = Callable[[str], None]

_PART_BOUND = 60.0
_NODE_BOUND = 60.0
_IMAGES = {"images": images, "runner images": runner_images}
# Between its fork and its exec a part that was just started is not seen: it ended when it is not
# seen this many times.
_MISSING = 5


@dataclass(frozen=True)
class PartStatus:
    """How one part is.  ``problem`` is None where it is well."""

    name: str
    pids: tuple[int, ...]
    problem: str | None


@dataclass(frozen=True)
class Status:
    """How the cluster is."""

    parts: tuple[PartStatus, ...]
    # Why the cluster has to be made anew, whatever its parts say.
    outdated: str | None = None

    @property
    def is_healthy(self) -> bool:
        return not self.outdated and all(part.problem is None for part in self.parts)

    @property
    def is_down(self) -> bool:
        """Whether nothing of it runs."""
        return not any(part.pids for part in self.parts)


def status(layout: Layout) -> Status:
    """Look at every part."""
    parts = tuple(_status_of(layout, part) for part in all_parts(layout))
    outdated = None
    if not layout.definition.exists():
        outdated = "it was not completely brought up"
    elif layout.definition.read_text() != _definition(layout):
        outdated = "it was made from another definition than this one"
    return Status(parts, outdated)


def up(layout: Layout, say: Say, *, is_alone: bool = False) -> None:
    """Bring the cluster up, or repair it.  Returns at once where it is well.

    A test that has the cluster to itself, and has stopped a part of it, is waited for.
    ``is_alone``: the caller is that test.  ``say`` gets a line for each thing done and its time.
    Raises :class:`~tests.cluster.layout.NotPossibleHereError` where this host cannot have one,
    and :class:`~tests.cluster.layout.ClusterError` with the log of what failed.
    """
    _check_host(layout)
    with Use(layout) as use:
        while not _up(layout, say, use, is_alone):
            use.shared()
            use.end()


def _up(layout: Layout, say: Say, use: Use, is_alone: bool) -> bool:
    """See :func:`up`.  False if a test has the cluster to itself; nothing was done."""
    with host_lock():
        if not is_alone and not use.try_shared():
            return False
        host.refuse_second(layout)
        before = status(layout)
        if before.is_healthy:
            host.install_packages()
            _build_programs(layout, say)
            _build_images(layout, say)
            _import_images(layout, say)
            _wait_for_node(layout)
            return True
        if not before.is_down and not before.outdated:
            try:
                _repair(layout, before, say)
            except ClusterError as error:
                say(f"{error}\nIt cannot be repaired: making it anew.")
            else:
                return True
        with _timed("packages", say):
            host.install_packages()
        _build(layout, say)
        if not before.is_down and not is_alone:
            use.alone()
        _start_anew(layout, say)
        return True


def down(layout: Layout) -> None:
    """Take the cluster down and remove all that it made, but for the cache.  Repeatable."""
    if platform.system() != "Linux" or os.geteuid() != 0:
        return
    with host_lock():
        host.undo(layout)


def start_part(layout: Layout, part: Part) -> None:
    """Start a part if it does not run, and wait until it is well."""
    if not processes.main_of(layout, part):
        processes.start(layout, part)
    _wait_until_well(layout, part)


def _check_host(layout: Layout) -> None:
    if platform.system() != "Linux" or not shutil.which("apt-get"):
        raise NotPossibleHereError("the test cluster needs Debian or Ubuntu")
    if os.geteuid() != 0:
        raise NotPossibleHereError("the test cluster needs root")
    layout.check()


def _start_anew(layout: Layout, say: Say) -> None:
    with _timed("host", say):
        host.undo(layout)
        _make_folders(layout)
        certificates.make(layout)
        for path, content in configuration(layout).items():
            path.write_text(content)
        host.prepare(layout)
    etcd, containerd, apiserver, *others = all_parts(layout)
    for part in (etcd, containerd, apiserver):
        processes.start(layout, part)
    with _timed("containerd", say):
        _wait_until_well(layout, containerd)
    _import_images(layout, say)
    # Without its bootstrapped roles in the API server the controller manager ends.
    with _timed("apiserver", say):
        _wait_until_well(layout, apiserver)
    for part in others:
        processes.start(layout, part)
    with _timed("node", say):
        for part in others:
            _wait_until_well(layout, part)
        _wait_for_node(layout)
    layout.definition.write_text(_definition(layout))


def _build(layout: Layout, say: Say) -> None:
    """Build programs and images at the same time: both wait for downloads at first."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        building = pool.submit(_build_images, layout, say)
        _build_programs(layout, say)
        building.result()


def _build_programs(layout: Layout, say: Say) -> None:
    for module in golang.all_modules():
        with _timed(module.name, say):
            golang.build(module, layout.cache)


def _build_images(layout: Layout, say: Say) -> None:
    for name, source in _IMAGES.items():
        with _timed(name, say):
            host.remove_unfinished(source.built(layout.cache).parent)
            source.build(layout.cache)


def _import_images(layout: Layout, say: Say) -> None:
    with _timed("images imported", say):
        for source in _IMAGES.values():
            source.import_missing(layout)


def _repair(layout: Layout, before: Status, say: Say) -> None:
    parts = {part.name: part for part in all_parts(layout)}
    for found in before.parts:
        if found.problem is not None:
            with _timed(f"{found.name} again", say):
                processes.kill(processes.main_of(layout, parts[found.name]))
                start_part(layout, parts[found.name])
    with _timed("node", say):
        _wait_for_node(layout)
    host.install_packages()
    _build_images(layout, say)
    _import_images(layout, say)


def _make_folders(layout: Layout) -> None:
    layout.state.mkdir(mode=0o700)
    for folder in (layout.pki, layout.config / "cni", layout.logs, layout.containerd):
        folder.mkdir(parents=True)


def _definition(layout: Layout) -> str:
    """A digest of the parts' commands, configuration and certificates."""
    commands = [part.command for part in all_parts(layout)]
    files = {str(path): content for path, content in configuration(layout).items()}
    issued = Path(certificates.__file__).read_text()
    return hashlib.sha256(json.dumps([commands, files, issued]).encode()).hexdigest()


def _status_of(layout: Layout, part: Part) -> PartStatus:
    found = processes.main_of(layout, part)
    pids = tuple(process.pid for process in found)
    if not found:
        return PartStatus(part.name, pids, "is not running")
    if any(process.status() == psutil.STATUS_STOPPED for process in found):
        return PartStatus(part.name, pids, "is stopped by a signal")
    return PartStatus(part.name, pids, part.problem())


def _wait_until_well(layout: Layout, part: Part) -> None:
    """Raises :class:`ClusterError` with the part's log as soon as it ends, or after a bound."""
    deadline = time.monotonic() + _PART_BOUND
    missing = 0
    while (problem := part.problem()) is not None:
        missing = 0 if processes.main_of(layout, part) else missing + 1
        if missing >= _MISSING:
            raise ClusterError(f"{part.name} ended:\n{_log_tail(layout, part.name)}")
        if time.monotonic() >= deadline:
            raise ClusterError(
                f"waited {_PART_BOUND:g} s for {part.name}: {problem}\n"
                f"{_log_tail(layout, part.name)}"
            )
        time.sleep(0.1)


def _log_tail(layout: Layout, name: str) -> str:
    return tail(processes.log_of(layout, name).read_text(errors="replace"))


def kubectl(layout: Layout) -> Path:
    """The program kubectl, as built for the cluster."""
    (module,) = (module for module in golang.all_modules() if "kubectl" in module.programs)
    return golang.built(module, layout.cache) / "kubectl"


def _wait_for_node(layout: Layout) -> None:
    command = (kubectl(layout), "--kubeconfig", layout.kubeconfig, "wait", f"node/{NODE_NAME}")
    bound = f"--timeout={_NODE_BOUND:g}s"
    try:
        run(*command, "--for=create", bound, doing="waiting for the node")
        run(*command, "--for=condition=Ready", bound, doing="waiting for the node to be Ready")
    except ClusterError as error:
        raise ClusterError(f"{error}\nkubelet's log:\n{_log_tail(layout, 'kubelet')}") from error


@contextmanager
def _timed(what: str, say: Say) -> Iterator[None]:
    started = time.monotonic()
    yield
    say(f"{what:<18} {time.monotonic() - started:6.1f} s")
