"""What gra offers to AI tools: functions with a description and a schema, and what they do.

Descriptions are written for a model that sees nothing else.  Outputs are bounded, because all of
them end up in its context.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from ..documents.requests import Request
from ..documents.schemas import properties
from ..environment import difference
from ..errors import GraError
from ..fields import Text
from ..logs import LogQuery
from ..profiles import Config, resolve
from ..runner import Runner
from ..selection import Selection
from ..service import RunnerService, labels_of_this_process
from ..tunnel.process import RUNNERS_PYTHON

# Of each output, in bytes: some thousand tokens.
_LIMIT = 16_384
_TIMEOUT = 300.0

_RunnerField = Annotated[Text, Field(description="The runner's name, for example runner-1.")]
_TimeoutField = Annotated[
    float,
    Field(
        gt=0,
        le=86_400,
        allow_inf_nan=False,
        description="Seconds after which it is ended, and timed_out is true.",
    ),
]


class CreateRunner(Request):
    """A runner to make."""

    profile: Text | None = Field(
        None, description="A profile's name: how large it is. Without it the default one."
    )
    kernel: bool = Field(
        False, description="Whether a Jupyter kernel is started in it. Commands need none."
    )
    lifetime: Text = Field(
        "8h", description='When it ends by itself, for example "30m", "8h", "never".'
    )
    labels: dict[Text, Text] = Field(default_factory=dict, description="To find it by.")


class ListRunners(Request):
    """Which runners are meant."""

    everybody: bool = Field(False, description="Other users' runners, too.")


class Diagnose(Request):
    """What is looked at."""

    profile: Text | None = Field(
        None, description="The profile of the runners. Without it the default one."
    )


class OneRunner(Request):
    """Which runner is meant."""

    runner: _RunnerField


class RunCommand(OneRunner):
    """A command to run."""

    command: Text = Field(description="A command line for sh, for example: ls -l /workspace | head")
    timeout: _TimeoutField = _TIMEOUT


class RunPython(OneRunner):
    """Code to run."""

    code: Text = Field(description="Python source. Only what it prints is seen.")
    timeout: _TimeoutField = _TIMEOUT


class ReadLogs(OneRunner):
    """Which lines are meant."""

    tail: int = Field(100, ge=1, le=1000, description="The last so many lines.")


@dataclass(frozen=True)
class Tool:
    """A function: ``run`` is given a checked request and answers with JSON types."""

    name: str
    description: str
    takes: type[Request]
    run: Callable[[RunnerService, Config, Any], Coroutine[Any, Any, Any]]


async def _create(service: RunnerService, config: Config, request: CreateRunner) -> Any:
    launch: dict[str, Any] = {"ttl": {"lifetime": request.lifetime}}
    if request.profile is not None:
        launch["profile"] = request.profile
    if request.labels:
        launch["pod"] = {"labels": request.labels}
    spec = resolve(config, {}, launch=launch, launch_source="arguments")
    if not request.kernel:
        spec = dataclasses.replace(spec, kernel_argv=())
    labels = labels_of_this_process(owner=service.owner)
    env = difference(os.environ, os.environ, spec.forward_env)
    runner = await service.start(spec, labels, env=env, cwd=str(Path.cwd()))
    return (await service.get(runner.name)).public()


async def _list(service: RunnerService, config: Config, request: ListRunners) -> Any:
    owner = None if request.everybody else service.owner
    return [runner.public() for runner in await service.list(Selection(owner=owner))]


async def _get(service: RunnerService, config: Config, request: OneRunner) -> Any:
    return (await service.get(request.runner)).public()


async def _diagnose(service: RunnerService, config: Config, request: Diagnose) -> Any:
    launch = {} if request.profile is None else {"profile": request.profile}
    spec = resolve(config, {}, launch=launch, launch_source="arguments")
    return [finding.public() for finding in await service.diagnose(spec, config.environ)]


async def _own(service: RunnerService, name: str) -> Runner:
    """A runner of this user's; a tool is to have no hand in others' work."""
    runner = await service.get(name, inspect=False)
    if runner.labels.owner != service.owner:
        raise GraError(
            f"{name} is {runner.labels.owner}'s, not {service.owner}'s.",
            hint="list_runners shows the user's runners.",
            reason="NotYourRunner",
        )
    return runner


async def _command(service: RunnerService, config: Config, request: RunCommand) -> Any:
    argv = ["sh", "-c", request.command]
    done = await service.execute(
        await _own(service, request.runner), argv, timeout=request.timeout, limit=_LIMIT
    )
    return done.public()


async def _python(service: RunnerService, config: Config, request: RunPython) -> Any:
    done = await service.execute(
        await _own(service, request.runner),
        [RUNNERS_PYTHON, "-"],
        stdin=request.code.encode(),
        timeout=request.timeout,
        limit=_LIMIT,
    )
    return done.public()


async def _logs(service: RunnerService, config: Config, request: ReadLogs) -> Any:
    await _own(service, request.runner)
    async with contextlib.aclosing(
        service.logs([request.runner], LogQuery(tail=request.tail))
    ) as lines:
        return [line.public() async for line in lines]


async def _delete(service: RunnerService, config: Config, request: OneRunner) -> Any:
    await service.end(await _own(service, request.runner))
    return {"deleted": [request.runner]}


_ANSWER = (
    "Answers with exit_code (124: ended for its time), stdout and stderr; text is the output, "
    "dropped says how many bytes were left out of its middle."
)

TOOLS = {
    tool.name: tool
    for tool in (
        Tool(
            "create_runner",
            "Make a runner: a computer of its own for commands and code, a Kubernetes pod or, "
            "where no cluster is configured, a process on this machine (the answer's backend "
            "says which). Takes seconds to minutes. Delete it when you are done.",
            CreateRunner,
            _create,
        ),
        Tool(
            "list_runners",
            "List the user's runners: name, status, profile, what their kernels do. Do not delete "
            "runners that you have not made: they may hold a user's work.",
            ListRunners,
            _list,
        ),
        Tool(
            "get_runner",
            "Everything that is known of one runner: its status, why it does not start or why it "
            "ended (reason, message, hint), CPU and memory in use.",
            OneRunner,
            _get,
        ),
        Tool(
            "run_command",
            f"Run a shell command in a runner, not on this machine. {_ANSWER}",
            RunCommand,
            _command,
        ),
        Tool(
            "run_python",
            "Run Python code in a new process in a runner, with the runner's packages. Variables "
            f"do not last from one call to the next; files do. {_ANSWER}",
            RunPython,
            _python,
        ),
        Tool(
            "read_logs",
            "The last lines that a runner's agent and kernel wrote: why a kernel died, for "
            "example.",
            ReadLogs,
            _logs,
        ),
        Tool(
            "diagnose",
            "Why runners cannot be made, or S3 cannot be mounted in them: what works here, with "
            "a hint for what does not. Makes nothing.",
            Diagnose,
            _diagnose,
        ),
        Tool(
            "delete_runner",
            "End a runner that you have made, with everything that runs and is stored in it.",
            OneRunner,
            _delete,
        ),
    )
}


def parameters(tool: Tool) -> dict[str, Any]:
    """The JSON Schema (2020-12) of what a tool takes."""
    required = [name for name, field in tool.takes.model_fields.items() if field.is_required()]
    return {
        "type": "object",
        "properties": properties(tool.takes),
        "required": required,
        "additionalProperties": False,
    }
