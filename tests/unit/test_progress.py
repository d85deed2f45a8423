"""What is recorded, told and shown of a launch, without any runner."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from jupyter_events import EventLogger
from jupyter_events.schema import EventSchema

from gra_provisioner.cli.output import launch_observers, print_error
from gra_provisioner.cli.terminal import LiveLine, can_rewrite, fitted
from gra_provisioner.errors import (
    GraError,
    KernelStartError,
    ResultsNotFetched,
    RunnerStartError,
)
from gra_provisioner.progress import LaunchEnd, LaunchProgress, LogObserver
from gra_provisioner.runner import RunnerEvent
from gra_provisioner.server import events
from gra_provisioner.tunnel.kernel import KernelExit
from gra_provisioner.tunnel.obituary import Obituary
from gra_provisioner.workspace.sync import Returned
from gra_provisioner.workspace.tree import Entry
from tests.support.sample_runners import FULL


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Observer:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.phases: list[tuple[str, str]] = []
        self.ends: list[LaunchEnd] = []

    def on_phase(self, phase: str, message: str, runner: str = "") -> None:
        self.phases.append((phase, message))

    def on_end(self, end: LaunchEnd) -> None:
        self.ends.append(end)


def _launch(progress: LaunchProgress, clock: Clock) -> None:
    """A pod's launch of 2.1 s."""
    for phase, seconds in (("scheduling", 0.1), ("pulling", 1.2), ("starting", 0.4)):
        progress(phase, f"runner-3: {phase}")
        clock.now += seconds
    progress("kernel", "runner-3: starting the kernel")
    clock.now += 0.4
    progress("ready", "runner-3: ready")


def _fail(progress: LaunchProgress, clock: Clock, error: GraError) -> None:
    """A launch that fails 12.3 s into its second phase."""
    with progress:
        progress("scheduling", "runner-3: scheduling")
        clock.now += 0.5
        progress("pulling", "runner-3: pulling")
        clock.now += 12.3
        raise error


def test_a_launch_is_summed_up_on_one_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "test")
    clock = Clock()

    with LaunchProgress([LogObserver(logging.getLogger("test"))], clock) as progress:
        _launch(progress, clock)

    assert [record.getMessage() for record in caplog.records] == [
        "runner-3: scheduling",
        "runner-3: pulling",
        "runner-3: starting",
        "runner-3: starting the kernel",
        "runner-3: ready",
        "runner-3 ready in 2.1 s (scheduling 0.1, pulling 1.2, starting 0.4, kernel 0.4)",
    ]


def test_phases_have_times_while_the_launch_goes_on() -> None:
    clock = Clock()
    progress = LaunchProgress(clock=clock)
    progress("pulling", "runner-3: pulling python:3.12")
    clock.now += 1.5

    assert progress.timings() == [
        {"phase": "pulling", "seconds": 1.5, "message": "runner-3: pulling python:3.12"}
    ]


def test_a_phase_that_has_something_new_to_say_goes_on() -> None:
    clock, observer = Clock(), Observer()
    progress = LaunchProgress([observer], clock)
    progress("pulling", "runner-3: pulling")
    clock.now += 1
    progress("pulling", "runner-3: pulling, 2nd try")
    clock.now += 1
    progress("pulling", "runner-3: pulling, 2nd try")

    assert progress.timings() == [
        {"phase": "pulling", "seconds": 2.0, "message": "runner-3: pulling, 2nd try"}
    ]
    assert len(observer.phases) == 2


def test_a_failure_says_in_which_phase_and_after_which() -> None:
    clock, observer = Clock(), Observer()
    progress = LaunchProgress([observer], clock)

    error = KernelStartError("It ended.", hint="Read.", details={"stderr": ["no"]})

    with pytest.raises(KernelStartError):
        _fail(progress, clock, error)

    assert error.details == {
        "stderr": ["no"],
        "phase": "pulling",
        "phases": [
            {"phase": "scheduling", "seconds": 0.5, "message": "runner-3: scheduling"},
            {"phase": "pulling", "seconds": 12.3, "message": "runner-3: pulling"},
        ],
    }
    (end,) = observer.ends
    assert (end.state, end.runner, end.phase) == ("failed", "runner-3", "pulling")
    assert (end.reason, end.message, end.hint) == ("KernelStartFailed", "It ended.", "Read.")


def test_what_fails_before_its_first_phase_has_no_phases() -> None:
    with pytest.raises(GraError) as raised, LaunchProgress():
        raise GraError("No.")
    assert raised.value.details == {}


def test_a_cancelled_launch_is_no_failure() -> None:
    observer = Observer()
    with pytest.raises(asyncio.CancelledError), LaunchProgress([observer]):
        raise asyncio.CancelledError
    assert [(end.state, end.reason) for end in observer.ends] == [("cancelled", "")]


def test_a_fault_of_ours_is_told_without_its_text() -> None:
    observer = Observer()
    with pytest.raises(ValueError, match="s3cret"), LaunchProgress([observer]):
        raise ValueError("s3cret")
    (end,) = observer.ends
    assert (end.state, end.reason) == ("failed", "InternalError")
    assert "s3cret" not in repr(end)


def test_a_failed_launch_says_on_stderr_where_its_time_went(
    capfd: pytest.CaptureFixture[str],
) -> None:
    clock = Clock()
    error = GraError("No such image.", hint="Correct it.", reason="ImageNotFound")
    with pytest.raises(GraError):
        _fail(LaunchProgress(clock=clock), clock, error)

    print_error(error, as_json=False)

    assert capfd.readouterr().err.splitlines() == [
        "Error: No such image.",
        "Reason: ImageNotFound",
        "Phases: scheduling 0.5 s, pulling 12.3 s",
        "Hint: Correct it.",
    ]


# The line on a terminal.


@pytest.mark.parametrize(
    ("message", "columns", "line"),
    [
        ("runner-3: pulling python:3.12", 80, "runner-3: pulling python:3.12 … 12 s"),
        ("runner-3: pulling python:3.12", 30, "runner-3: pulling pyth … 12 s"),
        ("画像を引く", 14, "画像を … 12 s"),
        ("a\x1b[2J\nb", 80, "a�[2J b … 12 s"),
        ("anything", 3, " … 12 s"),
    ],
)
def test_the_line_fits_the_terminal_and_cannot_steer_it(
    message: str, columns: int, line: str
) -> None:
    assert fitted(message, 12.3, columns) == line


async def test_the_line_is_rewritten_in_place_and_removed() -> None:
    out, clock = io.StringIO(), Clock()
    with LaunchProgress([LiveLine(out, clock)], clock) as progress:
        progress("pulling", "runner-3: pulling")
        clock.now += 3
        progress("pulling", "runner-3: still pulling")
        progress("starting", "runner-3: starting")

    assert "\n" not in out.getvalue()
    assert out.getvalue().split("\r\x1b[K") == [
        "",
        "runner-3: pulling … 0 s",
        "runner-3: still pulling … 3 s",
        "runner-3: starting … 0 s",
        "",
    ]


async def test_the_seconds_go_on_while_nothing_else_happens() -> None:
    out = io.StringIO()
    with LaunchProgress([LiveLine(out)]) as progress:
        progress("pulling", "pulling")
        await asyncio.sleep(1.1)
    lines = out.getvalue().split("\r\x1b[K")
    assert lines[1:] == ["pulling … 0 s", "pulling … 1 s", ""]


async def test_a_terminal_that_goes_away_fails_no_launch() -> None:
    out = io.StringIO()
    with LaunchProgress([LiveLine(out)]) as progress:
        progress("pulling", "pulling")
        out.close()
        progress("starting", "starting")


def test_without_a_terminal_there_is_no_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main, terminal = os.openpty()
    with (
        os.fdopen(main, "rb"),
        os.fdopen(terminal, "w") as tty,
        (tmp_path / "log").open("w") as file,
    ):
        monkeypatch.setenv("TERM", "xterm")
        assert can_rewrite(tty)
        assert not can_rewrite(file)
        assert not can_rewrite(None)
        monkeypatch.setenv("TERM", "dumb")
        assert not can_rewrite(tty)
        monkeypatch.setattr("sys.stderr", file)
        assert launch_observers(as_json=True) == []
    assert not can_rewrite(file)


# Events.


async def _emitted(
    emit: Callable[[events.Emitter], None], register: bool = True
) -> list[tuple[str, dict[str, object]]]:
    """What a listener of the server's event logger gets of what ``emit(emitter)`` emits."""
    logger = EventLogger()
    seen: list[tuple[str, dict[str, object]]] = []

    async def listen(logger: EventLogger, schema_id: str, data: dict[str, object]) -> None:
        seen.append((schema_id, data))

    if register:
        events.register(logger)
        events.register(logger)
    logger.add_listener(listener=listen)
    emitter = events.Emitter(logger, events.Subject("k1", "gra", "a.ipynb"))
    # As phases come: from another thread.
    await asyncio.to_thread(emit, emitter)
    await asyncio.sleep(0)
    await logger.gather_listeners()
    return seen


def _failing_launch(emitter: events.Emitter) -> None:
    clock = Clock()
    error = GraError("No such image.", hint="Correct it.", reason="ImageNotFound")
    with pytest.raises(GraError):
        _fail(LaunchProgress([emitter.launching()], clock), clock, error)


async def test_each_phase_and_the_end_is_a_valid_event_in_order() -> None:
    first, second, (schema, failed) = await _emitted(_failing_launch)

    subject = {"kernel_id": "k1", "kernel_name": "gra", "notebook": "a.ipynb"}
    assert first == (
        events.RUNNER_LAUNCH,
        {
            **subject,
            "state": "launching",
            "phase": "scheduling",
            "message": "runner-3: scheduling",
            "runner": "runner-3",
        },
    )
    assert second[1]["phase"] == "pulling"
    assert schema == events.RUNNER_LAUNCH
    assert failed == {
        **subject,
        "state": "failed",
        "phase": "pulling",
        "runner": "runner-3",
        "reason": "ImageNotFound",
        "message": "No such image.",
        "hint": "Correct it.",
        "seconds": 12.8,
        "phases": [
            {"phase": "scheduling", "seconds": 0.5, "message": "runner-3: scheduling"},
            {"phase": "pulling", "seconds": 12.3, "message": "runner-3: pulling"},
        ],
        "details": {"events": [], "log": []},
    }


async def test_what_is_known_of_a_launch_that_failed_is_in_its_event() -> None:
    said = RunnerEvent(1.5, "Warning", "Failed", "No such image.", 2, "kubelet", "Pod/runner-3")
    details = {"runner_uid": "u-3", "events": [said.public()], "log": ["a line"]}

    def launch(emitter: events.Emitter) -> None:
        progress = LaunchProgress([emitter.launching()])
        with contextlib.suppress(RunnerStartError), progress:
            progress("pulling", "runner-3: pulling")
            raise RunnerStartError("No such image.", details=details)

    *_, (_, data) = await _emitted(launch)
    assert data["details"] == {"events": [said.public()], "log": ["a line"]}
    assert data["runner_uid"] == "u-3"


async def test_a_death_is_a_valid_event() -> None:
    memory = {"used": 2**31, "limit": 2**31}
    obituary = Obituary("Out of memory.", "Less.")
    end = KernelExit(-9, obituary, False, reason="OutOfMemory", memory=memory)
    ((schema, data),) = await _emitted(lambda emitter: emitter.died("runner-3", end, "u-3"))
    assert schema == events.KERNEL_DEATH
    assert (data["memory"], data["runner_uid"]) == (memory, "u-3")
    assert (data["reason"], data["runner"], data["code"]) == ("OutOfMemory", "runner-3", -9)


@pytest.mark.parametrize(
    ("outcome", "state", "message"),
    [
        (
            Returned("runner-3", "/nb", "/workspace", [Entry("a", "file", 5, 1, 1, 0o644)]),
            "returned",
            "runner-3: 1 file, 5 B, copied back to /nb.",
        ),
        (Returned("runner-3", "/nb", "/workspace", lost="It is lost."), "noticed", "It is lost."),
        (ResultsNotFetched("No room.", hint="Make room."), "failed", "No room."),
    ],
)
async def test_what_came_back_from_a_runner_is_a_valid_event(
    outcome: Returned | ResultsNotFetched, state: str, message: str
) -> None:
    ((schema, data),) = await _emitted(lambda emitter: emitter.results(FULL, outcome))
    assert schema == events.RUNNER_RESULTS
    assert (data["state"], data["message"]) == (state, message)
    assert (data["runner"], data["runner_uid"]) == (FULL.name, FULL.uid)


async def test_where_nothing_came_back_there_is_no_event() -> None:
    nothing = Returned("runner-3", "/nb", "/workspace")
    assert not await _emitted(lambda emitter: emitter.results(FULL, nothing))


@pytest.mark.filterwarnings("error")
async def test_without_the_extension_there_are_no_events() -> None:
    assert await _emitted(_failing_launch, register=False) == []


def test_the_schemas_have_the_ids_that_are_emitted() -> None:
    for id, path in events.SCHEMAS.items():
        assert EventSchema(path).id == id


async def test_a_server_that_has_stopped_fails_no_launch() -> None:
    logger = EventLogger()
    events.register(logger)

    def on_a_loop_that_ends() -> events.Emitter:
        async def make() -> events.Emitter:
            return events.Emitter(logger, events.Subject("k1"))

        return asyncio.run(make())

    _failing_launch(await asyncio.to_thread(on_a_loop_that_ends))
