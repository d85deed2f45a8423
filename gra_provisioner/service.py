"""What can be done with runners, whatever the backend: for the provisioner, the CLI and the server.

A :class:`RunnerService` belongs to the event loop on which it is first used.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import getpass
import logging
import os
import secrets
import signal
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from .agent.kernel import CHANNELS
from .backends.base import Backend, PhaseCallback, ignore_phase
from .backends.choice import choose
from .backends.kubernetes.containers import kernel_hint
from .backends.local import LocalBackend
from .backends.service_account import in_cluster
from .errors import (
    GraError,
    LaunchError,
    RunnerEnded,
    RunnerNotFound,
    RunnerStartError,
    Unreachable,
)
from .execution import KILLED_AFTER, LIMIT, Bounded, Execution
from .profiles import Config
from .runner import KernelState, Runner, RunnerLabels, RunnerSpec, RunnerStatus, Secret, Usage
from .tunnel.channels import KernelChannels
from .tunnel.client import Tunnel
from .tunnel.forward import PortForward
from .tunnel.kernel import KernelExit, RemoteKernel, describe
from .tunnel.process import STDERR, STDOUT, RemoteProcess

if TYPE_CHECKING:
    from typing_extensions import Self

log = logging.getLogger("gra_provisioner")

# A runner on this host answers in milliseconds; one that does not is shown as it is known.
_INSPECT_WITHIN = 2.0
_INSPECTED_AT_ONCE = 16

SIGNATURE_SCHEME = "hmac-sha256"


def log_phase(phase: str, message: str) -> None:
    """The :data:`PhaseCallback` that writes to the logger ``gra_provisioner`` at INFO."""
    log.info("%s", message)


def labels_of_this_process(
    kernel_id: str | None = None, kernel_name: str | None = None, notebook: str | None = None
) -> RunnerLabels:
    """Labels with this user as the owner and this host as the client's."""
    try:
        owner = getpass.getuser()
    except (KeyError, OSError):
        # A uid without a name, as containers have.
        owner = str(os.getuid())
    return RunnerLabels(owner, kernel_id, kernel_name, notebook, socket.gethostname())


class RunnerService:
    """Creates, finds, connects to and ends runners.

    ``backend_reason`` is a sentence that says why this backend was chosen.
    """

    def __init__(self, backend: Backend, reason: str) -> None:
        self.backend_reason = reason
        self._backend = backend

    @classmethod
    def from_config(cls, config: Config) -> Self:
        """The service that the configuration asks for.  Opens no connection."""
        choice = choose(config, config.environ, in_cluster(config.environ))
        if choice.backend == "local":
            return cls(LocalBackend(config.state_dir), choice.reason)
        # Its libraries take longer to import than a local kernel's agent to start.
        from .backends.kubernetes.backend import KubernetesBackend
        from .backends.kubernetes.kubeconfig import Target

        named = config.kubernetes
        target = Target(named.context or "", named.namespace or "", named.kubeconfig or "")
        return cls(KubernetesBackend(target, config.environ), choice.reason)

    @property
    def backend_name(self) -> str:
        """``local`` or ``kubernetes``."""
        return self._backend.name

    async def __aenter__(self) -> Self:
        """Usable at once; :meth:`close` at the end."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Release what is held in this process.  Runners go on."""
        await self._backend.close()

    # -- the methods ------------------------------------------------------------------------

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

    async def list(self) -> list[Runner]:
        """All runners, each with its kernel's state and its use of CPU and memory."""
        runners = await self._backend.list()
        # Each is a connection; a server is not to be met with hundreds at once.
        turns = asyncio.Semaphore(_INSPECTED_AT_ONCE)

        async def inspected(runner: Runner) -> Runner:
            async with turns:
                return await self._inspect(runner)

        return list(await asyncio.gather(*map(inspected, runners)))

    async def get(self, name: str) -> Runner:
        """One runner.  Raises :class:`~.errors.RunnerNotFound`."""
        return await self._inspect(await self._backend.get(name))

    async def delete(self, name: str | Runner, grace: float = 5.0, *, wait: bool = True) -> None:
        """End a runner and remove what it left.

        By name, the runner must exist (:class:`~.errors.RunnerNotFound`); given a
        :class:`Runner`, it may be gone, and another one under its name is not touched.  Without
        ``wait`` a pod may go on for the grace, in seconds, after the call.
        """
        runner = await self._backend.get(name) if isinstance(name, str) else name
        await self._backend.delete(runner, grace=grace, wait=wait)

    async def connect(
        self, runner: Runner, kernel: RemoteKernel, *, starting: bool = False
    ) -> None:
        """Join ``kernel``'s channels with a runner's agent.  Raises what the tunnel does.

        The end of a runner that is ``starting`` is a :class:`~.errors.RunnerStartError`.
        """
        try:
            await kernel.connect(lambda factory: self._backend.dial(runner, factory))
        except RunnerEnded as error:
            raise (_not_started(error) if starting else error) from None

    async def answered(self, runner: Runner) -> None:
        """Wait until the agent of a runner that is starting has answered.

        Raises :class:`~.errors.RunnerStartError` with what ended it before, or what the tunnel
        does.
        """
        tunnel = Tunnel(lambda factory: self._backend.dial(runner, factory))
        try:
            await tunnel.connect()
        except RunnerEnded as error:
            raise _not_started(error) from None
        finally:
            await tunnel.close()

    async def attach(
        self, name: str, ip: str = "127.0.0.1", on_phase: PhaseCallback = ignore_phase
    ) -> Attachment:
        """Serve the channels of the kernel that runs in a runner, on free local ports.

        Raises :class:`~.errors.RunnerNotFound`, :class:`~.errors.RequestError` where it has no
        kernel, or what ended it.
        """
        runner = await self._backend.get(name)
        on_phase("connecting", f"{runner.name}: connecting")
        tunnel = Tunnel(lambda factory: self._backend.dial(runner, factory))
        try:
            await tunnel.connect()
            connection = await tunnel.request("kernel.connection")
        finally:
            await tunnel.close()
        channels = KernelChannels(connection["key"], connection["signature_scheme"], ip)
        attachment = Attachment(self, runner, RemoteKernel(channels))
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
        on_phase: PhaseCallback = log_phase,
        timeout: float = 60.0,
    ) -> Attachment:
        """Start a runner and a kernel in it, and serve its channels.

        With ``connection_info`` (a Jupyter connection file's content) on exactly those ports and
        with that key.  ``env`` is added to the profile's.  Nothing is left behind if it fails or
        is cancelled.
        """
        info = dict(connection_info or {})
        channels = KernelChannels(
            str(info.get("key") or secrets.token_hex(32)),
            str(info.get("signature_scheme") or SIGNATURE_SCHEME),
            str(info.get("ip") or "127.0.0.1"),
        )
        await channels.listen({name: int(info.get(f"{name}_port", 0)) for name in CHANNELS})
        kernel = RemoteKernel(channels)
        runner: Runner | None = None
        try:
            runner = await self.create(spec, labels, on_phase)
            await self.connect(runner, kernel, starting=True)
            await start_kernel(kernel, runner, spec, labels, env or {}, cwd, on_phase, timeout)
        except BaseException:
            await kernel.close()
            if runner is not None:
                await self._withdraw(runner)
            raise
        attachment = Attachment(self, runner, kernel)
        attachment.kernel_name = labels.kernel_name or ""
        return attachment

    @contextlib.asynccontextmanager
    async def process(
        self,
        name: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        tty: tuple[int, int] | None = None,
    ) -> AsyncIterator[RemoteProcess]:
        """A process in a runner, for as long as the block runs; then it is hung up on.

        See :meth:`.tunnel.process.RemoteProcess.start`.  Raises
        :class:`~.errors.RunnerNotFound`, and what that does.
        """
        runner = await self._backend.get(name)
        process = RemoteProcess(lambda factory: self._backend.dial(runner, factory))
        try:
            await process.start(argv, env=env, cwd=cwd, tty=tty)
            yield process
        finally:
            await process.close()

    @contextlib.asynccontextmanager
    async def forward(self, name: str, address: str = "127.0.0.1") -> AsyncIterator[PortForward]:
        """Ports of a runner on this machine for as long as the block runs.

        Raises :class:`~.errors.RunnerNotFound`, or what the tunnel does.
        """
        runner = await self._backend.get(name)
        tunnel = Tunnel(lambda factory: self._backend.dial(runner, factory))
        forward = PortForward(tunnel, address)
        try:
            await tunnel.connect()
            yield forward
        finally:
            await forward.close()

    async def execute(
        self,
        name: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        stdin: bytes = b"",
        timeout: float | None = None,
        limit: int = LIMIT,
    ) -> Execution:
        """Run a command in a runner to its end and return what it wrote.

        Of stdout and of stderr ``limit`` bytes are kept.  After ``timeout`` seconds it is ended:
        SIGTERM to its process group, SIGKILL 5 s later.  Raises what :meth:`process` does.
        """
        clock = asyncio.get_running_loop().time
        captured = {STDOUT: Bounded(limit), STDERR: Bounded(limit)}
        async with self.process(name, argv, env=env, cwd=cwd) as process:
            started = clock()

            async def feed() -> None:
                await process.write(stdin)
                process.finish()

            async def collect() -> None:
                while (piece := await process.read()) is not None:
                    captured[piece.source].add(piece.data)

            feeding = asyncio.create_task(feed())
            collecting = asyncio.create_task(collect())
            try:
                await asyncio.wait((collecting,), timeout=timeout)
                timed_out = not collecting.done()
                if timed_out:
                    await process.signal(signal.SIGTERM)
                    await asyncio.wait((collecting,), timeout=KILLED_AFTER)
                    if not collecting.done():
                        await process.signal(signal.SIGKILL)
                await collecting
            finally:
                feeding.cancel()
                collecting.cancel()
                await asyncio.wait((feeding, collecting))
            end = await process.wait()
            duration = clock() - started
        return Execution(
            name,
            end.code,
            end.signal,
            captured[STDOUT].captured(),
            captured[STDERR].captured(),
            duration,
            timed_out,
        )

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

    async def _inspect(self, runner: Runner) -> Runner:
        if runner.status is not RunnerStatus.RUNNING:
            kernel = KernelState.NONE
            if runner.status in (RunnerStatus.UNKNOWN, RunnerStatus.STARTING):
                kernel = KernelState.UNKNOWN
            return dataclasses.replace(runner, kernel=kernel)
        tunnel = Tunnel(lambda factory: self._backend.dial(runner, factory), observer=True)
        try:
            await tunnel.connect(timeout=_INSPECT_WITHIN)
            info = await tunnel.request("info", timeout=_INSPECT_WITHIN)
        except (RunnerEnded, RunnerNotFound):
            # It ended between the two looks; its record says why, if it can be had.
            with contextlib.suppress(GraError):
                return await self._backend.get(runner.name)
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


class Attachment:
    """A kernel in a runner whose channels this process serves."""

    def __init__(self, service: RunnerService, runner: Runner, kernel: RemoteKernel) -> None:
        self.runner = runner
        self.kernel = kernel
        self.kernel_name = ""
        self._service = service

    @property
    def connection_info(self) -> dict[str, Any]:
        """The content of a Jupyter connection file.  It holds the kernel's key."""
        channels = self.kernel.channels
        ports = {f"{name}_port": port for name, port in channels.ports.items()}
        return {
            **ports,
            "ip": channels.ip,
            "transport": "tcp",
            "key": channels.signer.key.decode(),
            "signature_scheme": channels.signer.signature_scheme,
            "kernel_name": self.kernel_name,
        }

    async def wait(self) -> None:
        """Wait for the kernel's end.

        Returns if it was asked for; otherwise raises :class:`~.errors.KernelDied` or
        :class:`~.errors.RunnerEnded` with the reason (``details["code"]`` has the exit code).
        """
        end: KernelExit = await self.kernel.wait()
        if not end.requested or end.code:
            raise describe(end)

    async def interrupt(self) -> None:
        """Interrupt the kernel as Ctrl-C does."""
        await self.kernel.signal(signal.SIGINT)

    async def signal(self, signum: int) -> None:
        """Send a signal to the kernel's process group."""
        await self.kernel.signal(signum)

    async def delete(self) -> None:
        """Stop serving, and end the runner."""
        await self.kernel.close()
        await self._service.delete(self.runner)

    async def close(self) -> None:
        """Stop serving.  The runner goes on."""
        await self.kernel.close()


async def start_kernel(
    kernel: RemoteKernel,
    runner: Runner,
    spec: RunnerSpec,
    labels: RunnerLabels,
    env: Mapping[str, str],
    cwd: str | None,
    on_phase: PhaseCallback = ignore_phase,
    timeout: float = 60.0,
) -> None:
    """Start the profile's kernel in a runner that is connected.

    ``env`` comes on top of the profile's, ``cwd`` is for profiles that name no ``working_dir``.
    Raises :class:`~.errors.LaunchError`.
    """
    on_phase("kernel", f"{runner.name}: starting the kernel")
    values = {
        name: value.value if isinstance(value, Secret) else value
        for name, value in spec.env.items()
    }
    names = {
        "kernel_id": labels.kernel_id or "",
        "kernel_name": labels.kernel_name or "",
    }
    # The client's own folder is nowhere but on its own host.
    directory = spec.working_dir or (cwd if runner.backend == LocalBackend.name else None)
    try:
        await kernel.start(spec.kernel_argv, {**values, **env}, directory, names, timeout)
    except LaunchError as error:
        if runner.backend != LocalBackend.name:
            # What the agent says would last as long as the runner.
            stderr = error.details.get("stderr", ())
            error.hint = kernel_hint(error.code, stderr, spec.image, spec.pod.python) or error.hint
        raise
    on_phase("ready", f"{runner.name}: ready")


def _not_started(error: RunnerEnded) -> RunnerStartError:
    reason = str(error.details.get("reason") or error.code)
    return RunnerStartError(error.message, hint=error.hint, reason=reason, details=error.details)
