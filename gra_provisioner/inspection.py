"""What only a runner's agent can tell: its kernel's state, its clients, what it uses.

Pages ask every few seconds for all the runners that they show.  So a look is shared by those who
ask at about the same time, and the connection that it was made over is kept for the next one.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from .backends.base import Backend
from .errors import GraError, RunnerEnded, RunnerNotFound, Unreachable
from .runner import KernelState, MountState, MountStatus, Runner, RunnerStatus, Usage
from .tunnel.client import Tunnel

#: For how many seconds a look is good for others who ask.
SHARED_FOR = 1.5

# A runner on this host answers in milliseconds; one that does not is shown as it is known.
_INSPECT_WITHIN = 2.0
# A connection that was kept is either quick or lost.
_ANSWERED_WITHIN = 1.0
# Each is a connection; a server is not to be met with hundreds at once.
_AT_ONCE = 16
# For how many seconds a connection is kept for the next look, and how many are.
_KEPT_FOR = 30.0
_MOST_KEPT = 128
# Over less time than this, in seconds, a use of CPU says nothing.
_CPU_OVER = 1.0


@dataclass(frozen=True)
class _Word:
    """What came of a look: the agent's answer and its use of CPU in cores, or why there is none."""

    info: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    cpu: float | None = None
    error: GraError | None = None


class _CpuMeter:
    """CPU since this process's own last look: others who look at the runner do not disturb it."""

    def __init__(self) -> None:
        # The agent's age and the CPU seconds until then.
        self._before: tuple[float, float] | None = None
        self._cpu: float | None = None

    def read(self, age: float, usage: Mapping[str, Any]) -> float | None:
        """Cores in use; at first the agent's own word, which is since anybody's last look."""
        seconds = usage["cpu_seconds"]
        if seconds is None:
            return None
        if self._before is None:
            self._before, self._cpu = (age, seconds), usage["cpu"]
        elif age - self._before[0] >= _CPU_OVER:
            self._cpu = max(0.0, (seconds - self._before[1]) / (age - self._before[0]))
            self._before = age, seconds
        return self._cpu


class _View:
    """One runner as it was last looked at, and the connection to it."""

    def __init__(self) -> None:
        self.tunnel: Tunnel | None = None
        self.look: asyncio.Task[_Word] | None = None
        # When that ended, by the loop's clock.
        self.taken = float("-inf")
        self.meter = _CpuMeter()
        self.retirement: asyncio.TimerHandle | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a look is under way."""
        return self.look is not None and not self.look.done()

    async def disconnect(self) -> None:
        """Close the connection, if there is one."""
        tunnel, self.tunnel = self.tunnel, None
        if tunnel is not None:
            await tunnel.close()


class Inspector:
    """Looks at runners, for one :class:`~.service.RunnerService`, on its event loop."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        # By uid, those that were asked for longest ago first.
        self._views: OrderedDict[str, _View] = OrderedDict()
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._leaving: set[asyncio.Task[None]] = set()

    async def all(self, runners: Iterable[Runner], max_age: float = SHARED_FOR) -> Sequence[Runner]:
        """The runners, each as :meth:`one` has it."""
        return await asyncio.gather(*(self.one(runner, max_age) for runner in runners))

    async def one(self, runner: Runner, max_age: float = 0.0) -> Runner:
        """The runner with what only its agent knows; one that does not answer stays as it is.

        A look that is under way, or ended at most ``max_age`` seconds ago, is as good as another.
        """
        if runner.status is not RunnerStatus.RUNNING:
            kernel = KernelState.NONE
            if runner.status in (RunnerStatus.UNKNOWN, RunnerStatus.STARTING):
                kernel = KernelState.UNKNOWN
            return dataclasses.replace(runner, kernel=kernel)
        view = self._views.setdefault(runner.uid, _View())
        self._views.move_to_end(runner.uid)
        now = asyncio.get_running_loop().time()
        if view.look is None or (view.look.done() and now - view.taken > max_age):
            view.look = asyncio.create_task(self._look(runner, view), name="gra look")
        # Whoever gives up does so alone.
        word = await asyncio.shield(view.look)
        if isinstance(word.error, (RunnerEnded, RunnerNotFound)):
            return await self._ended(runner)
        return _told(runner, word)

    async def close(self) -> None:
        """Close all connections.  Whoever uses them must be done."""
        views = list(self._views.values())
        self._views.clear()
        for view in views:
            if view.retirement is not None:
                view.retirement.cancel()
        looks = [view.look for view in views if view.look is not None]
        for look in looks:
            look.cancel()
        if looks:
            await asyncio.wait(looks)
        await asyncio.gather(*(view.disconnect() for view in views), *self._leaving)

    async def _look(self, runner: Runner, view: _View) -> _Word:
        loop = asyncio.get_running_loop()
        try:
            async with self._turns:
                info = await self._ask(runner, view)
        except GraError as error:
            return _Word(error=error)
        else:
            return _Word(info, view.meter.read(info["age"], info["usage"]))
        finally:
            view.taken = loop.time()
            if view.retirement is not None:
                view.retirement.cancel()
            view.retirement = loop.call_later(_KEPT_FOR, self._retire, runner.uid)
            self._keep_few()

    async def _ask(self, runner: Runner, view: _View) -> Mapping[str, Any]:
        """The agent's answer.  Without one there is no connection afterwards."""
        if view.tunnel is not None and view.tunnel.connected:
            try:
                return await _info(view.tunnel, _ANSWERED_WITHIN)
            except GraError:
                # Another connection may do, and if not it says why.
                await view.disconnect()
        await view.disconnect()
        view.tunnel = Tunnel(partial(self._backend.dial, runner), observer=True, keep=_KEPT_FOR)
        try:
            await view.tunnel.connect(timeout=_INSPECT_WITHIN)
            return await _info(view.tunnel, _INSPECT_WITHIN)
        except BaseException:
            await view.disconnect()
            raise

    async def _ended(self, runner: Runner) -> Runner:
        """It ended between the two looks; its record says why, if it can be had."""
        try:
            found = await self._backend.get(runner.name)
        except GraError:
            found = None
        if found is None or found.uid != runner.uid:
            return dataclasses.replace(runner, status=RunnerStatus.ENDED)
        return found

    def _keep_few(self) -> None:
        for uid, view in list(self._views.items()):
            if len(self._views) <= _MOST_KEPT:
                return
            if not view.is_busy:
                self._retire(uid)

    def _retire(self, uid: str) -> None:
        """Nobody has asked for it for a while; one that is being looked at comes here again."""
        view = self._views.get(uid)
        if view is None or view.is_busy:
            return
        del self._views[uid]
        if view.retirement is not None:
            view.retirement.cancel()
        if view.tunnel is not None:
            task = asyncio.create_task(view.disconnect(), name="gra look ends")
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)


async def _info(tunnel: Tunnel, timeout: float) -> Mapping[str, Any]:
    info: Mapping[str, Any] = await tunnel.request("info", timeout=timeout)
    return info


def mount_statuses(told: object) -> tuple[MountStatus, ...]:
    """What an agent says of its mounts.  One of an earlier version says nothing."""
    if not isinstance(told, list):
        return ()
    texts = ("id", "bucket", "prefix", "path", "reason", "message", "hint")
    return tuple(
        MountStatus(
            **{name: str(status.get(name) or "") for name in texts},
            state=MountState(status["state"]),
            since=status.get("since"),
        )
        for status in told
    )


def _told(runner: Runner, word: _Word) -> Runner:
    """The runner with what its agent has said, or with why that is not known."""
    error, info = word.error, word.info
    if isinstance(error, Unreachable):
        return dataclasses.replace(runner, message=error.message, reason=error.code)
    if error is not None:
        return dataclasses.replace(
            runner, message=error.message, reason=error.code, hint=error.hint
        )
    report = info["kernel"]["last_exit"] if info["kernel"]["state"] == "dead" else None
    usage = info["usage"]
    return dataclasses.replace(
        runner,
        kernel=KernelState(info["kernel"]["state"]),
        clients=info["clients"],
        usage=Usage(word.cpu, usage["memory"], usage["memory_limit"]),
        reason=report["reason"] if report else runner.reason,
        message=report["message"] if report else runner.message,
        hint=report["hint"] if report else runner.hint,
        mounts=mount_statuses(info.get("mounts")),
    )
