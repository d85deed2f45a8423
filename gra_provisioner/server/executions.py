"""Commands in a runner: run to their end, or with their output as it comes."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from ..documents.requests import Exec, ExecOnce, ExecStream
from ..errors import GraError
from ..execution import Ended, PieceEncoder
from ..runner import Runner, RunnerStatus
from ..tunnel.process import RUNNERS_PYTHON, STDERR, STDOUT, stream_to_end
from . import sse
from .calls import Call, Reply, Setting, encoded
from .runners import find


async def usable(setting: Setting, call: Call) -> Runner:
    """The runner that a path names, if commands may be run in it and it has started.

    Raises :class:`GraError`: ``RunnerStarting`` is not waited for, because that may take minutes.
    """
    runner = await find(setting, call.names["name"])
    setting.access.check_used(runner)
    if runner.status is RunnerStatus.STARTING:
        raise GraError(
            f"{runner.name} is starting: {runner.message or 'its agent has not answered yet'}",
            hint="Ask again when its status is running.",
            reason="RunnerStarting",
            details={"phase": runner.phase},
        )
    return runner


async def execute(setting: Setting, call: Call) -> Reply:
    """``POST runners/{name}/exec``."""
    body: ExecOnce = call.body
    runner = await usable(setting, call)
    argv, stdin = _command(body)
    done = await setting.service.execute(
        runner,
        argv,
        env=body.env,
        cwd=body.cwd,
        stdin=stdin,
        timeout=body.timeout,
        limit=body.limit,
    )
    return Reply(200, encoded(done.public()))


async def stream_execution(setting: Setting, call: Call) -> AsyncGenerator[bytes, None]:
    """``POST runners/{name}/exec/stream``."""
    body: ExecStream = call.body
    runner = await usable(setting, call)
    argv, stdin = _command(body)
    keep = body.on_disconnect == "keep"
    encoders = {source: PieceEncoder(source) for source in (STDOUT, STDERR)}
    async with setting.service.process(
        runner, argv, env=body.env, cwd=body.cwd, keep_running=keep
    ) as process:
        yield sse.comment("started")
        async with aclosing(
            stream_to_end(process, runner.name, stdin=stdin, timeout=body.timeout)
        ) as pieces:
            async for piece in pieces:
                if isinstance(piece, Ended):
                    for encoder in encoders.values():
                        yield _outputs(encoder.finish())
                    yield sse.event("exit", piece.public())
                else:
                    yield _outputs(encoders[piece.source].encode(piece.data))


def _outputs(objects: list[dict[str, Any]]) -> bytes:
    return b"".join(sse.event("output", each) for each in objects)


def _command(body: Exec) -> tuple[list[str], bytes]:
    if "code" in body.model_fields_set:
        return [RUNNERS_PYTHON, "-"], body.code.encode()
    return body.argv, body.stdin
