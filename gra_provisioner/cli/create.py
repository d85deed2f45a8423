"""``gra create``: a runner with a kernel that stays, for whoever attaches to it."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..environment import difference
from ..progress import LaunchProgress
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
from .options import JsonOption
from .output import backend_line, launch_observers, print_json, reported_errors
from .runners import open_service
from .stopping import Stop, Stopper, handle_signals, terminated

if TYPE_CHECKING:
    from ..profiles import Config
    from ..runner import Runner, RunnerLabels, RunnerSpec
    from ..service import RunnerService


def create(
    profile: ProfileOption = None,
    image: ImageOption = None,
    cpu: CpuOption = None,
    memory: MemoryOption = None,
    gpu: GpuOption = None,
    env: EnvOption = None,
    ttl: TtlOption = None,
    label: LabelOption = None,
    with_kernel: Annotated[
        bool, typer.Option("--kernel/--no-kernel", help="Start the profile's kernel in it.")
    ] = True,
    wait: Annotated[
        bool,
        typer.Option(
            "--wait/--no-wait",
            help="Wait until it is ready. Without, it has no kernel: `gra get` tells how it goes.",
        ),
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """Start a runner that stays when this command has ended, and print its name.

    Phases are shown on stderr as they begin. Ctrl-C gives up, and leaves nothing behind. Unless
    somebody attaches to it, the runner ends by its profile's ttl.orphan.
    """
    from ..profiles import load_config

    if env and not (with_kernel and wait):
        raise typer.BadParameter("There is no kernel to get it.", param_hint="--env")
    launch = launch_layer(
        profile=profile,
        image=image,
        cpu=cpu,
        memory=memory,
        gpu=gpu,
        env=env,
        ttl=ttl,
        labels=label,
    )
    with reported_errors(as_json):
        options = _Options(launch, with_kernel and wait, wait, as_json)
        result = asyncio.run(_create(load_config(os.environ), options))
    if isinstance(result, Stop):
        raise typer.Exit(result.exit_code)
    if as_json:
        print_json(result)
        return
    typer.echo(result["name"])
    if options.with_kernel:
        typer.echo(f"Attach to its kernel: gra attach {result['name']}", err=True)


@dataclasses.dataclass(frozen=True)
class _Options:
    launch: dict[str, Any]
    with_kernel: bool
    wait: bool
    as_json: bool


async def _create(config: Config, options: _Options) -> dict[str, Any] | Stop:
    """The runner as ``--json`` prints it, or why this process was asked to end before."""
    from ..profiles import resolve
    from ..service import labels_of_this_process

    spec = resolve(config, {}, launch=options.launch, launch_source=SOURCE)
    if not options.with_kernel:
        spec = dataclasses.replace(spec, kernel_argv=())
    stopper = Stopper()
    handle_signals(
        {
            signum: partial(stopper.request, terminated(signum))
            for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        }
    )
    progress = LaunchProgress(launch_observers(options.as_json))
    async with open_service(config) as service:
        if not options.as_json:
            typer.echo(backend_line(service.backend_name, service.backend_reason), err=True)
        launching = launch(
            service, spec, labels_of_this_process(owner=service.owner), progress, options.wait
        )
        runner = await stopper.until(launching)
        if isinstance(runner, Stop):
            return runner
        return {
            **(await service.get(runner.name)).public(),
            "backend_reason": service.backend_reason,
            "phases": progress.timings(),
        }


async def launch(
    service: RunnerService,
    spec: RunnerSpec,
    labels: RunnerLabels,
    progress: LaunchProgress,
    wait: bool = True,
    folder: str | None = None,
) -> Runner:
    """Start a runner, with its kernel if the spec has one; nothing is left if that is given up.

    Without ``wait`` only until it is accepted.  ``folder`` is the directory to copy into it if the
    profile says so.  Raises :class:`~gra_provisioner.errors.GraError`.
    """
    if not wait:
        return await service.create(spec, labels, progress, wait=False)
    with progress:
        return await service.start(
            spec,
            labels,
            # What a person has set in the shell cannot be told from what the shell inherited.
            env=difference(os.environ, os.environ, spec.forward_env),
            cwd=str(Path.cwd()),
            folder=folder,
            on_phase=progress,
        )
