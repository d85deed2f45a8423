"""Runs operations on gra's background loop, where the kernels' tunnels and the one watch are.

A :class:`Host` belongs to the server's loop.  Whatever it runs there is given up when its client
goes away, and ended when the server stops.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Mapping
from typing import Any, TypeVar

from ..errors import GraError
from ..tunnel.thread import Lease
from .bridge import Bridge, ConsumerGone
from .calls import Answered, Call, OnServer, Reply, Server, Setting, Streamed
from .services import Services

T = TypeVar("T")

# How long the server's stop may be held up: a launch that is given up takes its runner back.
_GIVEN_UP_WITHIN = 10.0
# And by clients that do not read what they are told of it.
_ANSWERED_WITHIN = 2.0
# So that who is told of 5,000 runners does not hold up the tunnels of this process.
_PIECES_AT_ONCE = 64


Begun = Callable[["asyncio.Task[Any]"], None]


def ignore_task(task: asyncio.Task[Any]) -> None:
    """A :data:`Begun` for those who do not give the work up."""


class Job:
    """An operation under way, which may be given up.  Belongs to the server's loop."""

    def __init__(self, host: Host, work: Callable[[Setting], Coroutine[Any, Any, Reply]]) -> None:
        self._host = host
        self._work = work
        self._task: asyncio.Task[Any] | None = None
        self._given_up = False

    async def run(self) -> Reply | None:
        """The answer; None if it was given up before there was one.  Raises :class:`GraError`."""
        try:
            return await self._host.run(self._work, self._begun)
        except asyncio.CancelledError:
            if self._given_up:
                return None
            raise

    def give_up(self) -> None:
        """Nobody waits for the answer any more.  What is done already is done."""
        self._given_up = True
        task = self._task
        if task is not None:
            with contextlib.suppress(RuntimeError):
                # Raised where the loop is closed, and so the task done.
                task.get_loop().call_soon_threadsafe(task.cancel)

    def _begun(self, task: asyncio.Task[Any]) -> None:
        self._task = task
        if self._given_up:
            task.cancel()


class JobHere:
    """As :class:`Job`, of an operation whose ``task`` runs on the server's loop."""

    def __init__(self, host: Host, task: asyncio.Task[Reply]) -> None:
        self._host = host
        self._task = task

    async def run(self) -> Reply | None:
        """The answer; None if it was given up before there was one.  Raises :class:`GraError`."""
        try:
            await asyncio.wait((self._task,))
        finally:
            self._task.cancel()
        if not self._task.cancelled():
            return self._task.result()
        if self._host.stopping:
            raise stopping()
        return None

    def give_up(self) -> None:
        """Nobody waits for the answer any more.  What was begun is taken back."""
        self._task.cancel()


class Host:
    """What stands between the request handlers and the service.

    ``environ`` is the server's environment.  The background loop is held from the first operation
    on until :meth:`close`.
    """

    def __init__(self, environ: Mapping[str, str], log: logging.Logger) -> None:
        self.stopping = False
        # How many operations run that change something or run a command.
        self.working = 0
        self._environ = environ
        self._log = log
        self._lease: Lease | None = None
        # On the background loop.
        self._services: Services | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        # On the server's: what runs there, and who is yet to answer.
        self._here: set[asyncio.Task[Reply]] = set()
        self._answering: set[asyncio.Task[Any]] = set()

    @contextlib.contextmanager
    def answering(self, *, works: bool) -> Iterator[None]:
        """For as long as the block runs, :meth:`close` waits for it.

        ``works``: it is no mere look, so that :attr:`working` counts it.
        """
        task = asyncio.current_task()
        if task is not None:
            self._answering.add(task)
        self.working += works
        try:
            yield
        finally:
            self.working -= works
            if task is not None:
                self._answering.discard(task)

    def answer(self, operation: Answered, call: Call) -> Job:
        """An operation that runs to its end once it is awaited."""

        async def work(setting: Setting) -> Reply:
            return await operation.run(setting, call)

        return Job(self, work)

    def answer_here(self, operation: OnServer, server: Server, call: Call) -> JobHere:
        """An operation that runs on the server's loop, from now on."""

        async def work() -> Reply:
            if self.stopping:
                raise stopping()
            return await operation.run(server, call)

        task = asyncio.create_task(work(), name="gra operation")
        self._here.add(task)
        task.add_done_callback(self._here.discard)
        return JobHere(self, task)

    async def undo(self, reply: Reply) -> None:
        """Take back what a client that is gone was to be told of."""
        if reply.undo_here is not None:
            await reply.undo_here()
        undo = reply.undo
        if undo is None:
            return

        async def work(setting: Setting) -> None:
            await undo(setting)

        await self.run(work)

    async def run(
        self, work: Callable[[Setting], Coroutine[Any, Any, T]], begun: Begun = ignore_task
    ) -> T:
        """Do some work on the background loop.  ``begun`` is told its task, on that loop.

        Raises :class:`GraError`.
        """
        try:
            return await self._run(self._tracked(work, begun))
        except asyncio.CancelledError:
            if self.stopping:
                raise stopping() from None
            raise

    def stream(self, operation: Streamed, call: Call) -> tuple[Bridge, asyncio.Future[None]]:
        """Begin to run an operation.  What it gives comes over the bridge, and its error.

        Cancelling the future gives it up.
        """
        bridge = Bridge()

        async def work(setting: Setting) -> None:
            await self._pump(operation.run(setting, call), bridge)

        def end(done: asyncio.Future[None]) -> None:
            bridge.end(stopping() if done.cancelled() else done.exception())

        running: asyncio.Future[None] = asyncio.ensure_future(self._run(self._tracked(work)))
        running.add_done_callback(end)
        return bridge, running

    async def close(self) -> None:
        """End what runs, wait for the answers, and release the background loop."""
        self.stopping = True
        for task in self._here:
            task.cancel()
        if self._here:
            await asyncio.wait(list(self._here), timeout=_GIVEN_UP_WITHIN)
        lease, self._lease = self._lease, None
        if lease is not None:
            try:
                await lease.run(self._close())
            except GraError as error:
                self._log.warning("gra was not closed in good order: %s", error.message)
            finally:
                lease.release()
        if self._answering:
            await asyncio.wait(list(self._answering), timeout=_ANSWERED_WITHIN)

    # -- inside -----------------------------------------------------------------------------

    async def _run(self, work: Coroutine[Any, Any, T]) -> T:
        if self.stopping:
            work.close()
            raise stopping()
        if self._lease is None:
            self._lease = Lease(self._close)
        return await self._lease.run(work)

    async def _tracked(
        self, work: Callable[[Setting], Coroutine[Any, Any, T]], begun: Begun = ignore_task
    ) -> T:
        """On the background loop: do some work with the service."""
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            begun(task)
        try:
            if self._services is None:
                self._services = Services(self._environ, self._log)
            async with self._services.use() as setting:
                return await work(setting)
        finally:
            if task is not None:
                self._tasks.discard(task)

    @staticmethod
    async def _pump(pieces: AsyncGenerator[bytes, None], bridge: Bridge) -> None:
        count = 0
        async with contextlib.aclosing(pieces):
            with contextlib.suppress(ConsumerGone):
                async for piece in pieces:
                    if not piece:
                        continue
                    await bridge.put(piece)
                    count += 1
                    if count % _PIECES_AT_ONCE == 0:
                        await asyncio.sleep(0)

    async def _close(self) -> None:
        """On the background loop: end what runs there, and the service."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_GIVEN_UP_WITHIN)
        services, self._services = self._services, None
        if services is not None:
            await services.close()


def stopping() -> GraError:
    """What is said to those whose request the server's stop has ended."""
    return GraError(
        "The server is being stopped.",
        hint="Runners go on. Ask again when the server is back.",
        reason="ServerStopping",
    )
