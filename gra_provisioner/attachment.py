"""A kernel in a runner, started and served: what its client holds."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from .backends.base import PhaseCallback, ignore_phase
from .backends.kubernetes.containers import kernel_hint
from .backends.local import LocalBackend
from .errors import LaunchError
from .mounting import kernel_variables, start_mounts
from .runner import Runner, RunnerLabels, RunnerSpec, Secret
from .s3_credentials import AccessKey
from .tunnel.kernel import KernelExit, RemoteKernel, describe


class Attachment:
    """A kernel in a runner whose channels this process serves."""

    def __init__(
        self, runner: Runner, kernel: RemoteKernel, delete: Callable[[], Awaitable[None]]
    ) -> None:
        self.runner = runner
        self.kernel = kernel
        self.kernel_name = ""
        self._delete = delete

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
        await self._delete()

    async def close(self) -> None:
        """Stop serving.  The runner goes on."""
        await self.kernel.close()


def variables(spec: RunnerSpec) -> dict[str, str]:
    """The variables of a profile with their values, secret ones too, for the process itself."""
    return {
        name: value.value if isinstance(value, Secret) else value
        for name, value in spec.env.items()
    }


def working_directory(spec: RunnerSpec, runner: Runner, cwd: str | None) -> str | None:
    """Where to start what runs in a runner, for a client in ``cwd``; ``None``: where its agent is.

    The client's own folder is nowhere but on its own host.
    """
    return spec.working_dir or (cwd if runner.backend == LocalBackend.name else None)


async def start_kernel(
    kernel: RemoteKernel,
    runner: Runner,
    spec: RunnerSpec,
    labels: RunnerLabels,
    env: Mapping[str, str],
    cwd: str | None,
    on_phase: PhaseCallback = ignore_phase,
    timeout: float = 60.0,
    keys: Mapping[int, AccessKey] | None = None,
    prepare: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Start the profile's kernel in a runner that is connected, once its buckets are there.

    ``env`` comes on top of the profile's, ``cwd`` is for profiles that name no ``working_dir``.
    ``keys`` are the client's own credentials for the buckets.  ``prepare`` is what else the kernel
    needs, and may need the buckets.  Raises :class:`~.errors.LaunchError`.
    """
    keys = keys or {}
    await start_mounts(kernel.tunnel, runner, spec, keys, on_phase)
    if prepare is not None:
        await prepare()
    on_phase("kernel", f"{runner.name}: starting the kernel")
    names = {
        "kernel_id": labels.kernel_id or "",
        "kernel_name": labels.kernel_name or "",
    }
    directory = working_directory(spec, runner, cwd)
    try:
        everything = {**kernel_variables(runner, spec, keys), **variables(spec), **env}
        await kernel.start(spec.kernel_argv, everything, directory, names, timeout)
    except LaunchError as error:
        if runner.backend != LocalBackend.name:
            # What the agent says would last as long as the runner.
            stderr = error.details.get("stderr", ())
            error.hint = kernel_hint(error.code, stderr, spec.image, spec.pod.python) or error.hint
        raise
    on_phase("ready", f"{runner.name}: ready")
