"""What can be done with runners, whatever the backend: for the provisioner, the CLI and the server.

A :class:`RunnerService` belongs to the event loop on which it is first used.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import secrets
import socket
from collections.abc import (
    Awaitable,
    Callable,
    Mapping,
    Sequence,
)
from functools import partial
from typing import TYPE_CHECKING, Any

from .agent.kernel import CHANNELS
from .attachment import Attachment, start_kernel
from .backends.base import (
    PhaseCallback,
    ignore_phase,
)
from .errors import GraError, RunnerEnded
from .mounting import start_mounts
from .owner import this_owner
from .runner import (
    Runner,
    RunnerLabels,
    RunnerSpec,
)
from .runner_processes import RunnerProcesses
from .s3_credentials import AccessKey, own_credentials
from .starting import not_started, until_started
from .tunnel.channels import KernelChannels
from .tunnel.client import Tunnel
from .tunnel.kernel import RemoteKernel
from .tunnel.process import RemoteProcess

if TYPE_CHECKING:
    from .workspace.courier import Courier
    from .workspace.survey import Survey
    from .workspace.sync import Returned

log = logging.getLogger("gra_provisioner")

SIGNATURE_SCHEME = "hmac-sha256"


def log_phase(phase: str, message: str) -> None:
    """The :data:`PhaseCallback` that writes to the logger ``gra_provisioner`` at INFO."""
    log.info("%s", message)


def labels_of_this_process(
    kernel_id: str | None = None,
    kernel_name: str | None = None,
    notebook: str | None = None,
    *,
    owner: str | None = None,
) -> RunnerLabels:
    """Labels with this host as the client's; without an ``owner`` it is this process's user."""
    owner = owner or this_owner(os.environ)
    return RunnerLabels(owner, kernel_id, kernel_name, notebook, socket.gethostname())


class RunnerService(RunnerProcesses):
    """Creates, finds, connects to and ends runners."""

    async def create(
        self,
        spec: RunnerSpec,
        labels: RunnerLabels,
        on_phase: PhaseCallback = log_phase,
        *,
        wait: bool = True,
    ) -> Runner:
        """Start a runner with nothing but its agent in it.

        Without ``wait`` only until the backend has accepted it: :meth:`get` tells how its start
        goes on.  Raises :class:`~.errors.LaunchError` or :class:`~.errors.BackendError`.
        """
        return await self._backend.create(spec, labels, on_phase, wait=wait)

    async def delete(self, name: str | Runner, grace: float = 5.0, *, wait: bool = True) -> None:
        """End a runner and remove what it left.

        By name, the runner must exist (:class:`~.errors.RunnerNotFound`); given a
        :class:`Runner`, it may be gone, and another one under its name is not touched.  Without
        ``wait`` a pod may go on for the grace, in seconds, after the call.  Nothing is copied back:
        :meth:`end` does that.
        """
        runner = await self._backend.get(name) if isinstance(name, str) else name
        await self._backend.delete(runner, grace=grace, wait=wait)
        if self._courier is not None:
            await self._courier.forget(runner.uid)

    async def end(
        self, name: str | Runner, grace: float = 5.0, *, wait: bool = True
    ) -> Returned | None:
        """As :meth:`delete`, once what was changed in it is back where it was copied from.

        Returns what came back; None where nothing was copied into it by this user on this machine.
        Raises :class:`~.errors.ResultsNotFetched` where that failed: the runner is not deleted.
        """
        runner = await self._backend.get(name) if isinstance(name, str) else name
        returned = None if self._courier is None else await self._courier.fetch(runner)
        await self.delete(runner, grace, wait=wait)
        return returned

    async def survey(self, spec: RunnerSpec, folder: str | None) -> Survey | None:
        """What is to be copied into a runner that is to be started; None if that is nothing.

        ``folder`` is the directory in which the client is, or the notebook.  Of a runner on this
        machine it is the same there.  Raises :class:`~.errors.FolderNotCopied`.
        """
        return None if self._courier is None else await self._courier.survey(spec, folder)

    async def bring(
        self, runner: Runner, spec: RunnerSpec, surveyed: Survey | None, on_phase: PhaseCallback
    ) -> None:
        """Copy what was surveyed into a runner that has just started.

        Raises :class:`~.errors.FolderNotCopied`, or what the tunnel does.
        """
        if self._courier is not None and surveyed is not None:
            await self._courier.bring(runner, spec, surveyed, on_phase)

    async def connect(
        self, runner: Runner, kernel: RemoteKernel, *, starting: bool = False
    ) -> None:
        """Join ``kernel``'s channels with a runner's agent.  Raises what the tunnel does.

        The end of a runner that is ``starting`` is a :class:`~.errors.RunnerStartError`.
        """
        try:
            await kernel.connect(partial(self._backend.dial, runner))
        except RunnerEnded as error:
            raise (not_started(error) if starting else error) from None

    def keys(self, spec: RunnerSpec) -> Mapping[int, AccessKey]:
        """The user's own credentials for the buckets of a spec, as they are now.

        Raises :class:`~.errors.MountError` naming what is missing.
        """
        return own_credentials(spec.s3, self._environ)

    async def answered(
        self,
        runner: Runner,
        spec: RunnerSpec,
        keys: Mapping[int, AccessKey],
        on_phase: PhaseCallback = ignore_phase,
    ) -> None:
        """Wait until the agent of a runner that is starting answers, and its buckets are there.

        ``keys`` are those of :meth:`keys`.  Raises :class:`~.errors.RunnerStartError` with what
        ended it before, :class:`~.errors.MountError`, or what the tunnel does.
        """
        tunnel = Tunnel(partial(self._backend.dial, runner))
        try:
            await tunnel.connect()
            await start_mounts(tunnel, runner, spec, keys, on_phase)
        except RunnerEnded as error:
            raise not_started(error) from None
        finally:
            await tunnel.close()

    async def attach(
        self, name: str, ip: str = "127.0.0.1", on_phase: PhaseCallback = ignore_phase
    ) -> Attachment:
        """Serve the channels of the kernel that runs in a runner, on free local ports.

        Raises :class:`~.errors.RunnerNotFound`, :class:`~.errors.RequestError` where it has no
        kernel, or what ended it.
        """
        runner = await until_started(self._backend, name, on_phase)
        on_phase("connecting", f"{runner.name}: connecting")
        tunnel = Tunnel(partial(self._backend.dial, runner))
        try:
            await tunnel.connect()
            connection = await tunnel.request("kernel.connection")
        finally:
            await tunnel.close()
        channels = KernelChannels(connection["key"], connection["signature_scheme"], ip)
        attachment = Attachment(runner, RemoteKernel(channels), partial(self._end_attached, runner))
        try:
            await channels.listen()
            await self.connect(runner, attachment.kernel)
            await attachment.kernel.adopt()
        except BaseException:
            await attachment.close()
            raise
        attachment.kernel_name = connection.get("kernel_name", "")
        return attachment

    async def launch(
        self,
        spec: RunnerSpec,
        labels: RunnerLabels,
        *,
        connection_info: Mapping[str, Any] | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        folder: str | None = None,
        on_phase: PhaseCallback = log_phase,
        timeout: float = 60.0,
    ) -> Attachment:
        """Start a runner and a kernel in it, and serve its channels.

        With ``connection_info`` (a Jupyter connection file's content) on exactly those ports and
        with that key.  ``env`` is added to the profile's.  ``folder`` is the directory to copy into
        the runner if the profile says so.  Nothing is left behind if it fails or is cancelled.
        """
        surveyed = await self.survey(spec, folder)
        info = dict(connection_info or {})
        channels = KernelChannels(
            str(info.get("key") or secrets.token_hex(32)),
            str(info.get("signature_scheme") or SIGNATURE_SCHEME),
            str(info.get("ip") or "127.0.0.1"),
        )
        keys = self.keys(spec)
        await channels.listen({name: int(info.get(f"{name}_port", 0)) for name in CHANNELS})
        kernel = RemoteKernel(channels)
        runner: Runner | None = None
        try:
            runner = await self.create(spec, labels, on_phase)
            await self.connect(runner, kernel, starting=True)
            await start_kernel(
                *(kernel, runner, spec, labels, env or {}, cwd, on_phase, timeout, keys),
                prepare=partial(self.bring, runner, spec, surveyed, on_phase),
            )
        except BaseException:
            await kernel.close()
            if runner is not None:
                await self._withdraw(runner)
            raise
        attachment = Attachment(runner, kernel, partial(self._end_attached, runner))
        attachment.kernel_name = labels.kernel_name or ""
        return attachment

    async def start(
        self,
        spec: RunnerSpec,
        labels: RunnerLabels,
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        folder: str | None = None,
        on_phase: PhaseCallback = log_phase,
    ) -> Runner:
        """Start a runner that goes on without a client: with its kernel, if it is to have one.

        Returns when that, or else the agent, has answered.  ``env`` is added to the profile's,
        ``cwd`` is where the kernel of a local runner works, ``folder`` the directory to copy into
        the runner if the profile says so.  Nothing is left behind if it fails or is cancelled.
        """
        surveyed: Survey | None = None
        if spec.kernel_argv:
            attachment = await self.launch(
                spec, labels, env=env, cwd=cwd, folder=folder, on_phase=on_phase
            )
            runner = attachment.runner
            done: Callable[[], Awaitable[None]] = attachment.close
        else:
            keys = self.keys(spec)
            surveyed = await self.survey(spec, folder)
            runner = await self.create(spec, labels, on_phase)
            done = partial(self.answered, runner, spec, keys, on_phase)
        try:
            await done()
            await self.bring(runner, spec, surveyed, on_phase)
        except BaseException:
            await self._withdraw(runner)
            raise
        return runner

    @functools.cached_property
    def _courier(self) -> Courier | None:
        # Most commands need none of it.
        from .workspace.courier import Courier
        from .workspace.records import Records

        if self._records is None:
            return None
        return Courier(Records(self._records), self._start_in, self._environ)

    def _start_in(
        self, runner: Runner, argv: Sequence[str], cwd: str | None
    ) -> contextlib.AbstractAsyncContextManager[RemoteProcess]:
        return self.process(runner, argv, cwd=cwd)

    async def _end_attached(self, runner: Runner) -> None:
        returned = await self.end(runner)
        for notice in returned.notices if returned is not None else ():
            log.warning("%s", notice)

    async def _withdraw(self, runner: Runner) -> None:
        """End the runner of a launch that failed, whose own error is what matters."""
        try:
            await asyncio.shield(self.delete(runner, grace=1.0))
        except GraError as error:
            log.warning(
                "%s was not deleted, it ends by itself when nobody has been connected to it for "
                "its time to live: %s",
                runner.name,
                error.message,
            )
