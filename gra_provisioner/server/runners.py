"""Runners: listed, watched, shown, made, ended."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import os
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from ..documents.queries import DeleteQuery, EventsQuery, GetQuery, ListQuery, SortedListQuery
from ..documents.requests import Create
from ..environment import difference
from ..errors import RunnerNotFound
from ..profiles import resolve
from ..progress import LaunchProgress, LogObserver
from ..runner import Runner, RunnerStatus
from ..selection import Selection
from ..service import labels_of_this_process
from . import sse
from .access import not_found
from .calls import ROOT, Call, Reply, Setting, encoded

#: What bodies are called in errors.
BODY = "request body"

_NAME = re.compile(r"runner-[1-9][0-9]{0,8}", re.ASCII)
_ME = "me"


def selection_of(query: ListQuery, owner: str) -> Selection:
    """What a query means; ``owner`` is who ``me`` is."""
    order: dict[str, Any] = {}
    if isinstance(query, SortedListQuery):
        order = {"sort": query.sort, "reverse": query.reverse, "limit": query.limit}
    return Selection(
        owner=owner if query.owner == _ME else query.owner,
        statuses=frozenset(map(RunnerStatus, query.status)),
        profile=query.profile,
        labels={name: value for name, _, value in (text.partition("=") for text in query.label)},
        kernel=query.kernel,
        notebook=query.notebook,
        names=frozenset(query.name),
        **order,
    )


async def find(setting: Setting, name: str) -> Runner:
    """The runner of that name, if it is to be seen; not inspected.

    Raises :class:`RunnerNotFound`, the same for one that is hidden.
    """
    if not _NAME.fullmatch(name):
        raise not_found(name)
    try:
        runner = await setting.service.get(name, inspect=False)
    except RunnerNotFound:
        raise not_found(name) from None
    setting.access.check_seen(runner)
    return runner


async def list_runners(setting: Setting, call: Call) -> Reply:
    """``GET runners``."""
    query: SortedListQuery = call.query
    access = setting.access
    selection = selection_of(query, access.owner)
    runners: Sequence[Runner] = []
    if access.other_owners != "hidden":
        runners = await setting.service.list(selection, inspect=query.inspect)
    elif selection.owner in (None, access.owner):
        # Before the limit, so that others' runners take no place in it.
        mine = dataclasses.replace(selection, owner=access.owner)
        runners = await setting.service.list(mine, inspect=query.inspect)

    stale = setting.service.stale

    def document() -> dict[str, Any]:
        return {
            "runners": [access.public(runner) for runner in runners],
            "backend": setting.service.backend_name,
            "backend_reason": setting.service.backend_reason,
            "owner": access.owner,
            "other_owners": access.other_owners,
            "stale": None if stale is None else stale.public(),
        }

    # Of thousands it takes a while.
    return Reply(200, await asyncio.to_thread(lambda: encoded(document())))


async def watch_runners(setting: Setting, call: Call) -> AsyncGenerator[bytes, None]:
    """``GET runners/watch``."""
    access = setting.access
    ids = itertools.count(1)
    async with aclosing(setting.service.watch(selection_of(call.query, access.owner))) as changes:
        async for change in changes:
            if change.runner is None:
                data = {} if change.stale is None else change.stale.public()
                yield sse.event(change.kind.value, data, next(ids))
            elif access.may_see(change.runner):
                yield sse.event(change.kind.value, access.public(change.runner), next(ids))


async def get_runner(setting: Setting, call: Call) -> Reply:
    """``GET runners/{name}``."""
    query: GetQuery = call.query
    runner = await find(setting, call.names["name"])
    if query.inspect:
        (runner,) = await setting.service.inspect([runner], max_age=0.0)
    return Reply(200, encoded(_document(setting, runner)))


async def list_events(setting: Setting, call: Call) -> Reply:
    """``GET runners/{name}/events``."""
    query: EventsQuery = call.query
    name = call.names["name"]
    if query.uid is None:
        runner: Runner | None = await find(setting, name)
    else:
        runner = await _known(setting, name, query.uid)
    uid = query.uid or (runner.uid if runner is not None else "")
    if runner is not None:
        setting.access.check_seen(runner)
    elif setting.access.other_owners == "hidden":
        # Nobody knows any more whose it was.
        raise not_found(name)
    events = await setting.service.events(name, uid)
    if runner is None and not events:
        raise not_found(name)
    return Reply(200, encoded({"events": [event.public() for event in events]}))


async def _known(setting: Setting, name: str, uid: str) -> Runner | None:
    """The runner of this name and uid as it is, or as it was if that is known."""
    if not _NAME.fullmatch(name):
        raise not_found(name)
    with contextlib.suppress(RunnerNotFound):
        runner = await setting.service.get(name, inspect=False)
        if runner.uid == uid:
            return runner
    return setting.service.last_seen(name, uid)


async def create_runner(setting: Setting, call: Call) -> Reply:
    """``POST runners``."""
    body: Create = call.body
    service = setting.service
    spec = resolve(setting.config, {}, launch=body.launch(), launch_source=BODY)
    if not (body.kernel and body.wait):
        spec = dataclasses.replace(spec, kernel_argv=())
    labels = labels_of_this_process(owner=service.owner)
    progress = LaunchProgress([LogObserver(call.log)])
    if not body.wait:
        return _made(
            setting, call, 202, await service.create(spec, labels, progress, wait=False), progress
        )
    with progress:
        runner = await service.start(
            spec,
            labels,
            # Names that the profile lists; nothing else of the server's goes to a runner.
            env=difference(os.environ, os.environ, spec.forward_env),
            cwd=call.folder,
            on_phase=progress,
        )
    try:
        # As it is now that it has started.
        runner = await service.get(runner.name)
    except asyncio.CancelledError:
        await asyncio.shield(_deleted(setting, runner))
        raise
    return _made(setting, call, 201, runner, progress)


async def end_runner(setting: Setting, call: Call) -> Runner:
    """End the runner that ``DELETE runners/{name}`` names, which is then gone."""
    query: DeleteQuery = call.query
    runner = await find(setting, call.names["name"])
    setting.access.check_used(runner)
    if query.force:
        await setting.service.delete(runner, grace=0.0)
        return runner
    returned = await setting.service.end(runner, grace=query.grace)
    for notice in returned.notices if returned is not None else ():
        call.log.warning("%s", notice)
    return runner


def _document(setting: Setting, runner: Runner) -> dict[str, Any]:
    reason = setting.service.backend_reason
    return {**setting.access.public(runner), "backend_reason": reason}


def _made(
    setting: Setting, call: Call, status: int, runner: Runner, progress: LaunchProgress
) -> Reply:
    document = {**_document(setting, runner), "phases": progress.timings()}
    return Reply(
        status,
        encoded(document),
        {"Location": f"{call.base_url}{ROOT}/runners/{runner.name}"},
        undo=lambda setting: _deleted(setting, runner),
    )


async def _deleted(setting: Setting, runner: Runner) -> None:
    """End a runner that nobody knows of."""
    await setting.service.delete(runner, wait=False)
