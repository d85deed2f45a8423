"""Lines of logs: read from what the agent wrote, chosen, put together, and shown."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gra_provisioner.agent.log import Log
from gra_provisioner.backends.local_logs import GrowingFile
from gra_provisioner.cli.log_output import Layout, json_line, shown
from gra_provisioner.errors import GraError, UnknownLogSource
from gra_provisioner.log_streams import as_they_come, by_time, last_lines
from gra_provisioner.logs import (
    AgentLines,
    LineSplitter,
    LogLine,
    LogQuery,
    decoded,
    format_time,
    in_seconds,
    read_stamp,
)

STAMP = b"2026-11-21T15:00:00.123Z "
TIME = 1795273200.123
# All that ends a line for somebody, and what begins lines of the agent's.
PIECES = [b"\r", b"\x0b", b"\x0c", b"\x1c", b"\x85", b"\xc2\x85", b"\xe2\x80\xa8", b"\x00", b"\xff"]
FORGED = STAMP + b"agent: forged"
kernels_bytes = st.lists(
    st.one_of(st.sampled_from([*PIECES, FORGED, b"stdout: ", b"\n"]), st.binary(max_size=8))
).map(b"".join)


def line(time: float | None, text: str = "", source: str = "stdout", runner: str = "r") -> LogLine:
    return LogLine(runner, time, source, text)


# -- the agent's log ------------------------------------------------------------------------


def _parsed(raw: bytes) -> list[LogLine]:
    parsed = AgentLines("runner-1")
    splitter = LineSplitter()
    pieces = splitter.feed(raw) + splitter.finish()
    return [parsed.line(raw, begins=begins) for raw, begins in pieces]


def test_a_line_has_the_time_and_the_source_of_its_stamp() -> None:
    raw = STAMP + b"agent: ready: yes\n" + STAMP + b"stdout: \n" + STAMP + b"stderr:  x \n"
    assert _parsed(raw) == [
        LogLine("runner-1", TIME, "agent", "ready: yes"),
        LogLine("runner-1", TIME, "stdout", ""),
        LogLine("runner-1", TIME, "stderr", " x "),
    ]


def test_a_line_without_a_stamp_belongs_to_the_one_before() -> None:
    raw = b"first\n" + STAMP + b"stderr: a\nb\n2026-13-01T00:00:00Z stdout: no such month\n"
    assert [(x.time, x.source, x.text) for x in _parsed(raw)] == [
        (None, "agent", "first"),
        (TIME, "stderr", "a"),
        (TIME, "stderr", "b"),
        (TIME, "stderr", "2026-13-01T00:00:00Z stdout: no such month"),
    ]


def test_who_else_noted_the_time_of_a_line_without_a_stamp_is_believed() -> None:
    assert AgentLines("r").line(b"Traceback", time=5.0) == LogLine("r", 5.0, "agent", "Traceback")
    assert AgentLines("r").line(STAMP + b"agent: x", time=5.0).time == TIME


@given(kernels_bytes)
def test_nothing_that_a_kernel_writes_is_a_line_of_the_agents(
    tmp_path_factory: pytest.TempPathFactory, written: bytes
) -> None:
    path = tmp_path_factory.mktemp("log") / "agent.log"
    log = Log(str(path))
    # As the agent reads it: agent/kernel.py.
    for part in written.split(b"\n"):
        log.line(part.decode("utf-8", "replace").rstrip("\r"), "stdout")
    assert {found.source for found in _parsed(path.read_bytes())} == {"stdout"}


@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_a_text_of_several_lines_has_a_stamp_for_each(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.mktemp("log") / "agent.log"
    Log(str(path)).line(text, "stderr")
    raw = path.read_bytes()
    assert raw.count(b"Z stderr: ") >= raw.count(b"\n")
    found = _parsed(raw)
    assert {one.source for one in found} == {"stderr"}
    assert "\n".join(one.text for one in found) == text


@given(st.binary())
def test_bytes_are_the_same_when_they_are_written_again(raw: bytes) -> None:
    text = decoded(raw)
    assert text.encode("utf-8", "surrogateescape") == raw
    public = line(None, text).public()["text"]
    assert json.loads(json.dumps(public)) == public == public.encode().decode()


# -- lines in blocks ------------------------------------------------------------------------


@given(kernels_bytes, st.lists(st.integers(0, 40)), st.integers(1, 30))
def test_lines_are_the_same_however_they_come(
    written: bytes, cuts: Sequence[int], longest: int
) -> None:
    splitter = LineSplitter(longest)
    pieces = []
    rest = written
    for cut in cuts:
        pieces += splitter.feed(rest[:cut])
        rest = rest[cut:]
    pieces += splitter.feed(rest) + splitter.finish()

    assert all(len(raw) <= longest for raw, _ in pieces)
    lines: list[bytes] = []
    for raw, begins in pieces:
        if begins:
            lines.append(raw)
        else:
            assert raw
            lines[-1] += raw
    expected = written.split(b"\n")
    assert lines == (expected[:-1] if expected[-1] == b"" else expected)


def test_what_goes_on_for_ever_is_given_in_pieces() -> None:
    splitter = LineSplitter(4)
    assert splitter.feed(b"12345678") == [(b"1234", True)]
    assert splitter.feed(b"9") == [(b"5678", False)]
    assert splitter.feed(b"\nx\n") == [(b"9", False), (b"x", True)]
    assert splitter.finish() == []


def test_a_piece_of_a_line_is_no_line_of_the_agents() -> None:
    lines = AgentLines("r")
    lines.line(STAMP + b"stdout: begin")
    assert lines.line(FORGED, begins=False).source == "stdout"


# -- times ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stamp", "nanoseconds"),
    [
        (b"1970-01-01T00:00:01Z ", 10**9),
        (b"2026-11-21T15:00:00.1Z ", 1795273200_100_000_000),
        (b"2026-11-21T15:00:00.123456789Z ", 1795273200_123_456_789),
        (b"2026-11-21T16:30:00.000000001+01:30 ", 1795273200_000_000_001),
    ],
)
def test_times_are_read_as_kubernetes_and_the_agent_write_them(
    stamp: bytes, nanoseconds: int
) -> None:
    assert read_stamp(stamp + b"x") == (nanoseconds, len(stamp))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"2026-11-21T15:00:00Z",
        b" 2026-11-21T15:00:00Z x",
        b"2026-11-21 15:00:00Z x",
        b"2026-11-32T15:00:00Z x",
        b"2026-11-21T15:00:00+99:99 x",
        b"2026-11-21T15:00:00.0000000001Z x",
    ],
)
def test_what_is_no_time_is_none(raw: bytes) -> None:
    assert read_stamp(raw) is None


@given(st.integers(0, 4_000_000_000_000))
def test_thousandths_are_as_they_were_written(thousandths: int) -> None:
    shown_time = format_time(in_seconds(thousandths * 1_000_000))
    found = read_stamp(f"{shown_time} ".encode())
    assert found is not None
    assert found[0] == thousandths * 1_000_000


# -- which are meant ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sources", "meant"),
    [
        ((), ["agent", "stdout", "stderr", "sidecar"]),
        (("agent",), ["agent"]),
        (("kernel",), ["stdout", "stderr"]),
        (("stderr",), ["stderr"]),
        (("kernel", "sidecar"), ["stdout", "stderr", "sidecar"]),
    ],
)
def test_sources_are_chosen(sources: tuple[str, ...], meant: list[str]) -> None:
    query = LogQuery(sources=frozenset(sources))
    every = ["agent", "stdout", "stderr", "sidecar"]
    assert [source for source in every if query.wants(line(1.0, source=source))] == meant


def test_lines_before_a_time_are_left_out_and_those_of_an_unknown_one_are_not() -> None:
    query = LogQuery(since=10.0)
    assert [query.wants(line(time)) for time in (9.999, 10.0, None)] == [False, True, True]


def test_a_source_that_is_not_there_is_named_with_those_that_are() -> None:
    query = LogQuery(sources=frozenset({"agent", "kernel", "stdout", "istio", "proxy"}))
    query.check_sources("runner-1", ["istio", "proxy"])
    with pytest.raises(UnknownLogSource, match="runner-1 has no log of 'proxy'") as raised:
        query.check_sources("runner-1", ["istio"])
    assert raised.value.details["sources"] == ["agent", "kernel", "stdout", "stderr", "istio"]
    assert raised.value.exit_code == 2


# -- several streams ------------------------------------------------------------------------


class _Stream:
    """A stream of lines that knows whether it was closed."""

    def __init__(self, lines: Sequence[LogLine], error: Exception | None = None) -> None:
        self.closed = False
        self._lines = lines
        self._error = error

    async def lines(self) -> AsyncGenerator[LogLine, None]:
        try:
            for one in self._lines:
                await asyncio.sleep(0)
                yield one
            if self._error is not None:
                raise self._error
        finally:
            self.closed = True


async def _all(stream: AsyncGenerator[LogLine, None]) -> list[LogLine]:
    return [one async for one in stream]


times = st.lists(st.one_of(st.none(), st.integers(0, 20).map(float)), max_size=10)


@given(st.lists(times, max_size=4))
def test_lines_of_several_runners_come_by_time_and_each_ones_in_its_order(
    runs: list[list[float | None]],
) -> None:
    streams = [
        [line(time, str(number), runner=f"r{index}") for number, time in enumerate(run)]
        for index, run in enumerate(runs)
    ]
    found = asyncio.run(_all(by_time([_Stream(lines).lines() for lines in streams])))

    for index, lines in enumerate(streams):
        assert [one for one in found if one.runner == f"r{index}"] == lines
    if all(run == sorted(time for time in run if time is not None) for run in runs):
        assert [one.time for one in found] == sorted(one.time or 0 for one in found)


def test_a_line_of_an_unknown_time_follows_the_one_before_it() -> None:
    one = [line(1.0, "a"), line(None, "b"), line(3.0, "c")]
    other = [line(2.0, "x"), line(1.5, "late"), line(2.5, "y")]
    found = asyncio.run(_all(by_time([_Stream(one).lines(), _Stream(other).lines()])))
    assert [text.text for text in found] == ["a", "b", "x", "late", "y", "c"]


@given(st.integers(0, 6), st.integers(0, 6))
def test_the_last_lines_are_as_many_as_asked_for(count: int, asked: int) -> None:
    lines = [line(float(number)) for number in range(count)]
    assert asyncio.run(_all(last_lines(_Stream(lines).lines(), asked))) == lines[-asked:][:asked]
    assert asyncio.run(_all(last_lines(_Stream(lines).lines(), None))) == lines


@given(st.lists(times, max_size=4))
def test_as_they_come_none_is_lost(runs: list[list[float | None]]) -> None:
    streams = [
        [line(time, str(number), runner=f"r{index}") for number, time in enumerate(run)]
        for index, run in enumerate(runs)
    ]
    found = asyncio.run(_all(as_they_come([_Stream(lines).lines() for lines in streams])))
    for index, lines in enumerate(streams):
        assert [one for one in found if one.runner == f"r{index}"] == lines


def test_who_takes_lines_slowly_holds_the_streams_up() -> None:
    given_out = 0

    async def endless() -> AsyncGenerator[LogLine, None]:
        nonlocal given_out
        while True:
            given_out += 1
            yield line(1.0)

    async def take_one() -> None:
        merged = as_they_come([endless()])
        await anext(merged)
        await asyncio.sleep(0.05)
        await merged.aclose()

    asyncio.run(take_one())
    assert given_out < 2000


async def test_one_that_fails_ends_the_others() -> None:
    lines = [line(1.0)] * 1000
    streams = [_Stream(lines), _Stream([], GraError("no")), _Stream(lines)]
    with pytest.raises(GraError, match="no"):
        await _all(as_they_come([stream.lines() for stream in streams]))
    assert all(stream.closed for stream in streams)


@pytest.mark.parametrize("merge", [by_time, as_they_come])
async def test_closing_what_is_merged_closes_all(merge: object) -> None:
    assert callable(merge)
    streams = [_Stream([line(1.0)] * 10) for _ in range(3)]
    merged = merge([stream.lines() for stream in streams])
    for _ in range(5):
        await anext(merged)
    await merged.aclose()
    assert all(stream.closed for stream in streams)


# -- how they are shown ---------------------------------------------------------------------


def test_a_line_of_one_runner_has_its_source_and_no_name() -> None:
    layout = Layout(["runner-1"])
    assert layout.line(line(TIME, "x", "agent", "runner-1")) == b"agent   x\n"
    assert layout.line(line(TIME, "", "a-long-sidecar", "runner-1")) == b"a-long-sidecar  \n"


def test_lines_of_several_runners_begin_with_their_names() -> None:
    layout = Layout(["runner-3", "runner-12"], times=True)
    assert layout.line(line(TIME, "x", "agent", "runner-3")) == (
        b"runner-3  | 2026-11-21T15:00:00.123Z agent   x\n"
    )
    assert layout.line(line(None, "y", "stderr", "runner-12")) == (
        b"runner-12 | -                        stderr  y\n"
    )


@given(st.binary())
def test_lines_of_one_source_are_written_as_they_were(raw: bytes) -> None:
    assert Layout(["r"], sources=False).line(line(TIME, decoded(raw))) == raw + b"\n"


@given(st.binary().map(lambda raw: raw.replace(b"\n", b"")))
def test_a_terminal_gets_nothing_that_steers_it(raw: bytes) -> None:
    text = Layout(["r"], sources=False, terminal=True).line(line(TIME, decoded(raw))).decode()
    assert text.removesuffix("\n").replace("\t", "").isprintable()


@pytest.mark.parametrize(
    ("written", "seen"),
    [
        ("plain, ü and 漢", "plain, ü and 漢"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07x", "�]0;title�x"),
        ("a\tb", "a\tb"),
        (" 10%\r 20%\r100%", "100%"),
        ("done\r", "done"),
        ("\r", ""),
        ("\udcff", "�"),
    ],
)
def test_what_a_terminal_shows(written: str, seen: str) -> None:
    assert shown(written) == seen


@given(st.binary())
def test_a_json_line_is_an_object_in_ascii(raw: bytes) -> None:
    data = json_line(line(TIME, decoded(raw), "stderr", "runner-1"))
    assert data.isascii()
    assert data.count(b"\n") == 1
    assert json.loads(data) == {
        "runner": "runner-1",
        "time": TIME,
        "source": "stderr",
        "text": raw.decode("utf-8", "replace"),
    }


def test_the_agents_log_can_be_read_over_its_rotation(tmp_path: Path) -> None:
    log = Log(str(tmp_path / "agent.log"), limit=4000)
    place = os.open(tmp_path, os.O_RDONLY)
    file = GrowingFile(place, "agent.log")
    try:
        read = b""
        for number in range(500):
            log.line(f"line {number}", "stdout")
            if number % 70 == 0:
                read += b"".join(file.blocks())
        read += b"".join(file.blocks())
    finally:
        file.close()
        os.close(place)
    assert [found.text for found in _parsed(read)] == [f"line {n}" for n in range(500)]
