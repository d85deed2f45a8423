"""``gra run``: a notebook, or Python code, on a runner of its own."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .launch_options import (
    SOURCE,
    CpuOption,
    EnvOption,
    GpuOption,
    ImageOption,
    LabelOption,
    MemoryOption,
    ProfileOption,
    TtlOption,
    launch_layer,
)
from .options import JsonOption, parsed
from .output import launch_observers, print_error, print_json, reported_errors

if TYPE_CHECKING:
    from .outcome import Outcome

_NOTEBOOKS = "Notebooks"


def run(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="A notebook (.ipynb), or Python code; - reads code from stdin."
        ),
    ],
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="-- ARGUMENTS", help="Of the code.")
    ] = None,
    timeout: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="End the run after so long, its launch included: 30s, 2h."
        ),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the runner there, with its kernel.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Of the executed notebook. Default: NAME.executed.ipynb beside it.",
            rich_help_panel=_NOTEBOOKS,
        ),
    ] = None,
    in_place: Annotated[
        bool,
        typer.Option("--in-place", help="Replace the notebook.", rich_help_panel=_NOTEBOOKS),
    ] = False,
    allow_errors: Annotated[
        bool,
        typer.Option(
            "--allow-errors", help="Go on behind cells that fail.", rich_help_panel=_NOTEBOOKS
        ),
    ] = False,
    cell_timeout: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Interrupt a cell after so long; it has failed then.",
            rich_help_panel=_NOTEBOOKS,
        ),
    ] = None,
    profile: ProfileOption = None,
    image: ImageOption = None,
    cpu: CpuOption = None,
    memory: MemoryOption = None,
    gpu: GpuOption = None,
    env: EnvOption = None,
    ttl: TtlOption = None,
    label: LabelOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run a notebook, or Python code, on a runner of its own, which is then deleted.

    Output comes as it is written. The executed notebook is written with all that it has also where
    a cell fails, the kernel dies or the run is interrupted; the first Ctrl-C interrupts the cell
    and ends the run, the second one ends it at once. Code is run with the runner's Python, and its
    exit code becomes this command's. With --json one object is printed at the end, in the place of
    the output: runner, exit_code, duration, output, cells, error, and of code stdout and stderr.
    """
    from ..units import parse_bound

    bound = None if timeout is None else parsed(parse_bound, timeout, "--timeout")
    layer = launch_layer(
        profile=profile,
        image=image,
        cpu=cpu,
        memory=memory,
        gpu=gpu,
        env=env,
        ttl=ttl,
        labels=label,
    )
    if Path(file).suffix.lower() == ".ipynb":
        if arguments:
            raise typer.BadParameter("A notebook takes none.", param_hint="ARGUMENTS")
        if in_place and output is not None:
            raise typer.BadParameter("Choose one of --output and --in-place.")
        within = (
            None if cell_timeout is None else parsed(parse_bound, cell_timeout, "--cell-timeout")
        )
        path = Path(file).absolute()
        to = path if in_place else output or path.with_name(f"{path.stem}.executed.ipynb")
        options = {"allow_errors": allow_errors, "cell_timeout": within}
        with reported_errors(as_json):
            outcome = _run_notebook(
                path, to, layer, timeout=bound, keep=keep, as_json=as_json, **options
            )
    else:
        if output is not None or in_place or allow_errors or cell_timeout is not None:
            raise typer.BadParameter(
                "--output, --in-place, --allow-errors and --cell-timeout are for notebooks "
                "(files whose name ends with .ipynb)."
            )
        with reported_errors(as_json):
            outcome = _run_script(
                file, arguments or [], layer, timeout=bound, keep=keep, as_json=as_json
            )
    _report(outcome, keep, as_json)


def _run_notebook(
    path: Path, output: Path, layer: dict[str, Any], *, as_json: bool, **options: Any
) -> Outcome:
    from ..profiles import load_config, resolve
    from .notebook_file import check_language, read_notebook, require_writable
    from .run_notebook import NotebookRun, run_notebook

    spec = resolve(load_config(os.environ), {}, launch=layer, launch_source=SOURCE)
    try:
        notebook = read_notebook(path)
    except OSError as error:
        raise _unreadable(str(path), error) from None
    check_language(path, notebook, spec.profile, spec.kernel_argv)
    require_writable(output)
    request = NotebookRun(
        path,
        notebook,
        output,
        layer,
        spec,
        quiet=as_json,
        observers=launch_observers(as_json),
        **options,
    )
    return asyncio.run(run_notebook(request))


def _run_script(
    file: str, arguments: list[str], layer: dict[str, Any], *, as_json: bool, **options: Any
) -> Outcome:
    from ..profiles import load_config, resolve
    from .run_script import ScriptRun, run_script

    config = load_config(os.environ)
    spec = resolve(config, {}, launch=layer, launch_source=SOURCE)
    try:
        code = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise _unreadable(file, error) from None
    request = ScriptRun(
        file if file == "-" else str(Path(file).absolute()),
        code,
        arguments,
        spec,
        str(Path.cwd()),
        capture=as_json,
        observers=launch_observers(as_json),
        **options,
    )
    return asyncio.run(run_script(config, request))


def _unreadable(file: str, error: OSError) -> typer.BadParameter:
    return typer.BadParameter(f"{file}: {error.strerror}", param_hint="FILE")


def _report(outcome: Outcome, keep: bool, as_json: bool) -> None:
    """Print how it went, and end with its exit code."""
    if as_json:
        print_json(outcome.public())
        raise typer.Exit(outcome.exit_code)
    if outcome.output is not None and outcome.cells is not None:
        cells, path = outcome.cells, outcome.output
        if path.is_relative_to(Path.cwd()):
            path = path.relative_to(Path.cwd())
        failed = f", {len(cells.failed)} failed" if cells.failed else ""
        done = f"{cells.run} of {cells.total} cells in {outcome.duration:.1f} s{failed}"
        typer.echo(f"{path} written: {done}", err=True)
    if outcome.error is not None:
        print_error(outcome.error, as_json=False)
    if keep and outcome.runner:
        typer.echo(
            f"{outcome.runner} is left there. To delete it: gra delete {outcome.runner}", err=True
        )
    raise typer.Exit(outcome.exit_code)
