"""What is to be known of runners, whatever the backend."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
from collections.abc import (
    AsyncGenerator,
    Iterable,
    Mapping,
    Sequence,
)
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from .backends.base import (
    Backend,
    NoticeCallback,
    ignore_notice,
)
from .backends.choice import choose
from .backends.local import LocalBackend
from .backends.service_account import in_cluster
from .diagnosis import Finding, good, of_error
from .errors import BackendError, KubeconfigError
from .inspection import SHARED_FOR, Inspector
from .log_streams import as_they_come, by_time
from .logs import LogLine, LogQuery
from .owner import this_owner
from .profiles import Config
from .runner import (
    Change,
    Runner,
    RunnerEvent,
    RunnerSpec,
    Stale,
)
from .s3_diagnosis import diagnose_buckets
from .selection import INSPECTED_KEYS, SelectedChanges, Selection, select

if TYPE_CHECKING:
    from typing_extensions import Self


#: A longer list is not inspected unless that is asked for.
INSPECTED_BY_DEFAULT = 50

EVERY_RUNNER = Selection()


class RunnerReader:
    """Finds runners and tells of them.  See :class:`.service.RunnerService`, which does the rest.

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
        meant = {name_of(name): name for name in names}.values()
        runners = [await self._backend.get(n) if isinstance(n, str) else n for n in meant]
        streams = [self._backend.logs(runner, query, on_notice) for runner in runners]
        merged = as_they_come(streams) if query.follow else by_time(streams)
        async with contextlib.aclosing(merged):
            async for line in merged:
                yield line


def name_of(runner: str | Runner) -> str:
    """The name of a runner that is meant by it or as it was seen."""
    return runner if isinstance(runner, str) else runner.name
