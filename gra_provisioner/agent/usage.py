"""What a runner uses: CPU, memory, disk, and how often the kernel's OOM killer struck.

Two scopes.  In a container the runner is a cgroup of its own, whose files say it exactly
(kernel documentation: admin-guide/cgroup-v2 and cgroup-v1/memory).  A local runner shares its
cgroup with whatever else the user runs, so its processes are added up from /proc (proc(5)), and no
limit of the host's is taken for the runner's.

Whatever cannot be read is None, never an error and never a guess: files differ between kernels,
and macOS has none of them.  Reading is a matter of some milliseconds and is done on the agent's
loop, about once in a few seconds.
"""

from __future__ import annotations

import enum
import os
from typing import (
    Callable,
    Dict,
    Iterable,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Tuple,
    TypedDict,
    TypeVar,
    Union,
)

_Value = TypeVar("_Value")

# cgroup v1 writes "no limit" as the largest number of pages, in bytes: with any size of page it
# lies above this, and no machine's memory does.
NO_LIMIT = 1 << 60

# More than any of the files read here has.
_READ_SIZE = 65536
# Of the largest number that the kernel writes, 2**64 - 1.
_MOST_DIGITS = 20


class Scope(str, enum.Enum):
    """Where a runner's use is read."""

    CGROUP = "cgroup"
    PROCESSES = "processes"


class Roots(NamedTuple):
    """Where the kernel's files are mounted, and the folder whose file system is the disk."""

    proc: str = "/proc"
    cgroup: str = "/sys/fs/cgroup"
    disk: str = "/"


HOST = Roots()


class Usage(TypedDict):
    """What :meth:`UsageReader.read` returns; None wherever it could not be read.

    ``cpu`` is in cores, over the time since the last read (None at the first); ``cpu_seconds``
    never falls; the rest are bytes, except ``oom_kills``, a count.
    """

    cpu: Optional[float]
    cpu_seconds: Optional[float]
    memory: Optional[int]
    memory_limit: Optional[int]
    disk_used: Optional[int]
    disk_total: Optional[int]
    oom_kills: Optional[int]


class ProcessStat(NamedTuple):
    """What counts here of /proc/<pid>/stat.

    ``ticks`` is the CPU time of the process and of the children that it has waited for.
    """

    pid: int
    parent: int
    session: int
    ticks: int
    resident_pages: int


class UsageReader:
    """Reads one runner's use; remembers the last read, so that CPU can be a rate."""

    def __init__(self, scope: Union[Scope, str], roots: Roots = HOST) -> None:
        """Nothing is read yet.  Raises :class:`ValueError` for an unknown scope."""
        self._scope = Scope(scope)
        self._roots = roots
        # The time and the CPU seconds of the last read.
        self._last: Optional[Tuple[float, float]] = None
        self._cpu_seconds = 0.0

    def read(self, pids: Iterable[int], now: float) -> Usage:
        """The use at ``now``, seconds of a monotonic clock.

        ``pids`` are the agent and what it has started in sessions of their own.  Their
        descendants and the members of their sessions count as well, so that a daemon whose
        parent is gone is not forgotten.  The scope ``cgroup`` looks at no pid.
        """
        limit: Optional[int] = None
        kills: Optional[int] = None
        if self._scope is Scope.CGROUP:
            folders = self._folders()
            seconds = _first(_read_cpu_seconds, folders)
            memory = _first(_read_memory, folders)
            limit = _first(_read_memory_limit, folders)
            kills = _first(_read_oom_kills, folders)
        else:
            # The cgroup's limit and count of kills are not this runner's alone.
            seconds, memory = _sum(members(_read_processes(self._roots.proc), pids))
        disk_used, disk_total = _read_disk(self._roots.disk)
        cpu, cpu_seconds = self._count_cpu(seconds, now)
        return Usage(
            cpu=cpu,
            cpu_seconds=cpu_seconds,
            memory=memory,
            memory_limit=limit,
            disk_used=disk_used,
            disk_total=disk_total,
            oom_kills=kills,
        )

    def oom_kills(self) -> Optional[int]:
        """How often the OOM killer has struck in the agent's cgroup since that was made.

        The agent compares it before and after a child: if it rose and the child died of SIGKILL,
        memory ran out.  A local runner shares its cgroup, and where that counts nothing the
        host's count (/proc/vmstat) has to do: there it is the likely cause, not a proof.
        """
        kills = _first(_read_oom_kills, self._folders())
        if kills is None and self._scope is Scope.PROCESSES:
            kills = parse_field(_read(os.path.join(self._roots.proc, "vmstat")), b"oom_kill")
        return kills

    def memory_peak(self) -> Optional[int]:
        """The most that the runner's cgroup has used since it was made, in bytes.

        None for a local runner, whose cgroup is not its own, and before Linux 5.19 with cgroup v2.
        """
        if self._scope is not Scope.CGROUP:
            return None
        return _first(_read_memory_peak, self._folders())

    def _folders(self) -> List[str]:
        paths = parse_cgroups(_read(os.path.join(self._roots.proc, "self", "cgroup")))
        return cgroup_folders(self._roots.cgroup, paths)

    def _count_cpu(
        self, seconds: Optional[float], now: float
    ) -> Tuple[Optional[float], Optional[float]]:
        """The rate since the last read, and the total, which a fall of ``seconds`` leaves as it is.

        The sum over processes falls when one ends whose parent does not wait for it.
        """
        if seconds is None:
            return None, None
        rate: Optional[float] = None
        if self._last is None:
            self._cpu_seconds = seconds
        else:
            then, before = self._last
            gained = max(0.0, seconds - before)
            self._cpu_seconds += gained
            if now > then:
                rate = gained / (now - then)
        self._last = (now, seconds)
        return rate, self._cpu_seconds


def parse_count(data: Optional[bytes]) -> Optional[int]:
    """A file that is one number, such as ``memory.current``."""
    word = (data or b"").strip()
    if not word.isdigit() or len(word) > _MOST_DIGITS:
        return None
    return int(word)


def parse_limit(data: Optional[bytes]) -> Optional[int]:
    """A limit in bytes; None for cgroup v2's ``max`` and for v1's number that means none."""
    limit = parse_count(data)
    return None if limit is None or limit >= NO_LIMIT else limit


def parse_field(data: Optional[bytes], name: bytes) -> Optional[int]:
    """One number of a file of ``name number`` lines, such as ``memory.events``."""
    for line in (data or b"").splitlines():
        words = line.split()
        if len(words) == 2 and words[0] == name:
            return parse_count(words[1])
    return None


def parse_cgroups(data: Optional[bytes]) -> Dict[str, str]:
    """/proc/self/cgroup (cgroups(7)): a path for each v1 controller, and for v2 under ``""``.

    A path that leads out of the cgroup namespace counts as its root.
    """
    paths: Dict[str, str] = {}
    for line in (data or b"").splitlines():
        fields = os.fsdecode(line).split(":", 2)
        if len(fields) == 3:
            path = "/" if ".." in fields[2].split("/") else fields[2]
            for controller in fields[1].split(","):
                paths[controller] = path
    return paths


def parse_stat(data: Optional[bytes]) -> Optional[ProcessStat]:
    """/proc/<pid>/stat (proc_pid_stat(5)).

    The name, in parentheses, may hold spaces and parentheses itself.  The resident pages are
    the same counter as in ``statm``, so that one file does for both.
    """
    start, _, end = (data or b"").rpartition(b")")
    fields = end.split()
    if len(fields) < 22:
        return None
    pid = parse_count(start.partition(b"(")[0])
    parent, session, resident = (parse_count(fields[index]) for index in (1, 3, 21))
    ticks = [parse_count(field) for field in fields[11:15]]
    if pid is None or parent is None or session is None or resident is None:
        return None
    known = [count for count in ticks if count is not None]
    if len(known) < len(ticks):
        return None
    return ProcessStat(pid, parent, session, sum(known), resident)


def members(processes: Iterable[ProcessStat], roots: Iterable[int]) -> List[ProcessStat]:
    """The processes of ``roots``, all their descendants, and all sessions that these lead."""
    by_pid: Dict[int, ProcessStat] = {}
    followers: Dict[int, List[int]] = {}
    for process in processes:
        by_pid[process.pid] = process
        followers.setdefault(process.parent, []).append(process.pid)
        followers.setdefault(process.session, []).append(process.pid)
    pending = list(roots)
    seen = set(pending)
    while pending:
        for pid in followers.get(pending.pop(), ()):
            if pid not in seen:
                seen.add(pid)
                pending.append(pid)
    return [by_pid[pid] for pid in seen if pid in by_pid]


def cgroup_folders(mount: str, paths: Mapping[str, str]) -> List[str]:
    """Where this process's cgroup shows its files: one folder for v2, else one a controller.

    A container sees its own cgroup at the mount point while ``paths`` may name the path that
    the host gave it, which does not exist inside.
    """
    hierarchies = [
        ("", ""),
        ("memory", "memory"),
        ("cpuacct", "cpuacct"),
        ("cpuacct", "cpu,cpuacct"),
        ("cpuacct", "cpuacct,cpu"),
    ]
    folders = []
    for controller, name in hierarchies:
        root = os.path.join(mount, name)
        own = os.path.join(root, paths.get(controller, "").lstrip("/"))
        folders.append(own if os.path.isdir(own) else root)
    return folders


def _first(read: Callable[[str], Optional[_Value]], folders: List[str]) -> Optional[_Value]:
    """What the first of the folders that has it says."""
    return next((value for value in map(read, folders) if value is not None), None)


def _read_cpu_seconds(folder: str) -> Optional[float]:
    microseconds = parse_field(_read(os.path.join(folder, "cpu.stat")), b"usage_usec")
    if microseconds is not None:
        return microseconds / 1e6
    nanoseconds = parse_count(_read(os.path.join(folder, "cpuacct.usage")))
    return None if nanoseconds is None else nanoseconds / 1e9


def _read_memory(folder: str) -> Optional[int]:
    memory = parse_count(_read(os.path.join(folder, "memory.current")))
    if memory is not None:
        return memory
    return parse_count(_read(os.path.join(folder, "memory.usage_in_bytes")))


def _read_memory_limit(folder: str) -> Optional[int]:
    limit = parse_limit(_read(os.path.join(folder, "memory.max")))
    if limit is not None:
        return limit
    return parse_limit(_read(os.path.join(folder, "memory.limit_in_bytes")))


def _read_memory_peak(folder: str) -> Optional[int]:
    peak = parse_count(_read(os.path.join(folder, "memory.peak")))
    if peak is not None:
        return peak
    return parse_count(_read(os.path.join(folder, "memory.max_usage_in_bytes")))


def _read_oom_kills(folder: str) -> Optional[int]:
    kills = parse_field(_read(os.path.join(folder, "memory.events")), b"oom_kill")
    if kills is not None:
        return kills
    return parse_field(_read(os.path.join(folder, "memory.oom_control")), b"oom_kill")


def _read_processes(proc: str) -> List[ProcessStat]:
    try:
        names = os.listdir(proc)
    except OSError:
        return []
    stats = (parse_stat(_read(os.path.join(proc, n, "stat"))) for n in names if n.isdigit())
    return [stat for stat in stats if stat is not None]


def _sum(processes: List[ProcessStat]) -> Tuple[Optional[float], Optional[int]]:
    """Their CPU seconds and resident bytes.  Pages that they share count for each."""
    if not processes:
        return None, None
    ticks = sum(process.ticks for process in processes)
    pages = sum(process.resident_pages for process in processes)
    return ticks / os.sysconf("SC_CLK_TCK"), pages * os.sysconf("SC_PAGE_SIZE")


def _read_disk(path: str) -> Tuple[Optional[int], Optional[int]]:
    """Bytes used and bytes in all of the file system that ``path`` is on."""
    try:
        disk = os.statvfs(path)
    except OSError:
        return None, None
    return (disk.f_blocks - disk.f_bfree) * disk.f_frsize, disk.f_blocks * disk.f_frsize


def _read(path: str) -> Optional[bytes]:
    """A file of the kernel's, or None where there is none, or it has gone meanwhile."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return os.read(fd, _READ_SIZE)
    except OSError:
        return None
    finally:
        os.close(fd)
