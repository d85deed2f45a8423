"""Directories that go with runners, for the service: brought, fetched, remembered and forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from functools import partial

from ..errors import GraError, ResultsNotFetched, RunnerEnded, RunnerNotFound
from ..runner import Runner, RunnerSpec
from ..tunnel.process import RemoteProcess
from . import sync
from .records import Record, Records
from .survey import Survey, home_of, survey
from .sync import Returned
from .transfer import FarEnd

#: Starts a command in a runner, in a directory or (None) where its agent is.
StartIn = Callable[[Runner, Sequence[str], str | None], AbstractAsyncContextManager[RemoteProcess]]
OnPhase = Callable[[str, str], None]

#: The phase of a launch in which the directory is copied.
PHASE = "syncing"

_LOOK_EVERY = 0.1
_OTHER_WITHIN = 120.0


class Courier:
    """Brings directories into runners and results back.

    ``environ`` is the environment of the client's process.  Belongs to the loop it is used on.
    """

    def __init__(self, records: Records, start: StartIn, environ: Mapping[str, str]) -> None:
        self._records = records
        self._start = start
        self._home = home_of(environ)

    async def survey(self, spec: RunnerSpec, folder: str | None) -> Survey | None:
        """What is to be brought; None if that is nothing.

        Called before there is a runner.  Raises :class:`~..errors.FolderNotCopied`.
        """
        if spec.workspace.sync != "notebook" or folder is None:
            return None
        return await asyncio.to_thread(survey, folder, spec.workspace, self._home)

    async def bring(
        self, runner: Runner, spec: RunnerSpec, surveyed: Survey, on_phase: OnPhase
    ) -> None:
        """Copy a directory into a runner that has just started, before its kernel does.

        Raises :class:`~..errors.FolderNotCopied` and what the tunnel does.
        """
        record = await sync.send(
            self._far(runner, spec.working_dir),
            runner.name,
            runner.uid,
            surveyed,
            spec.working_dir,
            spec.workspace.keep,
            partial(on_phase, PHASE),
        )
        await asyncio.to_thread(self._records.write, record)

    async def fetch(self, runner: Runner) -> Returned | None:
        """Copy back what was changed in a runner; None where none of it is this machine's.

        Where the runner has ended before, or keeps what could not be copied in a workspace that
        outlives it, that is told in the :class:`~.sync.Returned`.  Raises
        :class:`~..errors.ResultsNotFetched`: then only the runner has it.
        """
        if await asyncio.to_thread(self._records.read, runner.uid) is None:
            return None
        lock = await self._lock(runner)
        try:
            # Another process may be done with it by now.
            record = await asyncio.to_thread(self._records.read, runner.uid)
            return None if record is None else await self._fetch(runner, record)
        finally:
            self._records.unlock(lock)

    async def _fetch(self, runner: Runner, record: Record) -> Returned:
        nothing = Returned(record.runner, record.folder, record.there)
        try:
            far = self._far(runner, record.directory)
            returned, remembered = await sync.take_back(far, record)
            await asyncio.to_thread(self._records.write, remembered)
            sync.check_complete(returned, record)
            return returned
        except (RunnerEnded, RunnerNotFound) as error:
            # Whoever deletes it may have fetched all just before.
            return (
                nothing if record.fetched else replace(nothing, lost=_lost(runner, record, error))
            )
        except ResultsNotFetched as error:
            if not record.stays:
                raise
            return replace(nothing, lost=str(error))
        except GraError as error:
            raise sync.not_fetched(record, error) from error

    async def forget(self, uid: str) -> None:
        """Forget a runner that is gone."""
        await asyncio.to_thread(self._records.remove, uid)

    def _far(self, runner: Runner, directory: str | None) -> FarEnd:
        return FarEnd(lambda argv: self._start(runner, argv, directory), runner.name)

    async def _lock(self, runner: Runner) -> int:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _OTHER_WITHIN
        while (lock := self._records.lock(runner.uid)) is None:
            if loop.time() > deadline:
                raise ResultsNotFetched(
                    f"Another process is copying from {runner.name}, for longer than "
                    f"{_OTHER_WITHIN:g} s.",
                    hint="Try again once that has ended.",
                )
            await asyncio.sleep(_LOOK_EVERY)
        return lock


def _lost(runner: Runner, record: Record, error: GraError) -> str:
    what = f"What was changed in {runner.name} did not come back to {record.folder}"
    if record.stays:
        return f"{what}, it stays in the workspace: {error.message}"
    return f"{what}, and is lost: {error.message}"
