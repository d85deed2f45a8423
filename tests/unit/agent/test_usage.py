"""What a runner uses, from files as the kernel writes them, from garbage, and from this system."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gra_provisioner.agent.usage import (
    ProcessStat,
    Roots,
    Scope,
    UsageReader,
    members,
    parse_cgroups,
    parse_count,
    parse_field,
    parse_limit,
    parse_stat,
)

MIB = 1 << 20
PAGE = os.sysconf("SC_PAGE_SIZE")
TICKS = os.sysconf("SC_CLK_TCK")


class System:
    """A tree of the kernel's files, as far as they are read."""

    def __init__(self, folder: Path) -> None:
        self.roots = Roots(str(folder / "proc"), str(folder / "cgroup"), str(folder))
        (folder / "proc").mkdir()
        (folder / "cgroup").mkdir()

    def cgroup(self, **files: str) -> None:
        """Write files of the cgroup mount: ``memory__max`` is ``memory.max``."""
        for name, text in files.items():
            self.write(self.roots.cgroup, name.replace("__", "."), text)

    def write(self, root: str, name: str, text: str) -> None:
        path = Path(root, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def process(self, pid: int, parent: int, session: int, cpu: float, pages: int) -> None:
        self.write(self.roots.proc, f"{pid}/stat", stat_line(pid, parent, session, cpu, pages))

    def end(self, pid: int) -> None:
        Path(self.roots.proc, str(pid), "stat").unlink()
        Path(self.roots.proc, str(pid)).rmdir()


def stat_line(
    pid: int,
    parent: int,
    session: int,
    cpu: float,
    pages: int,
    name: str = "python",
    children: float = 0,
) -> str:
    """A line of /proc/<pid>/stat; the CPU seconds are split over user and system time."""
    user, system = int(cpu * TICKS), 0
    waited = int(children * TICKS)
    return (
        f"{pid} ({name}) S {parent} {session} {session} 0 -1 4194304 5 6 7 8 "
        f"{user} {system} {waited} 0 20 0 1 0 9000 30000000 {pages} 18446744073709551615 1 1 0\n"
    )


@pytest.fixture
def system(tmp_path: Path) -> System:
    return System(tmp_path)


def test_a_container_of_cgroup_v2_reports_its_own_files(system: System) -> None:
    system.write(system.roots.proc, "self/cgroup", "0::/\n")
    system.cgroup(
        memory__current="104857600\n",
        memory__max="2147483648\n",
        memory__events="low 0\nhigh 0\nmax 4\noom 2\noom_kill 3\noom_group_kill 0\n",
        cpu__stat="usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\n",
    )
    reader = UsageReader(Scope.CGROUP, system.roots)
    first = reader.read((), 100.0)
    assert first["memory"] == 100 * MIB
    assert first["memory_limit"] == 2048 * MIB
    assert first["oom_kills"] == reader.oom_kills() == 3
    assert first["cpu"] is None
    assert first["cpu_seconds"] == 2.5
    system.cgroup(cpu__stat="usage_usec 8500000\n")
    second = reader.read((), 104.0)
    assert second["cpu"] == 1.5
    assert second["cpu_seconds"] == 8.5


@pytest.mark.parametrize("cpuacct", ["cpuacct", "cpu,cpuacct", "cpuacct,cpu"])
def test_a_container_of_cgroup_v1_reports_its_own_files(system: System, cpuacct: str) -> None:
    # The path is the host's name for the container; inside it is not there.
    system.write(
        system.roots.proc,
        "self/cgroup",
        f"4:memory:/kubepods/pod1/abc\n2:{cpuacct}:/kubepods/pod1/abc\n0::/\n",
    )
    mount = system.roots.cgroup
    system.write(mount, "memory/memory.usage_in_bytes", "104857600\n")
    system.write(mount, "memory/memory.limit_in_bytes", "2147483648\n")
    system.write(
        mount, "memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"
    )
    system.write(mount, f"{cpuacct}/cpu.stat", "nr_periods 0\nnr_throttled 0\nthrottled_time 0\n")
    system.write(mount, f"{cpuacct}/cpuacct.usage", "2500000000\n")
    usage = UsageReader("cgroup", system.roots).read((), 0.0)
    assert usage["memory"] == 100 * MIB
    assert usage["memory_limit"] == 2048 * MIB
    assert usage["oom_kills"] == 3
    assert usage["cpu_seconds"] == 2.5


def test_a_cgroup_below_the_mount_point_comes_before_the_mount_point(system: System) -> None:
    system.write(system.roots.proc, "self/cgroup", "0::/pod/runner\n")
    system.write(system.roots.cgroup, "memory.current", "999999999999\n")
    system.write(system.roots.cgroup, "pod/runner/memory.current", "42\n")
    assert UsageReader("cgroup", system.roots).read((), 0.0)["memory"] == 42


@pytest.mark.parametrize("version", [1, 2])
def test_no_limit_is_reported_as_none(system: System, version: int) -> None:
    if version == 2:
        system.cgroup(memory__current="1\n", memory__max="max\n")
    else:
        system.write(system.roots.cgroup, "memory/memory.limit_in_bytes", "9223372036854771712\n")
    assert UsageReader("cgroup", system.roots).read((), 0.0)["memory_limit"] is None


def test_a_local_runner_is_the_sum_of_its_processes_and_has_no_limit(system: System) -> None:
    system.cgroup(memory__current="999999999999\n", memory__max="1000000000000\n")
    system.process(1, 0, 1, cpu=500, pages=9000)
    system.process(10, 1, 10, cpu=1, pages=100)
    system.process(11, 10, 11, cpu=2, pages=200)
    system.process(12, 11, 11, cpu=3, pages=300)
    # A daemon of the kernel's, whose parent has ended.
    system.process(13, 1, 11, cpu=4, pages=400)
    system.process(20, 1, 20, cpu=1000, pages=8000)
    usage = UsageReader(Scope.PROCESSES, system.roots).read([10], 0.0)
    assert usage["cpu_seconds"] == 10.0
    assert usage["memory"] == 1000 * PAGE
    assert usage["memory_limit"] is None
    assert usage["oom_kills"] is None


def test_cpu_of_a_child_that_ended_never_makes_the_rate_negative(system: System) -> None:
    reader = UsageReader(Scope.PROCESSES, system.roots)
    system.process(10, 1, 10, cpu=1, pages=100)
    system.process(11, 10, 11, cpu=50, pages=100)
    assert reader.read([10], 0.0)["cpu_seconds"] == 51.0
    # It ended and nobody waited for it, so that its time is nowhere.
    system.end(11)
    fallen = reader.read([10], 1.0)
    assert fallen["cpu"] == 0.0
    assert fallen["cpu_seconds"] == 51.0
    system.process(10, 1, 10, cpu=3, pages=100)
    grown = reader.read([10], 2.0)
    assert grown["cpu"] == 2.0
    assert grown["cpu_seconds"] == 53.0


def test_cpu_of_children_that_were_waited_for_is_counted_once(system: System) -> None:
    reader = UsageReader(Scope.PROCESSES, system.roots)
    system.process(10, 1, 10, cpu=1, pages=100)
    system.process(11, 10, 11, cpu=50, pages=100)
    reader.read([10], 0.0)
    system.end(11)
    system.write(system.roots.proc, "10/stat", stat_line(10, 1, 10, 1, 100, children=52))
    usage = reader.read([10], 1.0)
    assert usage["cpu"] == 2.0
    assert usage["cpu_seconds"] == 53.0


def test_two_reads_at_the_same_moment_have_no_rate(system: System) -> None:
    system.cgroup(cpu__stat="usage_usec 1000000\n")
    reader = UsageReader("cgroup", system.roots)
    reader.read((), 5.0)
    assert reader.read((), 5.0)["cpu"] is None


def test_a_system_without_any_of_the_files_reports_nothing(tmp_path: Path) -> None:
    roots = Roots(*(str(tmp_path / name) for name in ("proc", "cgroup", "disk")))
    for scope in Scope:
        reader = UsageReader(scope, roots)
        assert reader.oom_kills() is None
        assert set(reader.read([os.getpid()], 0.0).values()) == {None}


def test_a_local_runner_counts_oom_kills_of_the_host_where_its_cgroup_does_not(
    system: System,
) -> None:
    system.write(system.roots.proc, "vmstat", "nr_free_pages 5\noom_kill 7\n")
    assert UsageReader("processes", system.roots).oom_kills() == 7
    assert UsageReader("cgroup", system.roots).oom_kills() is None
    system.cgroup(memory__events="oom_kill 2\n")
    assert UsageReader("processes", system.roots).oom_kills() == 2


@pytest.mark.parametrize("name", ["memory.peak", "memory/memory.max_usage_in_bytes"])
def test_the_most_that_a_container_has_used_is_known(system: System, name: str) -> None:
    assert UsageReader("cgroup", system.roots).memory_peak() is None
    system.write(system.roots.cgroup, name, "268435456\n")
    assert UsageReader("cgroup", system.roots).memory_peak() == 256 * MIB


def test_a_local_runner_has_no_peak_of_its_own(system: System) -> None:
    system.cgroup(memory__peak="268435456\n")
    assert UsageReader("processes", system.roots).memory_peak() is None


def test_an_unknown_scope_is_refused() -> None:
    with pytest.raises(ValueError, match="container"):
        UsageReader("container")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"0\n", 0),
        (b"18446744073709551615\n", (1 << 64) - 1),
        (b"", None),
        (None, None),
        (b"max\n", None),
        (b"-1\n", None),
        (b"1_000\n", None),
        (b"+1\n", None),
        (b"1 2\n", None),
        ("\u0663".encode(), None),
        (b"9" * 5000, None),
    ],
)
def test_a_count_is_a_plain_number_or_nothing(data: bytes | None, expected: int | None) -> None:
    assert parse_count(data) == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"2147483648\n", 1 << 31),
        (b"0\n", 0),
        (b"max\n", None),
        (b"9223372036854771712\n", None),
        (b"9223372036854710272\n", None),
    ],
)
def test_a_limit_is_none_where_there_is_no_limit(data: bytes, expected: int | None) -> None:
    assert parse_limit(data) == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"oom 1\noom_kill 2\n", 2),
        (b"oom_kill_disable 1\n", None),
        (b"oom_kill\n", None),
        (b"oom_kill x\n", None),
        (b"oom_kill 1 2\n", None),
        (None, None),
    ],
)
def test_a_field_is_found_by_its_whole_name(data: bytes | None, expected: int | None) -> None:
    assert parse_field(data, b"oom_kill") == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"0::/user.slice/a:b\n", {"": "/user.slice/a:b"}),
        (
            b"4:memory:/x\n2:cpu,cpuacct:/y\n1:name=systemd:/\n",
            {"memory": "/x", "cpu": "/y", "cpuacct": "/y", "name=systemd": "/"},
        ),
        (b"0::/../../other\n", {"": "/"}),
        (b"nonsense\n", {}),
        (None, {}),
    ],
)
def test_the_cgroups_of_a_process_are_found(data: bytes | None, expected: dict[str, str]) -> None:
    assert parse_cgroups(data) == expected


@pytest.mark.parametrize("name", ["python", "a b", "x) S 1 (y", "))) ((", ""])
def test_a_process_may_have_any_name(name: str) -> None:
    line = stat_line(7, 5, 6, 3, 100, name=name, children=2).encode()
    assert parse_stat(line) == ProcessStat(7, 5, 6, 5 * TICKS, 100)


def test_processes_that_form_a_ring_are_counted_once() -> None:
    ring = [ProcessStat(1, 2, 1, 1, 1), ProcessStat(2, 1, 1, 1, 1), ProcessStat(3, 3, 3, 1, 1)]
    assert sorted(process.pid for process in members(ring, [1])) == [1, 2]


KERNEL_FILES = (
    "memory.current",
    "memory.max",
    "memory.events",
    "cpu.stat",
    "memory/memory.usage_in_bytes",
    "memory/memory.limit_in_bytes",
    "memory/memory.oom_control",
    "cpuacct/cpuacct.usage",
)


@given(data=st.binary())
def test_garbage_is_no_value_to_any_parser(data: bytes) -> None:
    for number in (parse_count(data), parse_limit(data), parse_field(data, b"oom_kill")):
        assert number is None or number >= 0
    parse_cgroups(data)
    parse_stat(data)
    parse_stat(b"7 (python) S " + data)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    garbage=st.dictionaries(st.sampled_from(KERNEL_FILES), st.binary()),
    cgroups=st.binary(),
    stat=st.binary(),
)
def test_garbage_in_the_files_never_raises(
    tmp_path: Path, garbage: dict[str, bytes], cgroups: bytes, stat: bytes
) -> None:
    roots = Roots(str(tmp_path / "proc"), str(tmp_path / "cgroup"), str(tmp_path))
    files = {Path(roots.cgroup, name): data for name, data in garbage.items()}
    files[Path(roots.proc, "self/cgroup")] = cgroups
    files[Path(roots.proc, "7/stat")] = stat
    for path, data in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    for scope in Scope:
        reader = UsageReader(scope, roots)
        for now in (0.0, 1.0):
            usage: dict[str, Any] = dict(reader.read([7], now))
            assert all(value is None or value >= 0 for value in usage.values())


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_a_real_tree_of_processes_is_measured() -> None:
    program = (
        "import subprocess, sys\n"
        "block = bytearray(64 << 20)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'while True: pass'])\n"
        "print('ready', flush=True)\n"
        "try:\n"
        "    sys.stdin.read()\n"
        "finally:\n"
        "    child.kill()\n"
        "    child.wait()\n"
    )
    reader = UsageReader(Scope.PROCESSES)
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as tree:
        assert tree.stdout is not None
        assert tree.stdout.readline() == b"ready\n"
        first = reader.read([tree.pid], time.monotonic())
        total = first["cpu_seconds"]
        assert total is not None
        deadline = time.monotonic() + 60
        while True:
            time.sleep(0.1)
            usage = reader.read([tree.pid], time.monotonic())
            assert usage["cpu"] is not None
            assert usage["cpu_seconds"] is not None
            if usage["cpu_seconds"] > total:
                break
            assert time.monotonic() < deadline, "waited 60 s for a busy loop's CPU time"
        assert usage["memory"] is not None
        assert usage["memory"] > 64 * MIB
        assert usage["disk_total"] is not None
        assert usage["disk_used"] is not None
        assert 0 < usage["disk_used"] <= usage["disk_total"]
    gone = reader.read([tree.pid], time.monotonic())
    assert gone["memory"] is None
