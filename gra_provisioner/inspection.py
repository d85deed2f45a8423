"""What only a runner's agent can tell: its kernel's state, its clients, what it uses."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Iterable, Sequence
from functools import partial

from .backends.base import Backend
from .errors import GraError, RunnerEnded, RunnerNotFound, Unreachable
from .runner import KernelState, Runner, RunnerStatus, Usage
from .tunnel.client import Tunnel

# A runner on this host answers in milliseconds; one that does not is shown as it is known.
_INSPECT_WITHIN = 2.0
# Each is a connection; a server is not to be met with hundreds at once.
_AT_ONCE = 16


async def inspect_all(backend: Backend, runners: Iterable[Runner]) -> Sequence[Runner]:
    """The runners, each as :func:`inspect_one` has it."""
    turns = asyncio.Semaphore(_AT_ONCE)

    async def inspected(runner: Runner) -> Runner:
        async with turns:
            return await inspect_one(backend, runner)

    return await asyncio.gather(*map(inspected, runners))


async def inspect_one(backend: Backend, runner: Runner) -> Runner:
    """The runner with what only its agent knows; one that does not answer stays as it is."""
    if runner.status is not RunnerStatus.RUNNING:
        kernel = KernelState.NONE
        if runner.status in (RunnerStatus.UNKNOWN, RunnerStatus.STARTING):
            kernel = KernelState.UNKNOWN
        return dataclasses.replace(runner, kernel=kernel)
    tunnel = Tunnel(partial(backend.dial, runner), observer=True)
    try:
        await tunnel.connect(timeout=_INSPECT_WITHIN)
        info = await tunnel.request("info", timeout=_INSPECT_WITHIN)
    except (RunnerEnded, RunnerNotFound):
        # It ended between the two looks; its record says why, if it can be had.
        with contextlib.suppress(GraError):
            return await backend.get(runner.name)
        return dataclasses.replace(runner, status=RunnerStatus.ENDED)
    except Unreachable as error:
        return dataclasses.replace(runner, message=error.message, reason=error.code)
    except GraError as error:
        return dataclasses.replace(
            runner, message=error.message, reason=error.code, hint=error.hint
        )
    finally:
        await tunnel.close()
    report = info["kernel"]["last_exit"] if info["kernel"]["state"] == "dead" else None
    usage = info["usage"]
    return dataclasses.replace(
        runner,
        kernel=KernelState(info["kernel"]["state"]),
        clients=info["clients"],
        usage=Usage(usage["cpu"], usage["memory"], usage["memory_limit"]),
        reason=report["reason"] if report else runner.reason,
        message=report["message"] if report else runner.message,
        hint=report["hint"] if report else runner.hint,
    )
