"""Waiting for a runner that somebody has started, here or elsewhere."""

from __future__ import annotations

import asyncio

from .backends.base import Backend, PhaseCallback
from .errors import RunnerEnded, RunnerNotFound, RunnerStartError, Unreachable
from .runner import Runner, RunnerStatus

# How long it is waited for, and how often it is looked at: what stands in the way of a pod is told
# by events, which are asked for.
_STARTED_WITHIN = 600.0
_LOOK_EVERY = 0.5


async def until_started(backend: Backend, name: str, on_phase: PhaseCallback) -> Runner:
    """The runner once it has started, or at once if it has.

    Raises :class:`RunnerStartError` with why it will not, :class:`Unreachable` where it takes
    too long, or :class:`RunnerNotFound`.
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + _STARTED_WITHIN
    runner = await backend.get(name)
    uid = runner.uid
    while runner.status is RunnerStatus.STARTING:
        if runner.reason:
            raise RunnerStartError(runner.message, hint=runner.hint, reason=runner.reason)
        if clock() >= deadline:
            raise Unreachable(
                f"{name} has not started within {_STARTED_WITHIN:g} s: {runner.message}.",
                hint=f"`gra get {name}` shows how its start goes on.",
            )
        on_phase(runner.phase or "starting", runner.message or f"{name}: starting")
        await asyncio.sleep(_LOOK_EVERY)
        runner = await backend.get(name)
        if runner.uid != uid:
            raise RunnerNotFound(
                f"{name} was deleted, and another one has its name.",
                hint="`gra list` shows the runners there are.",
            )
    return runner


def not_started(error: RunnerEnded) -> RunnerStartError:
    """The end of a runner, as the reason why its start has failed."""
    reason = str(error.details.get("reason") or error.code)
    return RunnerStartError(error.message, hint=error.hint, reason=reason, details=error.details)
