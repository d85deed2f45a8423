"""The kernel provisioner: jupyter_client's calls, translated.

jupyter_client calls these methods in a fixed order for each thing a user does; it is documented
nowhere but in ``jupyter_client/manager.py``.  Two things follow from it that are easy to get
wrong: ``kill`` may be followed by another launch, so only ``cleanup(restart=False)`` ends the
runner; and ``poll`` returning anything but None makes the restarter start a new kernel, so a
runner that cannot be reached is never reported as dead.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning.provisioner_base import KernelProvisionerBase
from traitlets import Enum, Float, Unicode

from .attachment import start_kernel
from .environment import difference
from .errors import GraError, LaunchError, ResultsNotFetched, RunnerNotFound, Unreachable
from .kernel_launch import LAUNCH, LaunchFailed, LaunchSettings
from .profiles import load_config, resolve
from .progress import LaunchObserver, LaunchProgress, LogObserver
from .runner import Runner, RunnerSpec, RunnerStatus
from .s3_credentials import own_credentials
from .service import SIGNATURE_SCHEME, RunnerService, labels_of_this_process
from .tunnel.channels import KernelChannels
from .tunnel.kernel import KernelExit, RemoteKernel
from .tunnel.thread import Lease

if TYPE_CHECKING:
    from .server.events import Emitter
    from .server.removal import Removal

T = TypeVar("T")

log = logging.getLogger("gra_provisioner")

# In seconds: after SIGKILL, until the clients have been told.
_KILLED_WITHIN = 30.0
# What jupyter_client passes to the constructor itself; the rest is the kernelspec's own config.
_OWN_ARGUMENTS = frozenset({"kernel_id", "kernel_spec", "parent", "config", "log"})


class GraProvisioner(KernelProvisionerBase):
    """Starts a kernel in a runner and keeps its channels connected."""

    profile = Unicode(
        "",
        help="""The profile of kernels whose kernelspec names none. Empty: the configuration's
        default_profile.""",
    ).tag(config=True)

    launch_timeout = Float(
        60.0,
        help="""Seconds that a kernel may take from the start of its process until it listens.""",
    ).tag(config=True)

    notice_time = Float(
        2.0,
        help="""Seconds between the reason of a kernel's death being put into the output of the
        running cell and clients being told that the kernel is dead.""",
    ).tag(config=True)

    show_progress = Enum(
        ["auto", "never"],
        default_value="auto",
        help="""Whether a kernel's first start is shown on a line of the terminal that the client
        runs in (its stderr). A Jupyter server's starts are not: its pages get events.""",
    ).tag(config=True)

    def __init__(self, **kwargs: Any) -> None:
        # The kernelspec's config is checked at the launch, where an error reaches the user.
        self._overrides = {k: v for k, v in kwargs.items() if k not in _OWN_ARGUMENTS}
        super().__init__(**{k: v for k, v in kwargs.items() if k in _OWN_ARGUMENTS})
        self._lease: Lease | None = None
        self._service: RunnerService | None = None
        self._kernel: RemoteKernel | None = None
        # The launch that is under way, on the background loop.
        self._work: asyncio.Task[Any] | None = None
        # How many there are: a user may restart a kernel while the restarter does.  One at a time.
        self._launches = 0
        self._turn = asyncio.Lock()
        self._runner: Runner | None = None
        self._spec: RunnerSpec | None = None
        self._cwd: str | None = None
        # The notebook's own directory on this machine.
        self._folder: str | None = None
        self._results_left: ResultsNotFetched | None = None
        self._launched = False
        self._has_process = False
        self._unreachable = False
        # Where there is a Jupyter server.
        self._emitter: Emitter | None = None
        self._removal: Removal | None = None

    # -- KernelProvisionerBase --------------------------------------------------------------

    @property
    def has_process(self) -> bool:
        """See :class:`KernelProvisionerBase`."""
        return self._has_process

    @property
    def runner(self) -> Runner | None:
        """The runner, once launched."""
        return self._runner

    @property
    def kernel_exit(self) -> KernelExit | None:
        """How the kernel ended, once it has and clients know.  Asked by ``gra run``."""
        return self._kernel.exit if self._kernel is not None else None

    @property
    def results_left(self) -> ResultsNotFetched | None:
        """Why results stayed in the runner when it was to be ended, if they did.

        Asked by ``gra run``.
        """
        return self._results_left

    async def detach(self) -> None:
        """Leave the kernel and its runner to themselves, for whoever attaches to them next.

        Called by ``gra run --keep``, in the place of a shutdown.
        """
        self._has_process = False
        if self._lease is not None:
            await self._abandon()

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        """Check the configuration.  The kernelspec's argv is not used: it is the launcher's.

        The keyword :data:`.kernel_launch.LAUNCH` has settings of this kernel's own.
        """
        launch: LaunchSettings = kwargs.pop(LAUNCH, None) or LaunchSettings({})
        kwargs.pop("extra_arguments", None)
        kwargs.pop("transport_encryption", None)
        name = getattr(self.parent, "kernel_name", "") or "gra"
        overrides = dict(self._overrides)
        if self.profile:
            overrides.setdefault("profile", self.profile)
        try:
            config = load_config(os.environ)
            self._spec = resolve(
                config,
                overrides,
                f"kernelspec {name!r} metadata",
                launch=launch.settings,
                launch_source=launch.source,
            )
        except GraError as error:
            # Over before its first phase.
            with self._progress(kwargs.get("env")):
                raise LaunchFailed(error) from None
        if self._service is None:
            # In a thread: what it imports for a cluster would hold up a server's other kernels.
            self._service = await asyncio.to_thread(RunnerService.from_config, config)
        kwargs = await super().pre_launch(**kwargs)
        kwargs["cmd"] = []
        return kwargs

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Start a runner if there is none, and a kernel in it."""
        spec = self._require(self._spec)
        env = difference(kwargs.get("env") or {}, os.environ, spec.forward_env)
        cwd = kwargs.get("cwd")
        self._folder = str(cwd) if cwd else str(Path.cwd())
        self._cwd = spec.working_dir or self._folder
        if self._lease is None:
            self._lease = Lease(self._on_process_exit)
        self._launches += 1
        try:
            await self._run(self._launch(spec, env, self._progress(env)))
        except GraError as error:
            await self._give_up(error)
            raise LaunchFailed(error) from None
        except BaseException:
            await asyncio.shield(self._give_up(None))
            raise
        finally:
            self._launches -= 1
        self._launched = True
        self._has_process = True
        self._unreachable = False
        return self.connection_info

    async def poll(self) -> int | None:
        """None while the kernel runs, and while that cannot be known."""
        if not self._has_process or self._kernel is None:
            return 0
        end = self._kernel.exit
        if end is None:
            return None
        removal = self._removal
        if end.by_deletion and removal is not None and not removal.under_way:
            # The restarter would start another one.
            return None
        return end.code

    async def wait(self) -> int | None:
        """Wait until the kernel has ended."""
        code: int | None = 0
        while self._has_process:
            code = await self.poll()
            if code is not None or self._unreachable:
                self._has_process = False
                break
            await asyncio.sleep(0.05)
        return code

    async def send_signal(self, signum: int) -> None:
        """Send a signal to the kernel's process group; to a kernel that has ended, nothing."""
        await self._signal(signum, "")

    async def kill(self, restart: bool = False) -> None:
        """Kill the kernel.  The runner stays: a launch may follow (``restart`` says nothing)."""
        await self._signal(signal.SIGKILL, "kill")

    async def terminate(self, restart: bool = False) -> None:
        """Send SIGTERM to the kernel."""
        await self._signal(signal.SIGTERM, "terminate")

    async def shutdown_requested(self, restart: bool = False) -> None:
        """The kernel was asked to end, so its end is no accident."""
        kernel = self._kernel
        if kernel is not None and self._has_process:
            try:
                await self._run(kernel.expect_exit())
            except GraError as error:
                self.log.debug("The runner was not told of the shutdown: %s", error.message)

    async def cleanup(self, restart: bool = False) -> None:
        """End the runner, or before a restart close the clients' connections to the old kernel."""
        if self._lease is None:
            return
        if restart:
            kernel = self._kernel
            if kernel is not None:
                await self._run(_disconnect(kernel))
            return
        await self._release()

    async def get_provisioner_info(self) -> dict[str, Any]:
        """Base information, and which runner it is."""
        info = await super().get_provisioner_info()
        key = info["connection_info"].get("key")
        if isinstance(key, bytes):
            info["connection_info"] = {**info["connection_info"], "key": key.decode()}
        runner = self._runner
        info["runner"] = {"name": runner.name, "uid": runner.uid} if runner is not None else None
        return info

    async def load_provisioner_info(self, provisioner_info: dict[str, Any]) -> None:
        """Take the runner of :meth:`get_provisioner_info` over, its ports and key included.

        Raises :class:`~.errors.RunnerNotFound` or what ended it.
        """
        await super().load_provisioner_info(provisioner_info)
        info = dict(self.connection_info)
        key = info.get("key", b"")
        if isinstance(key, str):
            info["key"] = key.encode()
        self.connection_info = info  # type: ignore[assignment]
        runner = provisioner_info.get("runner")
        if runner is None:
            return
        if self._service is None:
            config = load_config(os.environ)
            self._service = await asyncio.to_thread(RunnerService.from_config, config)
        if self._lease is None:
            self._lease = Lease(self._on_process_exit)
        self._emitter = self._make_emitter(None)
        try:
            await self._run(self._take_over(str(runner["name"]), str(runner["uid"])))
        except BaseException:
            await asyncio.shield(self._abandon())
            raise
        self._launched = self._has_process = True

    def resolve_path(self, path: str) -> str | None:
        """The absolute path in the runner, if that is this host's file system."""
        runner = self._runner
        if runner is None or runner.backend != "local":
            return None
        full = Path(path).expanduser()
        if not full.is_absolute():
            full = Path(self._cwd or ".") / full
        return full.resolve().as_posix() if full.exists() else None

    # -- on the background loop -------------------------------------------------------------

    async def _launch(
        self, spec: RunnerSpec, env: Mapping[str, str], progress: LaunchProgress
    ) -> None:
        async with self._turn:
            self._work = asyncio.current_task()
            try:
                with progress:
                    await self._launch_observed(spec, env, progress)
            finally:
                self._work = None

    async def _launch_observed(
        self, spec: RunnerSpec, env: Mapping[str, str], progress: LaunchProgress
    ) -> None:
        service = self._require(self._service)
        labels = labels_of_this_process(
            self.kernel_id,
            getattr(self.parent, "kernel_name", None),
            env.get("JPY_SESSION_NAME"),
            owner=service.owner,
        )
        # As they are now: those of the last start may have expired.
        keys = own_credentials(spec.s3, os.environ)
        kernel = self._kernel
        if kernel is None:
            kernel = self._kernel = await self._open_channels()
        runner = self._runner
        if runner is not None and kernel.runner_gone:
            progress("starting", f"{runner.name} is gone: a new runner takes its place")
            await self._end_runner(service, runner, grace=0.0)
            runner = self._runner = None
        prepare: Callable[[], Awaitable[None]] | None = None
        if runner is None:
            surveyed = await service.survey(spec, self._folder)
            runner = self._runner = await service.create(spec, labels, progress)
            progress.runner_uid = runner.uid
            await service.connect(runner, kernel, starting=True)
            prepare = partial(service.bring, runner, spec, surveyed, progress)
        elif await kernel.signal(signal.SIGKILL, "kill"):
            # The kernel of another restart, which was quicker than this one's own kill.
            await _killed(kernel, runner)
        progress.runner_uid = runner.uid
        await start_kernel(
            *(kernel, runner, spec, labels, env, self._cwd, progress, self.launch_timeout, keys),
            prepare=prepare,
        )

    async def _open_channels(self, ports: Mapping[str, int] | None = None) -> RemoteKernel:
        parent_key = getattr(getattr(self.parent, "session", None), "key", b"")
        key = self.connection_info.get("key") or parent_key or os.urandom(32).hex().encode()
        channels = KernelChannels(bytes(key).decode(), SIGNATURE_SCHEME)  # type: ignore[arg-type]
        opened = await channels.listen(ports)
        info: dict[str, Any] = {f"{name}_port": port for name, port in opened.items()}
        info.update(ip=channels.ip, transport="tcp", key=key, signature_scheme=SIGNATURE_SCHEME)
        self.connection_info = info  # type: ignore[assignment]
        return RemoteKernel(channels, self._on_exit, self.notice_time)

    async def _take_over(self, name: str, uid: str) -> None:
        self._work = asyncio.current_task()
        try:
            await self._adopt(name, uid)
        finally:
            self._work = None

    async def _adopt(self, name: str, uid: str) -> None:
        service = self._require(self._service)
        runner = await service.get(name)
        if runner.uid != uid or runner.status is RunnerStatus.ENDED:
            raise RunnerNotFound(f"{name} is not the runner of this kernel any more.")
        ports = {
            name.removesuffix("_port"): int(str(port))
            for name, port in self.connection_info.items()
            if name.endswith("_port")
        }
        self._kernel = kernel = await self._open_channels(ports)
        self._runner = runner
        await service.connect(runner, kernel)
        await kernel.adopt()

    async def _on_process_exit(self) -> None:
        """The client's process ends and nobody has shut its kernel down: as with local kernels,
        it does not outlive a client that leaves of its own accord.
        """
        if self._work is not None:
            self._work.cancel()
        await self._end()

    def _on_exit(self, end: KernelExit) -> None:
        runner = self._runner
        if not end.requested:
            name = runner.name if runner is not None else ""
            self.log.warning("%s: %s", name or "the runner", end.obituary.text)
            if self._emitter is not None:
                self._emitter.died(name, end, runner.uid if runner is not None else "")
            if self._removal is not None and end.by_deletion:
                self._removal.begin()

    # -- inside -----------------------------------------------------------------------------

    def _progress(self, env: Mapping[str, str] | None) -> LaunchProgress:
        """The next launch's progress, with who is told of it.  Called on the client's loop."""
        observers: list[LaunchObserver] = [LogObserver(log, self.log)]
        emitter = self._emitter = self._make_emitter(env)
        # A kernel manager may see to it itself, as that of gra run.
        own: Sequence[LaunchObserver] | None = getattr(self.parent, "launch_observers", None)
        if emitter is not None:
            observers.append(emitter.launching())
        elif own is not None:
            observers += own
        elif self.show_progress == "auto" and not self._launched:
            # Later the terminal is the client's: a prompt may be on it.
            from .cli.terminal import LiveLine, can_rewrite

            if can_rewrite(sys.stderr):
                observers.append(LiveLine(sys.stderr))
        return LaunchProgress(observers)

    def _make_emitter(self, env: Mapping[str, str] | None) -> Emitter | None:
        # Only the kernel managers of a Jupyter server have one.
        event_logger = getattr(self.parent, "event_logger", None)
        if event_logger is None:
            return None
        from .server.events import Emitter, Subject
        from .server.removal import Removal

        self._removal = Removal.of(self.parent)
        kernel_name = getattr(self.parent, "kernel_name", "")
        notebook = (env or {}).get("JPY_SESSION_NAME", "")
        profile = self._spec.profile if self._spec is not None else ""
        return Emitter(event_logger, Subject(self.kernel_id or "", kernel_name, notebook, profile))

    async def _signal(self, signum: int, requested: str) -> None:
        kernel = self._kernel
        if kernel is None or not self._has_process:
            return
        try:
            await self._run(kernel.signal(signum, requested))
        except GraError as error:
            # During a shutdown the runner is deleted next, which needs no connection.
            if not requested and not getattr(self.parent, "shutting_down", False):
                raise
            self._unreachable = True
            self.log.warning("Signal %s was not delivered: %s", signum, error.message)

    async def _give_up(self, error: GraError | None) -> None:
        """Leave nothing behind a launch that failed, and no client that waits for it."""
        if self._launches > 1:
            # A user's restart meets the restarter's, and has killed the kernel that it started.
            # The runner is the next one's.
            return
        relaunch = self._launched
        await self._release()
        if not relaunch or error is None:
            return
        # Nobody else will: the restarter has stopped itself before this launch, so clients would
        # see a busy kernel for ever (jupyter_client/restarter.py).
        manager = self.parent
        for name, value in (("reason", str(error)), ("execution_state", "dead")):
            if hasattr(manager, name):
                setattr(manager, name, value)
        restarter = getattr(manager, "_restarter", None)
        if restarter is not None:
            restarter._fire_callbacks("dead")

    async def _release(self) -> None:
        self._has_process = False
        try:
            if self._lease is not None:
                await self._run(self._end())
        finally:
            await self._let_go()

    async def _abandon(self) -> None:
        """Leave a runner that could not be taken over to itself."""
        try:
            await self._run(self._stop_serving())
        finally:
            await self._let_go()

    async def _stop_serving(self) -> None:
        if self._work is not None:
            # It was cancelled, and what it has begun is being taken back.
            await asyncio.wait((self._work,))
        if self._kernel is not None:
            await self._kernel.close()

    async def _end(self) -> None:
        await self._stop_serving()
        runner, service = self._runner, self._service
        if service is None or runner is None:
            return
        try:
            if self._launched:
                await self._end_runner(service, runner, wait=False)
            else:
                await service.delete(runner, wait=False)
        except ResultsNotFetched as error:
            self._results_left = error
            self.log.warning("%s", error)
            if self._emitter is not None:
                self._emitter.results(runner, error)
        except GraError as error:
            # Nobody could do anything about it now, and the runner does not need to be told.
            self.log.warning(
                "%s was not deleted, it ends by itself when nobody has been connected to it for "
                "its time to live: %s",
                runner.name,
                error.message,
            )

    async def _end_runner(
        self, service: RunnerService, runner: Runner, grace: float = 5.0, *, wait: bool = True
    ) -> None:
        returned = await service.end(runner, grace, wait=wait)
        if returned is None:
            return
        if returned.summary:
            self.log.info("%s", returned.summary)
        for notice in returned.notices:
            self.log.warning("%s", notice)
        if self._emitter is not None:
            self._emitter.results(runner, returned)

    async def _let_go(self) -> None:
        self._kernel = None
        self._runner = None
        self._launched = False
        lease, self._lease = self._lease, None
        if lease is not None:
            try:
                if self._service is not None:
                    await lease.run(self._service.close())
            finally:
                lease.release()

    async def _run(self, work: Coroutine[Any, Any, T]) -> T:
        lease = self._lease
        if lease is None:
            work.close()
            raise Unreachable("The runner of this kernel was released.")
        return await lease.run(work)

    @staticmethod
    def _require(value: T | None) -> T:
        if value is None:
            raise LaunchError("The kernel was launched before it was prepared (pre_launch).")
        return value


async def _killed(kernel: RemoteKernel, runner: Runner) -> None:
    try:
        await asyncio.wait_for(kernel.wait(), _KILLED_WITHIN)
    except asyncio.TimeoutError:
        raise LaunchError(
            f"The kernel in {runner.name} was killed and did not end within {_KILLED_WITHIN:g} s.",
            hint="It may hang in the system, on a disk or a mount: delete the runner.",
        ) from None


async def _disconnect(kernel: RemoteKernel) -> None:
    kernel.channels.disconnect()
