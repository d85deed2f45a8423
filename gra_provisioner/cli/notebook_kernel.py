"""A kernel on a runner of its own with nbclient as its client, for ``gra run``.

It is started by gra's provisioner, so that all is as in any other client: the reason of a kernel's
death comes as the error of the cell that was running.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbformat import NotebookNode
from traitlets.config import Config

from ..errors import GraError, KernelDied, KernelStartError
from ..kernelspecs import PROVISIONER
from ..progress import LaunchObserver
from ..provisioner import GraProvisioner
from ..tunnel.kernel import describe

Show = Callable[[str, Mapping[str, Any]], None]

# Seconds until a kernel that has died has said why; it does with the cell's error.
_OBITUARY_WITHIN = 10.0
_POLL = 0.05
_OUTPUT_WITHIN = 3600


class _OneKernelSpec(KernelSpecManager):
    """Has one kernelspec, which is in memory."""

    kernel_spec: KernelSpec

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """The one."""
        return self.kernel_spec


class _Manager(AsyncKernelManager):
    """A kernel manager that has its provisioner show the launch to these."""

    launch_observers: Sequence[LaunchObserver] = ()


class _Client(NotebookClient):
    """A client that shows the running cell's messages as they come."""

    show: Show

    def process_message(
        self, msg: dict[str, Any], cell: NotebookNode, cell_index: int
    ) -> NotebookNode | None:
        """See :class:`NotebookClient`."""
        self.show(msg["msg_type"], msg["content"])
        return super().process_message(msg, cell, cell_index)


class _Warnings(logging.Handler):
    """Keeps warnings.  Errors reach the caller as exceptions."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """See :class:`logging.Handler`."""
        if record.levelno == logging.WARNING:
            self.messages.append(record.getMessage())


class NotebookKernel:
    """The kernel of one run: :meth:`start`, then cells by :attr:`client`, then :meth:`end`.

    ``launch`` are the options of its launch.  ``show`` is called with the type and the content of
    each message of a running cell; ``on_cell_error`` is nbclient's hook.
    """

    def __init__(
        self,
        notebook: NotebookNode,
        launch: Mapping[str, Any],
        observers: Sequence[LaunchObserver],
        show: Show,
        *,
        allow_errors: bool,
        on_cell_error: Callable[..., None],
    ) -> None:
        self.runner = ""
        self._warnings = _Warnings()
        log = logging.Logger("gra run", logging.WARNING)  # noqa: LOG001
        log.addHandler(self._warnings)
        specs = _OneKernelSpec()
        stanza = {"provisioner_name": PROVISIONER, "config": dict(launch)}
        specs.kernel_spec = KernelSpec(metadata={"kernel_provisioner": stanza})
        self._manager = _Manager(
            kernel_name="gra",
            kernel_spec_manager=specs,
            log=log,
            # The reason of a death is in the cell's error, which nbclient needs no time to read.
            config=Config({"GraProvisioner": {"notice_time": 0.0}}),
        )
        self._manager.launch_observers = observers
        # What nbclient logs is in its exceptions.
        silent = logging.Logger("nbclient", logging.CRITICAL + 1)  # noqa: LOG001
        self.client = _Client(
            notebook,
            km=self._manager,
            log=silent,
            allow_errors=allow_errors,
            on_cell_error=on_cell_error,
            # On a slow link much output comes long after the reply.
            iopub_timeout=_OUTPUT_WITHIN,
        )
        self.client.show = show

    @property
    def warnings(self) -> Sequence[str]:
        """What went wrong without being an error: a runner that could not be deleted."""
        return self._warnings.messages

    async def start(self, path: Path) -> Mapping[str, Any]:
        """Start the runner and its kernel in the folder of the notebook at ``path``.

        Returns the ``language_info`` that the kernel gives of itself.  Nothing is left if it fails
        or is cancelled.  Raises :class:`~gra_provisioner.errors.LaunchError`.
        """
        env = {**os.environ, "JPY_SESSION_NAME": str(path)}
        try:
            await self.client.async_start_new_kernel(cwd=str(path.parent), env=env)
            runner = self._provisioner.runner
            self.runner = runner.name if runner is not None else ""
            kernel = await self.client.async_start_new_kernel_client()
            reply = await self.client.async_wait_for_reply(kernel.kernel_info())
            language: Mapping[str, Any] = (reply or {}).get("content", {}).get("language_info", {})
            return language
        except RuntimeError as error:
            # Of jupyter_client: the kernel listens, but does not answer.
            await self.end(graceful=False)
            raise KernelStartError(f"The kernel does not answer. {error}") from None
        except BaseException:
            await self.end(graceful=False)
            raise

    async def interrupt(self) -> None:
        """Interrupt the cell that runs.  Raises :class:`~gra_provisioner.errors.GraError`."""
        await self._manager.interrupt_kernel()

    async def death(self, message: str) -> GraError:
        """Why the kernel has died.  ``message`` stands in where that is not told in time."""
        deadline = asyncio.get_running_loop().time() + _OBITUARY_WITHIN
        while (end := self._provisioner.kernel_exit) is None:
            if asyncio.get_running_loop().time() > deadline:
                return KernelDied(message or "The kernel has died.")
            await asyncio.sleep(_POLL)
        return describe(end)

    async def end(self, *, graceful: bool, keep: bool = False) -> GraError | None:
        """Shut the kernel down and end the runner, or leave both.  Can be called again.

        ``graceful``: the kernel has 5 s to end by itself.  Returns why results stayed in the
        runner, if they did.
        """
        if self.client.kc is not None:
            self.client.kc.stop_channels()
            self.client.kc = None
        if self._manager.provisioner is None:
            return None
        provisioner = self._provisioner
        try:
            if keep:
                await provisioner.detach()
            else:
                await self._manager.shutdown_kernel(now=not graceful)
        finally:
            await self._manager.cleanup_resources()
        return provisioner.results_left

    @property
    def _provisioner(self) -> GraProvisioner:
        provisioner = self._manager.provisioner
        if not isinstance(provisioner, GraProvisioner):
            raise TypeError(f"the kernel's provisioner is {provisioner!r}")
        return provisioner
