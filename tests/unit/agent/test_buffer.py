"""What is not yet acknowledged: nothing is lost, doubled or kept beyond the bound."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gra_provisioner.agent.buffer import SendBuffer, SpillFile

steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(0, 90)),
        st.tuples(st.just("take"), st.integers(0, 120)),
        st.tuples(st.just("release"), st.integers(0, 100)),
        st.tuples(st.just("rewind"), st.integers(0, 100)),
    ),
    max_size=60,
)
# Small files wrap around within a few steps.
limits = st.one_of(st.none(), st.integers(0, 300))


class Model:
    """The whole stream as bytes; the buffer's offsets are places in it."""

    def __init__(self, buffer: SendBuffer) -> None:
        self.buffer = buffer
        self.written = b""
        self.sent = 0
        self.reached = 0
        self.start = 0

    def do(self, step: str, number: int) -> None:
        buffer = self.buffer
        if step == "append":
            at = len(self.written)
            data = bytes((at + i) % 251 for i in range(number))
            self.written += data
            buffer.append(data)
        elif step == "take":
            data = b"".join(bytes(piece) for piece in buffer.take(number))
            assert data == self.written[self.sent : self.sent + number]
            self.sent += len(data)
        else:
            # Anywhere between what is acknowledged and what was sent, as number says.
            place = self.start + (self.sent - self.start) * number // 100
            if step == "release":
                buffer.release(place)
                self.start = place
            else:
                buffer.rewind(place)
                self.sent = place
        assert (buffer.start, buffer.sent, buffer.end) == (
            self.start,
            self.sent,
            len(self.written),
        )
        assert len(buffer) == len(self.written) - self.start
        self.reached = max(self.reached, self.sent)
        assert buffer.waiting == len(self.written) - self.reached

    def drain(self) -> None:
        self.do("rewind", 0)
        self.do("take", len(self.written) + 1)
        assert self.sent == len(self.written)
        self.do("release", 100)


@given(steps, st.integers(0, 200), limits)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_buffer_gives_what_was_written_in_order_and_again_where_asked(
    tmp_path: Path, actions: list[tuple[str, int]], memory: int, limit: int | None
) -> None:
    spill = None if limit is None else SpillFile(str(tmp_path), limit)
    buffer = SendBuffer(memory, spill)
    model = Model(buffer)
    for action in actions:
        model.do(*action)
    model.drain()

    assert len(buffer) == 0
    if spill is not None:
        assert len(spill) == 0
    buffer.close()


@given(steps, st.integers(0, 2000), st.integers(0, 300))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_who_appends_no_more_than_there_is_room_for_stays_within_the_bound(
    tmp_path: Path, actions: list[tuple[str, int]], memory: int, limit: int
) -> None:
    spill = SpillFile(str(tmp_path), limit)
    buffer = SendBuffer(memory, spill)
    model = Model(buffer)
    for step, number in actions:
        if step == "append" and number > buffer.room:
            continue
        model.do(step, number)
        assert buffer.waiting <= buffer.bound
        assert len(spill) <= limit
    model.drain()
    buffer.close()


@pytest.mark.parametrize("sends", ["at once", "in turn"])
def test_what_is_sent_takes_no_room_and_none_when_it_is_to_be_sent_again(
    tmp_path: Path, sends: str
) -> None:
    buffer = SendBuffer(1000, SpillFile(str(tmp_path), 3000))
    for _ in range(10):
        if sends == "at once":
            buffer.append_sent(bytes(500))
        else:
            buffer.append(bytes(500))
            buffer.take(500)

    assert len(buffer) == 5000
    assert buffer.room == 4000
    buffer.rewind(2250)
    assert (buffer.waiting, buffer.room) == (0, 4000)
    buffer.append(bytes(500))
    assert buffer.waiting == 500
    while buffer.take(700):
        pass
    assert (buffer.waiting, buffer.room) == (0, 4000)
    buffer.close()


def test_a_spill_file_wraps_around(tmp_path: Path) -> None:
    spill = SpillFile(str(tmp_path), 10)
    assert spill.write(b"abcdefgh")
    assert spill.read(6) == b"abcdef"
    assert spill.write(b"01234567")
    assert not spill.write(b"x")

    data = b""
    while piece := spill.read(100):
        data += piece
    assert data == b"gh01234567"
    spill.close()


def _open_files(folder: Path) -> list[tuple[str, os.stat_result]]:
    found = []
    for link in Path("/proc/self/fd").iterdir():
        try:
            target, stat = str(link.readlink()), link.stat()
        except FileNotFoundError:
            continue
        if target.startswith(str(folder)):
            found.append((target, stat))
    return found


@pytest.mark.parametrize("has_tmpfile", [True, False])
def test_a_spill_file_has_no_name_is_private_and_is_given_back(
    tmp_path: Path, has_tmpfile: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_tmpfile:
        monkeypatch.delattr(os, "O_TMPFILE")
    spill = SpillFile(str(tmp_path), 1 << 20)
    assert spill.write(bytes(5000))

    assert list(tmp_path.iterdir()) == []
    ((_, stat),) = _open_files(tmp_path)
    assert stat.st_mode & 0o777 == 0o600
    assert stat.st_size == 5000

    assert len(spill.read(1 << 20)) == 5000
    ((_, stat),) = _open_files(tmp_path)
    assert stat.st_size == 0

    spill.close()
    assert _open_files(tmp_path) == []


def test_nothing_is_made_on_disk_while_memory_is_enough(tmp_path: Path) -> None:
    buffer = SendBuffer(10_000, SpillFile(str(tmp_path), 1 << 20))
    buffer.append(bytes(5000))

    assert _open_files(tmp_path) == []


def test_without_a_place_for_the_file_memory_keeps_what_was_written(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    buffer = SendBuffer(100, SpillFile(str(gone), 1000))
    model = Model(buffer)
    for _ in range(5):
        model.do("append", 60)

    assert buffer.room == 0
    assert "No such file" in buffer.failure
    model.drain()
    assert buffer.failure == ""
    gone.mkdir()
    model.do("append", 60)
    model.do("append", 60)
    model.do("append", 60)
    assert buffer.failure == ""
    model.drain()
    buffer.close()


_FULL_DISK = """
import resource, sys
from gra_provisioner.agent.buffer import SendBuffer, SpillFile
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, resource.RLIM_INFINITY))
buffer = SendBuffer(1000, SpillFile(sys.argv[1], 1 << 20))
written = taken = b""
for round in range(3):
    full = 0
    for number in range(100):
        full += buffer.room < 97
        data = bytes((number + round,)) * 97
        written += data
        buffer.append(data)
    assert full > 30, full
    assert buffer.failure, "the file took more than the limit"
    assert buffer.room == 0
    while pieces := buffer.take(500):
        taken += b"".join(map(bytes, pieces))
    buffer.release(buffer.sent)
    assert taken == written
    assert not buffer.failure
print("kept all")
"""


def test_a_full_disk_loses_nothing_and_is_used_again_when_there_is_room(tmp_path: Path) -> None:
    # A process may not write files beyond the limit: write(2) fails as on a full disk.
    assert resource.RLIMIT_FSIZE
    result = subprocess.run(
        [sys.executable, "-c", _FULL_DISK, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert result.stderr == ""
    assert result.stdout == "kept all\n"


def test_a_closed_buffer_holds_nothing(tmp_path: Path) -> None:
    spill = SpillFile(str(tmp_path), 1 << 20)
    buffer = SendBuffer(10, spill)
    for _ in range(10):
        buffer.append(bytes(50))
    buffer.close()

    assert len(buffer) == 0
    assert buffer.take(100) == []
    assert _open_files(tmp_path) == []
