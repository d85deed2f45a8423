"""What can be done with runners, whatever the backend: for the provisioner, the CLI and the server.

A :class:`RunnerService` belongs to the event loop on which it is first used.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import logging
import os
import secrets
import socket
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Mapping,
    Sequence,
)
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from .agent.kernel import CHANNELS
from .attachment import Attachment, start_kernel
from .backends.base import (
    Backend,
    NoticeCallback,
    PhaseCallback,
    ignore_notice,
    ignore_phase,
)
from .backends.choice import choose
from .backends.local import LocalBackend
from .backends.service_account import in_cluster
from .diagnosis import Finding, good, of_error
from .errors import BackendError, GraError, KubeconfigError, RunnerEnded
from .execution import LIMIT, Ended, Execution
from .inspection import SHARED_FOR, Inspector
from .log_streams import as_they_come, by_time
from .logs import LogLine, LogQuery
from .mounting import start_mounts
from .owner import this_owner
from .profiles import Config
from .runner import (
    Change,
    Runner,
    RunnerEvent,
    RunnerLabels,
    RunnerSpec,
    Stale,
)
from .s3_credentials import AccessKey, own_credentials
from .s3_diagnosis import diagnose_buckets
from .selection import INSPECTED_KEYS, SelectedChanges, Selection, select
from .starting import not_started, until_started
from .tunnel.channels import KernelChannels
from .tunnel.client import Tunnel
from .tunnel.forward import PortForward
from .tunnel.kernel import RemoteKernel
from .tunnel.process import Output, RemoteProcess, kept_of, stream_to_end

if TYPE_CHECKING:
    from typing_extensions import Self

    from .workspace.courier import Courier
    from .workspace.survey import Survey
    from .workspace.sync import Returned

log = logging.getLogger("gra_provisioner")

#: A longer list is not inspected unless that is asked for.
INSPECTED_BY_DEFAULT = 50

EVERY_RUNNER = Selection()

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


class RunnerService:
    """Creates, finds, connects to and ends runners.

    ``backend_reason`` is a sentence that says why this backend was chosen, ``owner`` whose the
    runners are that are made here, ``environ`` where credentials of its user's own are looked up.
    ``records`` is the folder that remembers which directories were copied into runners; without one
    none is copied.
    """

    def __init__(
        self,
        backend: Backend,
        reason: str,
        owner: str | None = None,
        *,
        records: Path | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self.backend_reason = reason
        self.owner = owner or this_owner(environ)
        self._environ = environ
        self._backend = backend
        self._inspector = Inspector(backend)
        self._records = records
        self._environ = environ

    @classmethod
    def from_config(cls, config: Config, only: str = "") -> Self:
        """The service that the configuration asks for.  Opens no connection.

        ``only`` is the name of the one runner that it will be asked about, where that is known:
        a cluster is then not asked for others.
        """
        choice = choose(config, config.environ, in_cluster(config.environ))
        if choice.backend == "local":
            backend_here = LocalBackend(config.state_dir)
            return cls(backend_here, choice.reason, config.owner, environ=config.environ)
        # Its libraries take longer to import than a local kernel's agent to start.
        from .backends.kubernetes.backend import KubernetesBackend
        from .backends.kubernetes.kubeconfig import Target

        named = config.kubernetes
        target = Target(named.context or "", named.namespace or "", named.kubeconfig or "")
        backend = KubernetesBackend(target, config.environ, only=only)
        records = config.state_dir / "workspaces"
        return cls(backend, choice.reason, config.owner, records=records, environ=config.environ)

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
        try:
            await self._inspector.close()
        finally:
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

    async def list(
        self, selection: Selection = EVERY_RUNNER, *, inspect: bool | None = None
    ) -> list[Runner]:
        """The runners that are meant.

        With ``inspect`` each with its kernel's state, its clients and its use of CPU and memory,
        for which each is connected to; without, these are unknown.  By default a list of more
        than :data:`INSPECTED_BY_DEFAULT` runners is not inspected.
        """
        # The first by what only inspection tells are not known before.
        limit = None if selection.sort in INSPECTED_KEYS else selection.limit
        found = select(await self._backend.list(), dataclasses.replace(selection, limit=limit))
        if inspect is None:
            inspect = len(found) <= INSPECTED_BY_DEFAULT
        return select(await self.inspect(found) if inspect else found, selection)

    async def pages(
        self, selection: Selection = EVERY_RUNNER
    ) -> AsyncGenerator[Sequence[Runner], None]:
        """The runners that are meant, in parts as they become known, for whoever asks once.

        Each part is ordered by number; of the selection, order and limit do not count.  Nothing is
        inspected.  Raises :class:`~.errors.BackendError`.
        """
        async with contextlib.aclosing(self._backend.pages(selection)) as parts:
            async for part in parts:
                yield part

    async def inspect(
        self, runners: Iterable[Runner], *, max_age: float = SHARED_FOR
    ) -> Sequence[Runner]:
        """The runners with what only their agents know; one that does not answer stays as it is.

        What was seen up to ``max_age`` seconds ago is as good.  Connections are kept for the next
        look for half a minute.
        """
        return await self._inspector.all(runners, max_age)

    async def watch(self, selection: Selection = EVERY_RUNNER) -> AsyncGenerator[Change, None]:
        """The runners that are meant as ``ADDED``, ``SYNCED``, and then what becomes of them.

        ``STALE`` and ``FRESH`` tell whether that is known just now.  One that is meant no longer is
        told as ``DELETED``.  Nothing is inspected; of the selection, order and limit do not count.
        Raises :class:`~.errors.BackendError`.
        """
        chosen = SelectedChanges(selection)
        async with contextlib.aclosing(self._backend.watch()) as changes:
            async for change in changes:
                told = chosen.of(change)
                if told is not None:
                    yield told

    @property
    def stale(self) -> Stale | None:
        """Why the last list told what was and not what is, if it did."""
        return self._backend.stale()

    async def check(self) -> None:
        """Raise what keeps the backend from being used, as :meth:`.backends.base.Backend.check`."""
        await self._backend.check()

    async def diagnose(
        self, spec: RunnerSpec, environ: Mapping[str, str] = os.environ
    ) -> Sequence[Finding]:
        """Whether such runners can be made here, by which ways they reach S3, and their buckets.

        ``environ`` is where the client's own credentials are looked up.  What cannot be found out
        is a finding, too: nothing is raised but :class:`~.errors.ConfigError` for a spec that no
        runner can be made by.
        """
        is_local = self.backend_name == LocalBackend.name
        buckets = asyncio.create_task(diagnose_buckets(spec, environ, is_local=is_local))
        try:
            await self._backend.check()
            found = [good("backend", f"The {self.backend_name} backend can be used.")]
            found += await self._backend.diagnose(spec, self.owner)
        except (BackendError, KubeconfigError) as error:
            found = [of_error("backend", error)]
        except BaseException:
            buckets.cancel()
            raise
        return [*found, *await buckets]

    async def get(self, name: str, *, inspect: bool = True) -> Runner:
        """One runner, with what only its agent knows unless not to ``inspect``.

        Raises :class:`~.errors.RunnerNotFound`.
        """
        runner = await self._backend.get(name)
        return await self._inspector.one(runner) if inspect else runner

    def last_seen(self, name: str, uid: str) -> Runner | None:
        """A runner that is gone, as this process saw it last, if it did."""
        return self._backend.last_seen(name, uid)

    async def events(self, name: str, uid: str) -> Sequence[RunnerEvent]:
        """What the cluster has said about this runner and its claims, the newest last.

        It may be gone: the cluster remembers what it said, for an hour as a rule.  Empty for local
        runners.  Raises :class:`~.errors.BackendError`.
        """
        return await self._backend.events(name, uid)

    async def logs(
        self,
        names: Sequence[str | Runner],
        query: LogQuery,
        on_notice: NoticeCallback = ignore_notice,
    ) -> AsyncGenerator[LogLine, None]:
        """What runners wrote: of several by time or, if they are followed, as it comes.

        Given a :class:`Runner`, another one under its name is not meant.
        Ends when the runners have, if they are followed; closing it ends everything.  Raises
        :class:`~.errors.RunnerNotFound` before it yields anything, and what
        :meth:`.backends.base.Backend.logs` does: one of several that fails ends the others.
        """
        meant = {_name_of(name): name for name in names}.values()
        runners = [await self._backend.get(n) if isinstance(n, str) else n for n in meant]
        streams = [self._backend.logs(runner, query, on_notice) for runner in runners]
        merged = as_they_come(streams) if query.follow else by_time(streams)
        async with contextlib.aclosing(merged):
            async for line in merged:
                yield line

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

    @contextlib.asynccontextmanager
    async def process(
        self,
        name: str | Runner,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        tty: tuple[int, int] | None = None,
        keep_running: bool = False,
        on_phase: PhaseCallback = ignore_phase,
    ) -> AsyncIterator[RemoteProcess]:
        """A process in a runner, for as long as the block runs; then it is hung up on.

        With ``keep_running`` it goes on instead, unread.  By name, one that is starting is waited
        for, and ``on_phase`` told how that goes; given a :class:`Runner`, another one under its
        name is not meant.  See :meth:`.tunnel.process.RemoteProcess.start`.  Raises
        :class:`~.errors.RunnerNotFound`, :class:`~.errors.RunnerStartError`, and what that does.
        """
        runner = (
            await until_started(self._backend, name, on_phase) if isinstance(name, str) else name
        )
        process = RemoteProcess(partial(self._backend.dial, runner))
        try:
            await process.start(argv, env=env, cwd=cwd, tty=tty, keep_running=keep_running)
            yield process
        finally:
            await process.close()

    @contextlib.asynccontextmanager
    async def forward(
        self, name: str, address: str = "127.0.0.1", on_phase: PhaseCallback = ignore_phase
    ) -> AsyncIterator[PortForward]:
        """Ports of a runner on this machine for as long as the block runs.

        One that is starting is waited for.  Raises :class:`~.errors.RunnerNotFound`,
        :class:`~.errors.RunnerStartError`, or what the tunnel does.
        """
        runner = await until_started(self._backend, name, on_phase)
        tunnel = Tunnel(partial(self._backend.dial, runner))
        forward = PortForward(tunnel, address)
        try:
            await tunnel.connect()
            yield forward
        finally:
            await forward.close()

    async def execute(
        self,
        name: str | Runner,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        stdin: bytes = b"",
        timeout: float | None = None,
        limit: int = LIMIT,
        keep_running: bool = False,
    ) -> Execution:
        """Run a command in a runner to its end and return what it wrote.

        Of stdout and of stderr ``limit`` bytes are kept.  After ``timeout`` seconds it is ended:
        SIGTERM to its process group, SIGKILL 5 s later.  Being cancelled hangs up on it, unless
        ``keep_running``.  Raises what :meth:`process` does.
        """
        pieces = self.execute_streaming(
            name,
            argv,
            env=env,
            cwd=cwd,
            stdin=stdin,
            timeout=timeout,
            keep_running=keep_running,
        )
        return await kept_of(pieces, limit)

    async def execute_streaming(
        self,
        name: str | Runner,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        stdin: bytes = b"",
        timeout: float | None = None,
        keep_running: bool = False,
    ) -> AsyncGenerator[Output | Ended, None]:
        """As :meth:`execute`, but its output comes as it is written; the last is how it ended.

        Closing the generator before that hangs up on the command, unless ``keep_running``.
        """
        async with (
            self.process(name, argv, env=env, cwd=cwd, keep_running=keep_running) as process,
            contextlib.aclosing(
                stream_to_end(process, _name_of(name), stdin=stdin, timeout=timeout)
            ) as pieces,
        ):
            async for piece in pieces:
                yield piece

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


def _name_of(runner: str | Runner) -> str:
    return runner if isinstance(runner, str) else runner.name
