"""Python code on a runner of its own, which has no kernel."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import typer

from ..attachment import variables, working_directory
from ..environment import difference
from ..errors import GraError, ResultsNotFetched
from ..execution import Bounded
from ..progress import LaunchObserver, LaunchProgress
from ..runner import Runner, RunnerSpec
from ..service import labels_of_this_process
from ..tunnel.process import RUNNERS_PYTHON
from .create import launch
from .exec_output import SameStreams
from .foreground import BROKEN_PIPE, Foreground
from .outcome import TIME_IS_OVER, Outcome, stopped
from .output import print_error
from .runners import open_service
from .stopping import Stop, Stopper, handle_signals, terminated
from .terminal import printable

if TYPE_CHECKING:
    from ..execution import Ended
    from ..profiles import Config
    from ..service import RunnerService
    from ..tunnel.process import Output


@dataclass(frozen=True)
class ScriptRun:
    """What to run: the content of ``name`` (a file, or ``-``), with arguments.

    ``cwd`` is for a runner on this machine; ``timeout`` is in seconds.  With ``capture`` the output
    goes into the outcome, else to our stdout and stderr.  ``observers`` show the launch.
    """

    name: str
    code: bytes
    arguments: Sequence[str]
    spec: RunnerSpec
    cwd: str
    timeout: float | None = None
    keep: bool = False
    capture: bool = False
    observers: Sequence[LaunchObserver] = ()


class _Output:
    """A :class:`~.exec_output.Sink`: our own streams, or the two ends of each output in memory."""

    def __init__(self, *, capture: bool) -> None:
        self.ended: Ended | None = None
        self._streams = SameStreams()
        self._captured = {"stdout": Bounded(), "stderr": Bounded()} if capture else {}

    def take(self, piece: Output) -> None:
        """See :class:`~.exec_output.Sink`."""
        if self._captured:
            self._captured[piece.source].add(piece.data)
        else:
            self._streams.take(piece)

    def end(self, ended: Ended) -> None:
        """See :class:`~.exec_output.Sink`."""
        self.ended = ended

    def captured(self) -> dict[str, Any]:
        """What there is in memory, as in ``gra exec --json``."""
        return {name: output.captured().public() for name, output in self._captured.items()}


async def run_script(config: Config, request: ScriptRun) -> Outcome:
    """Run it on a fresh runner to its end, and end the runner unless it is kept.

    Raises :class:`~gra_provisioner.errors.GraError` where the runner did not start.
    """
    started = time.monotonic()
    stopper = Stopper()
    handle_signals(
        {
            signum: partial(stopper.request, terminated(signum))
            for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        }
    )
    if request.timeout is not None:
        loop = asyncio.get_running_loop()
        loop.call_later(request.timeout, stopper.request, TIME_IS_OVER)
    output = _Output(capture=request.capture)
    async with open_service(config) as service:
        runner = await stopper.until(_launch(service, request))
        if isinstance(runner, Stop):
            error: GraError | None = stopped(runner, "while its runner started")
            return Outcome("", runner.exit_code, time.monotonic() - started, error)
        try:
            exit_code = await _run(service, runner, request, output, started)
            error = _error(output, exit_code)
        except GraError as failure:
            error, exit_code = failure, failure.exit_code
        finally:
            left = None if request.keep else await _end(service, runner)
        if left is not None:
            error, exit_code = error or left, exit_code or left.exit_code
    duration = time.monotonic() - started
    return Outcome(runner.name, exit_code, duration, error, captured=output.captured())


async def _launch(service: RunnerService, request: ScriptRun) -> Runner:
    spec = dataclasses.replace(request.spec, kernel_argv=())
    labels = labels_of_this_process(notebook=request.name, owner=service.owner)
    return await launch(
        service, spec, labels, LaunchProgress(request.observers), folder=request.cwd
    )


async def _run(
    service: RunnerService, runner: Runner, request: ScriptRun, output: _Output, started: float
) -> int:
    """Run the code with our signals and, unless it is captured, our streams: the exit code."""
    spec = request.spec
    process_of_code = service.process(
        runner,
        (RUNNERS_PYTHON, "-", *request.arguments),
        # As a kernel of the profile has it.
        env={**variables(spec), **difference(os.environ, os.environ, spec.forward_env)},
        cwd=working_directory(spec, runner, request.cwd),
    )
    timer = None
    async with process_of_code as process:
        run = Foreground(process, runner.name, output)
        # The end of the runner ends the code.
        run.take_signals(leave_at_term=True)
        run.spawn(run.give(request.code))
        if request.timeout is not None:
            left = max(0.0, started + request.timeout - time.monotonic())
            timer = asyncio.get_running_loop().call_later(left, run.time_out)
        try:
            return await run.to_end()
        finally:
            if timer is not None:
                timer.cancel()


def _error(output: _Output, exit_code: int) -> GraError | None:
    """What ended the code, if it was neither its own doing nor a Ctrl-C."""
    if output.ended is None:
        why = "nobody reads its output any more"
        if exit_code != BROKEN_PIPE:
            why = signal.Signals(exit_code - 128).name
        return stopped(Stop(why, exit_code), "while its code ran")
    return stopped(TIME_IS_OVER, "while its code ran") if output.ended.timed_out else None


async def _end(service: RunnerService, runner: Runner) -> GraError | None:
    """End the runner; why results stayed in it, if they did.

    That it cannot be ended otherwise changes nothing of what came of the run.
    """
    try:
        returned = await service.end(runner, grace=1.0, wait=False)
        for notice in returned.notices if returned is not None else ():
            typer.echo(printable(notice), err=True)
    except ResultsNotFetched as left:
        return left
    except GraError as error:
        print_error(error, as_json=False)
    return None
