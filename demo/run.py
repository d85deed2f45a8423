"""Runs a notebook on a runner and shows every step of it.

Called by ``make demo``.  It is the path that every client takes, nothing is set up for it: nbclient
starts the kernel ``gra``, the provisioner starts a runner, the notebook runs, the runner goes.  The
notebook with its outputs and an HTML page are written to ``build/demo``.  Exit code 0 means that
the outputs are there, that ``gra list`` showed the runner while it ran, and that nothing is left.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
import sysconfig
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client.kernelspec import KernelSpecManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbconvert import HTMLExporter
from nbformat import NotebookNode

from gra_provisioner.errors import GraError

HERE = Path(__file__).parent
GRA = Path(sysconfig.get_path("scripts")) / "gra"
# `gra list` is shown while a cell with this tag runs.
LIST_TAG = "list-runners"
# Of a cell's first line so many characters are shown.
LINE_WIDTH = 70
# Seconds.
CELL_TIMEOUT = 600
START_TIMEOUT = 60
INTERRUPTED = 130


class Clock:
    """Prints lines with the seconds since the start in front."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def say(self, text: str) -> None:
        print(f"[{time.monotonic() - self._started:6.2f} s]  {text}", flush=True)


class Phases(logging.Handler):
    """Passes on what the provisioner logs (``runner-1: agent started``), and notes which runner."""

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(logging.INFO)
        self._say = say
        self.runner: str | None = None

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        name, separator, _ = text.partition(": ")
        if separator and name.startswith("runner-"):
            self.runner = name
        self._say(text)


@dataclass
class Demo:
    """One run: the notebook, the kernel it runs on, and what was seen on the way."""

    notebook: NotebookNode
    kernel: str
    # False for a kernel of another provisioner, for comparison: there is no runner to look for.
    on_runner: bool
    clock: Clock = field(default_factory=Clock)
    runner: dict[str, Any] | None = None
    _cell_started: float = 0.0
    _listing: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        self.phases = Phases(self.clock.say)
        cells = (cell for cell in self.notebook.cells if cell.cell_type == "code")
        self.code_cells = list(cells)

    async def execute(self) -> None:
        """Run all cells.  Raises what nbclient raises: CellExecutionError, or a failed launch."""
        client = NotebookClient(
            self.notebook,
            kernel_name=self.kernel,
            timeout=CELL_TIMEOUT,
            startup_timeout=START_TIMEOUT,
            resources={"metadata": {"path": str(HERE)}},
            on_cell_execute=self._on_cell_execute,
            on_cell_executed=self._on_cell_executed,
        )
        self.clock.say(f"starting kernel {self.kernel!r}")
        try:
            await client.async_execute()
        finally:
            if self._listing is not None:
                await self._listing

    def _on_cell_execute(self, cell: NotebookNode, cell_index: int) -> None:
        self._cell_started = time.monotonic()
        tagged = LIST_TAG in cell.metadata.get("tags", ())
        if self.on_runner and tagged and self._listing is None:
            self._listing = asyncio.create_task(self._list_while_it_runs(self._label(cell)))

    def _on_cell_executed(
        self, cell: NotebookNode, cell_index: int, execute_reply: dict[str, Any]
    ) -> None:
        seconds = time.monotonic() - self._cell_started
        first_line = textwrap.shorten(cell.source.partition("\n")[0], LINE_WIDTH, placeholder=" …")
        self.clock.say(f"{self._label(cell)}  {seconds:5.2f} s  {first_line}")

    def _label(self, cell: NotebookNode) -> str:
        number = 1 + [other.id for other in self.code_cells].index(cell.id)
        return f"cell {number}/{len(self.code_cells)}"

    async def _list_while_it_runs(self, label: str) -> None:
        # At the same time: on a busy machine one after the other may outlast the cell.
        _, runners = await asyncio.gather(self.show_runners(f"while {label} runs"), list_runners())
        for runner in runners:
            if runner["name"] == self.phases.runner:
                self.runner = runner

    async def show_runners(self, when: str) -> None:
        """Print what ``gra list`` prints."""
        table = await gra("list")
        lines = "".join(f"            {line}\n" for line in table.splitlines())
        self.clock.say(f"{when}, `gra list` says:\n{lines.rstrip()}")

    async def findings(self) -> dict[str, bool]:
        """What must be true now, and whether it is."""
        outputs = [output for cell in self.code_cells for output in cell.outputs]
        found = {
            "every cell has run": all(cell.execution_count for cell in self.code_cells),
            "the tables are in the notebook": _has(outputs, "text/html"),
            "the plot is in the notebook": _has(outputs, "image/png"),
        }
        if self.on_runner:
            left = {runner["uid"] for runner in await list_runners()}
            found["`gra list` showed the runner while it ran"] = self.runner is not None
            found["nothing of the runner is left"] = (
                self.runner is not None and self.runner["uid"] not in left
            )
        return found


def _has(outputs: list[NotebookNode], mime_type: str) -> bool:
    return any(mime_type in output.get("data", {}) for output in outputs)


async def gra(*arguments: str) -> str:
    """What the command ``gra`` prints.  Raises :class:`RuntimeError` if it fails."""
    process = await asyncio.create_subprocess_exec(
        GRA, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    stdout, stderr = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"gra {' '.join(arguments)} failed: {stderr.decode().strip()}")
    return stdout.decode()


async def list_runners() -> list[dict[str, Any]]:
    """``gra list``, for programs."""
    runners: list[dict[str, Any]] = json.loads(await gra("list", "--json"))
    return runners


def is_on_runner(kernel: str) -> bool:
    """Whether the kernelspec of that name names gra's provisioner."""
    metadata = KernelSpecManager().get_kernel_spec(kernel).metadata
    name: str | None = metadata.get("kernel_provisioner", {}).get("provisioner_name")
    return name == "gra"


def write(notebook: NotebookNode, folder: Path, name: str) -> Iterator[Path]:
    """Write the notebook and a page of it.  Yields the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    executed = folder / f"{name}.ipynb"
    nbformat.write(notebook, executed)
    yield executed
    page = folder / f"{name}.html"
    html, _ = HTMLExporter().from_notebook_node(notebook, {"metadata": {"name": name}})
    page.write_text(html, encoding="utf-8")
    yield page


async def run(source: Path, kernel: str, folder: Path, clock: Clock | None = None) -> bool:
    """Run the demo, with the seconds of ``clock``.  Returns whether all was as it should be."""
    notebook = nbformat.read(source, as_version=4)
    demo = Demo(notebook, kernel, is_on_runner(kernel), clock or Clock())
    logger = logging.getLogger("gra_provisioner")
    logger.addHandler(demo.phases)
    logger.setLevel(logging.INFO)
    succeeded = True
    try:
        await demo.execute()
    except (CellExecutionError, GraError, RuntimeError) as error:
        demo.clock.say(f"FAILED: {error}")
        succeeded = False
    finally:
        logger.removeHandler(demo.phases)
    for path in write(demo.notebook, folder, source.stem):
        demo.clock.say(f"written: {path}")
    if demo.on_runner:
        await demo.show_runners("now that it is over")
    for finding, true in (await demo.findings()).items():
        demo.clock.say(f"{'ok' if true else 'FAILED'}: {finding}")
        succeeded = succeeded and true
    return succeeded


def main() -> int:
    """Run the demo as the command line asks for it.  Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--notebook", type=Path, default=HERE / "penguins.ipynb")
    parser.add_argument("--kernel", default="gra", help="name of the kernel (default: gra)")
    parser.add_argument("--output", type=Path, default=Path("build/demo"), help="folder for both")
    arguments = parser.parse_args()
    try:
        succeeded = asyncio.run(run(arguments.notebook, arguments.kernel, arguments.output))
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0 if succeeded else 1


if __name__ == "__main__":
    sys.exit(main())
