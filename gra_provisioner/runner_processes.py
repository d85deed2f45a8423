"""Processes in runners, and their ports, whatever the backend."""

from __future__ import annotations

import contextlib
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Mapping,
    Sequence,
)
from functools import partial

from .backends.base import (
    PhaseCallback,
    ignore_phase,
)
from .execution import LIMIT, Ended, Execution
from .runner import (
    Runner,
)
from .runner_reader import RunnerReader, name_of
from .starting import until_started
from .tunnel.client import Tunnel
from .tunnel.forward import PortForward
from .tunnel.process import Output, RemoteProcess, kept_of, stream_to_end


class RunnerProcesses(RunnerReader):
    """Runs commands in runners.  See :class:`.service.RunnerService`."""

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
                stream_to_end(process, name_of(name), stdin=stdin, timeout=timeout)
            ) as pieces,
        ):
            async for piece in pieces:
                yield piece
