"""Processes of this host, told apart from later ones that got the same pid."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil

# How an identity begins where the system has no /proc.
_CREATED = "created:"


def identity(pid: int) -> str | None:
    """What tells the process from any other that ever had its pid, or None if there is none.

    On Linux the boot and the start time in clock ticks since then, which no change of the clock
    moves; elsewhere the creation time.  A zombie counts as ended.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        if Path("/proc/self/stat").exists():
            return None
        return _identity_by_creation(pid)
    fields = stat[stat.rindex(b")") + 2 :].split()
    if fields[0] in (b"Z", b"X"):
        return None
    return f"{boot}:{fields[19].decode()}"


def _identity_by_creation(pid: int) -> str | None:
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return f"{_CREATED}{process.create_time():.2f}"
    except psutil.NoSuchProcess:
        return None


def end(pid: int, expected: str, signum: int) -> bool:
    """Send a signal if the process is still the one meant.  False if it is not."""
    if identity(pid) != expected:
        return False
    try:
        os.kill(pid, signum)
    except ProcessLookupError:
        return False
    return True


def kill_session(leader: int, started: str, since: float) -> int:
    """Kill what is left of a session; how many processes that were.

    ``started`` is the start time of its leader in clock ticks, as in :func:`identity` (not known,
    and not compared, where the system has no /proc).  A pid is not given to another process while
    a session has it for its id, so if the leader is gone the rest is still the one meant; if a
    process has its pid that started at another time, nothing of it is left.  ``since`` (seconds
    since the epoch) is a second guard: whatever is older belongs to somebody else.
    """
    now = identity(leader)
    if now is not None and not now.startswith(_CREATED) and now.rpartition(":")[2] != started:
        return 0
    return sum(_kill_member(process, leader, since) for process in psutil.process_iter())


def _kill_member(process: psutil.Process, leader: int, since: float) -> bool:
    try:
        if os.getsid(process.pid) != leader or process.create_time() < since - 1:
            return False
        process.send_signal(signal.SIGKILL)
    except (psutil.Error, ProcessLookupError, PermissionError):
        # It ended meanwhile, or is somebody else's.
        return False
    return True
