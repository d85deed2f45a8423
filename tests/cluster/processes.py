"""The parts' processes.

They are found in the process table, by variables that each was started with: there is no file of
process ids that could be wrong, and what a part leaves behind is found too.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import psutil

from tests.cluster.layout import ClusterError, Layout
from tests.cluster.parts import Part

_CLUSTER = "GRA_TEST_CLUSTER"
_PART = "GRA_TEST_CLUSTER_PART"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_GONE = (psutil.NoSuchProcess, psutil.AccessDenied)
_KILL_BOUND = 15.0


def all_of(layout: Layout, part: str | None = None) -> list[psutil.Process]:
    """All live processes of the cluster, or those that one part started, but no container's."""
    return [
        process
        for process, state, its_part in _marked()
        if state == str(layout.state) and part in {None, its_part}
    ]


def other_clusters(layout: Layout) -> set[str]:
    """The state folders of this host's other clusters: one is all that it has room for."""
    return {state for _, state, _ in _marked() if state != str(layout.state)}


def _marked() -> Iterator[tuple[psutil.Process, str, str]]:
    """The live processes of all clusters of this host: process, state folder, part."""
    for process in psutil.process_iter():
        with contextlib.suppress(*_GONE):
            variables = process.environ()
            if _CLUSTER in variables and is_alive(process):
                yield process, variables[_CLUSTER], variables[_PART]


def main_of(layout: Layout, part: Part) -> list[psutil.Process]:
    """The part's own process, without what it started (containerd's shims); none if it is down."""
    found = []
    for process in all_of(layout, part.name):
        with contextlib.suppress(*_GONE):
            if process.cmdline()[:1] == [part.command[0]]:
                found.append(process)
    return found


def log_of(layout: Layout, part: str) -> Path:
    return layout.logs / f"{part}.log"


def start(layout: Layout, part: Part) -> None:
    """Start the part's process, detached from this one; its output goes to its log."""
    variables = {_CLUSTER: str(layout.state), _PART: part.name, "HOME": "/", "PATH": _PATH}
    with log_of(layout, part.name).open("ab") as log:
        # A process of its own session, and init's child: it outlives this one, and is reaped.
        pid = os.posix_spawn(
            "/usr/bin/setsid",
            ["setsid", "--fork", *part.command],
            variables,
            # Python ignores these, and what is ignored is inherited.
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, log.fileno(), 1),
                (os.POSIX_SPAWN_DUP2, log.fileno(), 2),
                *((os.POSIX_SPAWN_CLOSE, fd) for fd in _inheritable()),
            ],
        )
    os.waitpid(pid, 0)


def _inheritable() -> list[int]:
    """What whoever runs this has open for its children, a lock perhaps: it is none of a part's."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        fd = int(entry.name)
        # The one by which this folder is read is closed by now.
        with contextlib.suppress(OSError):
            if fd > 2 and os.get_inheritable(fd):
                found.append(fd)
    return found


def send(processes: Iterable[psutil.Process], number: int) -> None:
    """Send a signal to exactly these; psutil refuses where an id was used again."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def kill(processes: Sequence[psutil.Process]) -> None:
    """Kill these and wait for their end.

    Raises :class:`ClusterError` naming those that live on.
    """
    send(processes, signal.SIGKILL)
    wait_for_end(processes, _KILL_BOUND)


def wait_for_end(processes: Sequence[psutil.Process], bound: float) -> None:
    """Wait at most ``bound`` seconds.  Raises :class:`ClusterError` naming those that live on."""
    deadline = time.monotonic() + bound
    while alive := [process for process in processes if is_alive(process)]:
        if time.monotonic() >= deadline:
            names = ", ".join(f"{process.name()} ({process.pid})" for process in alive)
            raise ClusterError(f"waited {bound:g} s for the end of {names}")
        time.sleep(0.02)


def is_alive(process: psutil.Process) -> bool:
    """Whether it has not ended.  Its first thread is a zombie while others still hold its ports."""
    try:
        is_zombie = process.status() == psutil.STATUS_ZOMBIE
        return process.is_running() and not (is_zombie and process.num_threads() <= 1)
    except psutil.NoSuchProcess:
        return False
