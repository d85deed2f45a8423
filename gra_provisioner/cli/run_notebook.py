"""A notebook on a runner of its own, cell by cell."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import typer
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbformat import NotebookNode

from ..errors import GraError
from ..execution import KILLED_AFTER
from ..progress import LaunchObserver
from ..runner import RunnerSpec
from ..tunnel.obituary import ENAME
from .foreground import BROKEN_PIPE
from .live_output import LiveOutput
from .notebook_file import check_language, runnable, write_notebook
from .notebook_kernel import NotebookKernel
from .outcome import TIME_IS_OVER, CellFailed, Cells, CellTimedOut, Outcome, stopped
from .output import print_error
from .stopping import Stop, Stopper, handle_signals, terminated
from .terminal import printable

# Characters of a cell's first line that are shown.
_SHOWN = 70


@dataclass(frozen=True)
class NotebookRun:
    """What to run: ``launch`` are the options of the launch, ``spec`` is what they come to.

    ``cell_timeout`` and ``timeout`` are in seconds.  ``observers`` show the launch; the cells are
    shown unless ``quiet``.
    """

    path: Path
    notebook: NotebookNode
    output: Path
    launch: Mapping[str, Any]
    spec: RunnerSpec
    allow_errors: bool = False
    cell_timeout: float | None = None
    timeout: float | None = None
    keep: bool = False
    quiet: bool = False
    observers: Sequence[LaunchObserver] = ()


async def run_notebook(request: NotebookRun) -> Outcome:
    """Run it on a fresh runner, write what came of it, and end the runner unless it is kept.

    Raises :class:`~gra_provisioner.errors.GraError` where it did not come to a first cell: the
    launch failed, or the kernel is for another language.
    """
    return await _Run(request).outcome()


class _Run:
    def __init__(self, request: NotebookRun) -> None:
        self._request = request
        self._loop = asyncio.get_running_loop()
        self._started = time.monotonic()
        self._stopper = Stopper()
        self._live: LiveOutput | None = None
        if not request.quiet:
            broken = Stop("nobody reads its output any more", BROKEN_PIPE)
            self._live = LiveOutput(partial(self._stopper.request, broken))
        self._kernel = NotebookKernel(
            request.notebook,
            request.launch,
            request.observers,
            self._live.message if self._live else lambda kind, content: None,
            allow_errors=request.allow_errors,
            on_cell_error=self._on_cell_error,
        )
        self._cells = list(runnable(request.notebook))
        # The cell that runs or was run last, from 1.
        self._number = 0
        self._failed: list[int] = []
        # Of the cell that runs: whether there is one, and its error's ename and evalue.
        self._in_cell = False
        self._error: tuple[str, str] | None = None
        # Why the cell that runs is to be the last one.
        self._last: Stop | None = None
        self._written = False
        self._tasks: set[asyncio.Task[None]] = set()

    # -- what asks for the end --------------------------------------------------------------

    def _watch(self) -> None:
        handle_signals(
            {
                signal.SIGINT: self._on_interrupt,
                signal.SIGTERM: partial(self._stopper.request, terminated(signal.SIGTERM)),
                signal.SIGHUP: partial(self._stopper.request, terminated(signal.SIGHUP)),
            }
        )
        if self._request.timeout is not None:
            self._loop.call_later(self._request.timeout, self._on_time_over)

    def _on_interrupt(self) -> None:
        if self._last is not None or not self._in_cell:
            self._stopper.request(self._last or terminated(signal.SIGINT))
            return
        self._last = terminated(signal.SIGINT)
        self._line("Interrupting the cell. Ctrl-C once more ends the run at once.")
        self._interrupt()

    def _on_time_over(self) -> None:
        if self._last is not None or not self._in_cell:
            self._stopper.request(self._last or TIME_IS_OVER)
            return
        self._last = TIME_IS_OVER
        self._interrupt()
        self._loop.call_later(KILLED_AFTER, self._stopper.request, TIME_IS_OVER)

    def _interrupt(self) -> None:
        async def interrupt() -> None:
            try:
                await self._kernel.interrupt()
            except GraError as error:
                print_error(error, as_json=False)

        task = asyncio.ensure_future(interrupt())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- the run ----------------------------------------------------------------------------

    async def outcome(self) -> Outcome:
        """The whole of it."""
        self._watch()
        stop = await self._stopper.until(self._launch())
        if stop is not None:
            return self._outcome(stopped(stop, "while its runner started"), stop.exit_code)
        error, exit_code = await self._until_end()
        if self._live is not None:
            await self._stopper.until(self._live.written())
        return self._outcome(error, exit_code)

    async def _launch(self) -> None:
        request = self._request
        language = await self._kernel.start(request.path)
        try:
            told = str(language.get("name", ""))
            check_language(
                request.path, request.notebook, request.spec.profile, request.spec.kernel_argv, told
            )
        except GraError:
            await self._kernel.end(graceful=False)
            raise
        request.notebook.metadata["language_info"] = dict(language)

    async def _until_end(self) -> tuple[GraError | None, int]:
        """Run the cells, write the notebook and end the runner: what went wrong, exit code."""
        error: GraError | None = None
        exit_code = 0
        try:
            try:
                stop = await self._stopper.until(self._run_cells()) or self._last
                if stop is not None:
                    error, exit_code = stopped(stop, self._where), stop.exit_code
            except GraError as failure:
                error, exit_code = failure, failure.exit_code
            self._write()
        except GraError as failure:
            if error is not None:
                print_error(failure, as_json=False)
            error, exit_code = error or failure, exit_code or failure.exit_code
        finally:
            left = await self._kernel.end(graceful=error is None, keep=self._request.keep)
        if left is not None:
            error, exit_code = error or left, exit_code or left.exit_code
        return error, exit_code

    def _write(self) -> None:
        """Write the notebook with all that it has, once a cell has begun, or if it has none."""
        if self._number or not self._cells:
            self._kernel.client.set_widgets_metadata()
            write_notebook(self._request.notebook, self._request.output)
            self._written = True

    @property
    def _where(self) -> str:
        if not self._number:
            return "before its first cell"
        return f"in cell {self._number} of {len(self._cells)}"

    async def _run_cells(self) -> None:
        """Raises what the first cell fails with that may not."""
        for number, (place, cell) in enumerate(self._cells, 1):
            self._number = number
            first_line = printable(cell.source.strip().partition("\n")[0])
            self._line(f"[{number}/{len(self._cells)}] {first_line[:_SHOWN]}".rstrip())
            await self._run_cell(place, cell)
            if self._last is not None:
                return

    async def _run_cell(self, place: int, cell: NotebookNode) -> None:
        client = self._kernel.client
        self._in_cell, self._error = True, None
        running = asyncio.ensure_future(
            client.async_execute_cell(cell, place, execution_count=self._number)
        )
        try:
            await asyncio.wait({running}, timeout=self._request.cell_timeout)
            in_time = running.done()
            if not in_time:
                self._interrupt()
                await asyncio.wait({running}, timeout=KILLED_AFTER)
            ended = running.done()
            failure = await self._failure(running) if ended else None
        finally:
            self._in_cell = False
            running.cancel()
            await asyncio.wait({running})
            if not running.cancelled():
                # nbclient makes an error of its own of being cancelled.
                running.exception()
        if self._last is not None:
            # Its error is that of the interrupt.
            return
        if not in_time:
            self._on_too_long(ended)
        elif failure is not None:
            message = f"Cell {self._number} of {len(self._cells)} failed: {failure.ename}"
            raise CellFailed(
                f"{message}: {failure.evalue}" if failure.evalue else message,
                details={
                    "cell": self._number,
                    "ename": failure.ename,
                    "evalue": failure.evalue,
                },
            )

    async def _failure(self, cell: asyncio.Future[NotebookNode]) -> CellExecutionError | None:
        """The error of a cell that has ended, if it is not allowed.

        Raises that of the kernel, if it is that which has ended.
        """
        failure: CellExecutionError | None = None
        try:
            cell.result()
        except CellExecutionError as raised:
            failure = raised
        except DeadKernelError:
            raise await self._kernel.death("") from None
        if self._error is not None and self._error[0] == ENAME:
            raise await self._kernel.death(self._error[1])
        return failure

    def _on_too_long(self, ended: bool) -> None:
        if self._number not in self._failed:
            self._failed.append(self._number)
        if ended and self._request.allow_errors:
            return
        raise CellTimedOut(
            f"Cell {self._number} of {len(self._cells)} took longer than "
            f"{self._request.cell_timeout:g} s"
            + (", and was interrupted." if ended else ", and went on when it was interrupted."),
            hint="Give each more time with --cell-timeout.",
            details={"cell": self._number},
        )

    def _on_cell_error(
        self, cell: NotebookNode, execute_reply: Mapping[str, Any], **_: Any
    ) -> None:
        content = execute_reply["content"]
        self._error = str(content.get("ename", "")), str(content.get("evalue", ""))
        if "raises-exception" not in cell.metadata.get("tags", ()):
            self._failed.append(self._number)

    def _line(self, text: str) -> None:
        if self._live is not None:
            self._live.line(text)

    def _outcome(self, error: GraError | None, exit_code: int) -> Outcome:
        for warning in self._kernel.warnings:
            # That the kernel has died stands among them, too.
            if error is None or error.message not in warning:
                typer.echo(warning, err=True)
        return Outcome(
            self._kernel.runner,
            exit_code,
            time.monotonic() - self._started,
            error,
            self._request.output if self._written else None,
            Cells(len(self._cells), self._number, tuple(self._failed)),
        )
