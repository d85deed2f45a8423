"""A runner's kernel as one client process sees it: start, signals, channels, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..errors import GraError, KernelDied, KernelStartError, RunnerEnded, Unreachable
from .channels import KernelChannels
from .client import Tunnel
from .links import Dial
from .mounts import MountLog
from .obituary import Obituary

log = logging.getLogger(__name__)

# After a kernel's end: how long its last output may take to come through the tunnel, how long
# the reason may take to leave this process, and how long clients have to read it before they are
# told that the kernel is dead.  nbclient looks every second, the restarter every three.
_DRAIN_WITHIN = 30.0
_DRAIN_REQUESTED_WITHIN = 1.0
_FLUSH_WITHIN = 30.0
_READ_WITHIN = 2.0
# The word of an agent that got a signal to end, and does not know whose.
_TERMINATED = "Terminated"
_DELETED = "Deleted"
# Why a runner ended that was deleted by gra.
_DELETED = "Deleted"


@dataclasses.dataclass(frozen=True)
class KernelExit:
    """How a kernel ended.

    ``code`` follows :attr:`subprocess.Popen.returncode`: negative for a signal.  ``runner_gone``
    tells whether the runner ended along with it.  ``reason`` is the stable name of what happened.
    ``memory``: where that ran out, how much was ``used`` and is the ``limit``, in bytes, as far as
    is known.
    """

    code: int
    obituary: Obituary
    requested: bool
    runner_gone: bool = False
    reason: str = ""
    memory: Mapping[str, int] | None = None

    @property
    def by_deletion(self) -> bool:
        """Whether somebody has deleted the runner by means of gra, so that it was meant to end."""
        return self.runner_gone and self.reason == _DELETED


class RemoteKernel:
    """The kernel of one runner and the ports by which this process's clients reach it.

    All methods run on one event loop.  ``on_exit`` is called once for each kernel that ended,
    after its clients have been told why.
    """

    def __init__(
        self,
        channels: KernelChannels,
        on_exit: Callable[[KernelExit], None] = lambda end: None,
        read_within: float = _READ_WITHIN,
    ) -> None:
        self.channels = channels
        # The last kernel's end, once clients know; None while one runs.
        self.exit: KernelExit | None = None
        self.state = "unknown"
        self._tunnel: Tunnel | None = None
        self._on_exit = on_exit
        self._read_within = read_within
        self._expected = False
        # Why the runner is about to end, once it has said so.
        self._ending = ""
        self._ended = asyncio.Event()
        self._catch_up_task: asyncio.Task[None] | None = None
        self._end_task: asyncio.Task[None] | None = None
        self._restart_task: asyncio.Task[None] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._mounts = MountLog()

    @property
    def tunnel(self) -> Tunnel:
        """The tunnel to the runner.  Raises :class:`Unreachable` before :meth:`connect`."""
        if self._tunnel is None:
            raise Unreachable("There is no connection to a runner.")
        return self._tunnel

    async def connect(self, dial: Dial) -> None:
        """Connect to a runner's agent; the channels carry to this runner from now on.

        Raises what :meth:`Tunnel.connect` raises.
        """
        await self.release()
        tunnel = Tunnel(dial, self._on_event)
        await tunnel.connect()
        self._tunnel = self.channels.tunnel = tunnel
        self.exit = None
        self._ending = ""
        self._ended.clear()
        self._watch = asyncio.create_task(self._watch_tunnel(tunnel), name="gra watch tunnel")

    @property
    def runner_gone(self) -> bool:
        """Whether the runner has ended, so that a kernel needs a new one."""
        return self._tunnel is not None and self._tunnel.ended.done()

    async def start(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        cwd: str | None,
        names: Mapping[str, str],
        timeout: float,
    ) -> None:
        """Start a kernel in the runner and wait until it listens.

        Connections to an earlier one are closed, so that the clients' sockets greet the new one.
        Raises :class:`~..errors.LaunchError` (``timeout`` seconds bound the start).
        """
        if self._end_task is not None:
            await self._end_task
            self._end_task = None
        self.channels.disconnect()
        self.exit = None
        self._expected = False
        self._ended.clear()
        signer = self.channels.signer
        args = {
            "argv": list(argv),
            "env": dict(env),
            "cwd": cwd,
            "key": signer.key.decode(),
            "signature_scheme": signer.signature_scheme,
            "names": dict(names),
            "timeout": timeout,
        }
        try:
            await self.tunnel.request("kernel.start", args, timeout=timeout + 10.0)
            self.channels.alive = True
        except Unreachable as error:
            raise KernelStartError(
                f"The runner did not say within {timeout + 10:g} s whether the kernel started. "
                f"{error.message}",
                hint=error.hint,
            ) from error

    async def adopt(self) -> None:
        """Take note of the kernel that runs already (after :meth:`connect`)."""
        info = await self.tunnel.request("info")
        self.state = info["kernel"]["state"]
        self.channels.alive = True
        report = info["kernel"]["last_exit"]
        if self.state == "dead" and report is not None:
            self._finish(_exit_from_report(report, True))

    async def signal(self, signum: int, requested: str = "") -> bool:
        """Signal the kernel's process group.  False if there is no kernel any more."""
        if requested:
            self._expected = True
        # Clients are still being told of an end with the runner.
        if self.exit is not None or self.runner_gone:
            return False
        args = {"signum": signum, "requested": requested}
        answer = await self.tunnel.request("kernel.signal", args)
        return bool(answer["delivered"])

    async def expect_exit(self) -> None:
        """A client has asked the kernel to end, so its end is no accident."""
        self._expected = True
        if self.exit is None and not self.runner_gone:
            await self.tunnel.request("kernel.expect_exit")

    async def wait(self) -> KernelExit:
        """Wait until the kernel has ended and its clients know."""
        await self._ended.wait()
        if self.exit is None:
            raise Unreachable("The kernel was started again.")
        return self.exit

    async def release(self) -> None:
        """Let go of the runner, which goes on.  The ports stay open."""
        for task in (self._watch, self._end_task, self._catch_up_task, self._restart_task):
            if task is not None:
                task.cancel()
        self._watch = self._end_task = self._catch_up_task = self._restart_task = None
        if self._tunnel is not None:
            await self._tunnel.close()
            self._tunnel = None

    async def close(self) -> None:
        """Let go of the runner and close the ports."""
        await self.channels.close()
        await self.release()

    # -- events -----------------------------------------------------------------------------

    def _on_event(self, name: str, data: dict[str, Any]) -> None:
        if name == "kernel.state":
            self.state = str(data["state"])
        elif name == "kernel.exited":
            if self._ending:
                # The runner ends and takes its kernel along; the end of the tunnel says why.
                return
            self._begin_end(_exit_from_report(data, self._expected))
        elif name == "kernel.started":
            self._restart_task = asyncio.create_task(self._begin_again(), name="gra kernel again")
        elif name == "mounts":
            self._mounts.told(data.get("mounts"))
        elif name == "runner.ending":
            self._ending = str(data.get("reason"))
        elif name == "tunnel.session_lost":
            self._catch_up_task = asyncio.create_task(self._catch_up(), name="gra catch up")

    async def _begin_again(self) -> None:
        """A kernel has started: this process's own, or another client has restarted it."""
        if self._end_task is not None:
            # Clients here are still being told of the one before.
            await self._end_task
            self._end_task = None
        self.exit = None
        self._ended.clear()
        self.channels.alive = True
        self.channels.disconnect_finished()

    def _begin_end(self, end: KernelExit) -> None:
        if self._end_task is None or self._end_task.done():
            self._end_task = asyncio.create_task(self._announce(end), name="gra kernel end")

    async def _announce(self, end: KernelExit) -> None:
        expected = end.requested or self._expected or self.channels.shutdown_requested
        # A client that shuts its kernel down no longer waits for output.
        within = _DRAIN_REQUESTED_WITHIN if expected else _DRAIN_WITHIN
        if not await self.channels.drain(within) and not expected:
            log.warning("the kernel's last output did not arrive within %g s", within)
        if not expected:
            self.channels.announce(end.obituary)
            await self.channels.flushed(_FLUSH_WITHIN)
            await asyncio.sleep(self._read_within)
            self.channels.telling = False
        self._finish(dataclasses.replace(end, requested=expected))

    async def _watch_tunnel(self, tunnel: Tunnel) -> None:
        error = await asyncio.shield(tunnel.ended)
        if tunnel is self._tunnel and self.exit is None:
            obituary, reason = _why_runner_ended(error, self._ending)
            memory = error.details.get("memory")
            self._begin_end(KernelExit(-9, obituary, self._expected, True, reason, memory))

    async def _catch_up(self) -> None:
        """The session is a new one: what happened in between is not known, so ask."""
        text = "Output was lost: the connection to the runner was down for too long."
        pending = self.channels.pending
        self.channels.tell(text, pending[0] if pending else None)
        try:
            info = await _info(self.tunnel)
        except GraError as error:
            # The tunnel has ended, or the session is lost once more: both are seen to.
            log.debug("what became of the kernel is not told: %s", error.message)
            return
        report = info["kernel"]["last_exit"]
        if info["kernel"]["state"] == "dead" and report is not None:
            self._begin_end(_exit_from_report(report, self._expected))
        else:
            self.channels.tell(text, info["kernel"]["running"])

    def _finish(self, end: KernelExit) -> None:
        self.exit = end
        self.channels.alive = False
        self.state = "dead"
        self._ended.set()
        self._on_exit(end)


async def _info(tunnel: Tunnel) -> Any:
    """The agent's own account, however long it is out of reach."""
    while True:
        with contextlib.suppress(Unreachable):
            return await tunnel.request("info", timeout=60.0)


def _exit_from_report(report: Mapping[str, Any], requested: bool) -> KernelExit:
    signum, code = report.get("signal"), report.get("code")
    number = -int(signum) if signum is not None else int(code or 0)
    asked = requested or bool(report.get("requested"))
    reason = str(report.get("reason") or "")
    obituary, memory = Obituary.from_report(report), report.get("memory")
    return KernelExit(number, obituary, asked, reason=reason, memory=memory)


def _why_runner_ended(error: GraError, word: str) -> tuple[Obituary, str]:
    """What a runner's end is put down to, and its reason's name, as `gra get` has it.

    ``error`` ended the tunnel; ``word`` is what the agent last said (``Idle: …``), or empty.  The
    agent knows best, but for one thing: who had it terminated.  The backend may.
    """
    reason = word.partition(":")[0]
    known = str(error.details.get("reason") or "")
    if not word or (reason == _TERMINATED and known):
        return Obituary(error.message, error.hint), known or error.code
    # Who deleted it is all there is to say.
    said = word.partition(": ")[2] if reason == _DELETED else ""
    return Obituary(f"{said or f'The runner has ended. {word}'}.", error.hint), reason


def describe(end: KernelExit) -> GraError:
    """The end as an error for whoever waits for the kernel."""
    kind = RunnerEnded if end.runner_gone else KernelDied
    details = {"code": end.code, "reason": end.reason}
    return kind(end.obituary.message, hint=end.obituary.hint, details=details)
