"""A copy of the cluster's runner pods that keeps itself up to date: list, watch, and again.

One for each process and namespace, whoever asks.  Where the server can (KEP-3157, on by default
since Kubernetes 1.34), list and watch are one request; else they are two.  A watch that ends goes
on from the last resource version; a version that is too old (410, after a compaction) begins
anew.  A cluster that does not answer makes the copy old, never empty.

See https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import Any, TypeVar

from ...errors import BackendError, ClusterRefused, ClusterUnreachable, GraError
from .client import Client

log = logging.getLogger(__name__)

T = TypeVar("T")
Object = Mapping[str, Any]
# (type, item): ADDED, MODIFIED or DELETED.
Listener = Callable[[str, Object], None]

# The server ends a watch after this; a bookmark comes each minute, so silence means a dead link.
_WATCH_FOR = 300
_SILENCE = 100.0
# After so long without a word it is asked whether it is there, and so long it may take to answer.
_QUIET = 4.0
_ANSWERED_WITHIN = 3.0
# A server whose etcd does not tell of its progress may never say that the list is complete.
_LISTED_WITHIN = 35.0
# A watch that lasted for so long was a good one: after it, the pauses are short again.
_STEADY = 1.0
# Answers to a version that is too old, of another history, or that the server has yet to reach.
_BEGIN_ANEW = frozenset({400, 410, 422, 504})
_FIRST_DELAY = 0.1
_LONGEST_DELAY = 5.0
# Pods that are gone are remembered for whoever asks what became of them.
_REMEMBERED = 1000


class Reflector:
    """Mirrors the objects of ``resource`` that carry ``selector`` (a label selector)."""

    def __init__(self, client: Client, resource: str, selector: str) -> None:
        # Why the copy is not being updated, if it is not.
        self._trouble: GraError | None = None
        # Why the cluster does not answer though the watch has not ended, if it does not.
        self._silent: GraError | None = None
        self._client = client
        self._resource = resource
        self._selector = selector
        self._objects: dict[str, Object] = {}
        self._gone: OrderedDict[str, Object] = OrderedDict()
        self._listeners: list[Listener] = []
        self._version = ""
        self._streams_lists = True
        self._synced = asyncio.Event()
        self._failed = asyncio.Event()
        self._heard = 0.0
        # When the cluster last answered anything: by the loop's clock, and since the epoch.
        self._answered = 0.0
        self._answered_at = 0.0
        self._task: asyncio.Task[None] | None = None
        self._probe: asyncio.Task[None] | None = None
        self._closed = False

    # -- for readers ------------------------------------------------------------------------

    async def synced(self) -> None:
        """Wait until there has been a whole copy; it may be old by now (:attr:`trouble`).

        Raises what stands in the way if there has never been one.
        """
        if self._closed:
            raise ClusterUnreachable("The connection to the cluster was closed.")
        task = self._task
        # Only a fault of our own ends it, which has been said; a dead copy would never tell.
        if task is None or task.done():
            task = asyncio.create_task(self._run(), name=f"gra reflector {self._resource}")
            task.add_done_callback(self._on_task_done)
            self._task = task
        if self._synced.is_set():
            return
        waits = [asyncio.ensure_future(event.wait()) for event in (self._synced, self._failed)]
        try:
            await asyncio.wait((*waits, task), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if not self._synced.is_set():
            raise self.trouble or ClusterUnreachable("The connection to the cluster was closed.")

    @property
    def is_kept(self) -> bool:
        """Whether there is a copy, or is about to be one: somebody has asked for it."""
        return self._task is not None and not self._task.done()

    def objects(self) -> list[Object]:
        """All objects there are."""
        return list(self._objects.values())

    def by_name(self, name: str) -> Object | None:
        """The object of that name."""
        return self._objects.get(name)

    def by_uid(self, name: str, uid: str) -> Object | None:
        """The object of that name if it is still the same one."""
        found = self._objects.get(name)
        return found if found is not None and found["metadata"]["uid"] == uid else None

    def last_seen(self, uid: str) -> Object | None:
        """The last state of an object that is gone."""
        return self._gone.get(uid)

    @property
    def trouble(self) -> GraError | None:
        """What stands between this copy and the cluster, if anything is known to."""
        return self._trouble or self._silent

    @property
    def answered_at(self) -> float:
        """When the cluster last gave word, in seconds since the epoch."""
        return self._answered_at

    @property
    def age(self) -> float:
        """Seconds since the cluster was last heard of."""
        return asyncio.get_running_loop().time() - self._heard

    def probe_soon(self) -> None:
        """Have the cluster asked whether it is there, if it has said nothing for some seconds.

        Called every few seconds while a page is told what changes: a watch on which nothing comes
        looks the same where nothing happens and where nobody answers any more.  At most one
        request at a time, of a fixed answer.
        """
        quiet = asyncio.get_running_loop().time() - self._answered
        under_way = self._probe is not None and not self._probe.done()
        if self._trouble is None and quiet >= _QUIET and not under_way and not self._closed:
            self._probe = asyncio.create_task(self._ask(), name="gra probe")

    @contextlib.contextmanager
    def listening(self, listener: Listener) -> Any:
        """Tell ``listener`` of each change while the context lasts."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)

    # -- for writers ------------------------------------------------------------------------

    def observe(self, item: Object) -> None:
        """Take an answer of the API in, ahead of the watch, which will bring it too."""
        self._apply("MODIFIED", item)

    def observe_gone(self, name: str, uid: str) -> None:
        """The API says that the object is gone."""
        known = self.by_uid(name, uid)
        if known is not None:
            self._apply("DELETED", known)

    async def close(self) -> None:
        """Stop watching, for good."""
        self._closed = True
        tasks = [task for task in (self._task, self._probe) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    # -- the watch --------------------------------------------------------------------------

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        delay = _FIRST_DELAY
        while True:
            begun = loop.time()
            try:
                await self._follow()
                if loop.time() - begun > _STEADY:
                    delay = _FIRST_DELAY
            except ClusterRefused as error:
                if error.status in _BEGIN_ANEW:
                    # What happened in between is no longer told: a new list tells what is.
                    self._version = ""
                if error.status != 410:
                    self._note(error)
            except GraError as error:
                self._note(error)
            # Many processes whose API server comes back must not all knock at once.
            await asyncio.sleep(delay * random.uniform(1.0, 1.5))  # noqa: S311
            delay = min(delay * 2, _LONGEST_DELAY)

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.error("the watch of the runners failed", exc_info=error)
            self._note(BackendError(f"The watch of the runners failed: {type(error).__name__}."))

    def _note(self, error: GraError) -> None:
        if self._trouble is None or self._trouble.code != error.code:
            log.info("the list of runners is not being updated: %s", error.message)
        self._trouble = error
        self._failed.set()

    def _well(self) -> None:
        if self.trouble is not None:
            log.info("the list of runners is up to date again")
        self._trouble = None
        self._failed.clear()
        self._heard = asyncio.get_running_loop().time()
        self._is_there()

    def _is_there(self) -> None:
        self._silent = None
        self._answered = asyncio.get_running_loop().time()
        self._answered_at = time.time()

    async def _ask(self) -> None:
        try:
            await self._client.ping(_ANSWERED_WITHIN)
        except GraError as error:
            if self._silent is None:
                log.info("the cluster does not answer: %s", error.message)
            self._silent = error
        else:
            self._is_there()

    async def _follow(self) -> None:
        """One watch, from where the last one ended, until the server ends it."""
        query = [
            ("labelSelector", self._selector),
            ("allowWatchBookmarks", "true"),
            ("timeoutSeconds", str(_WATCH_FOR)),
        ]
        listing = False
        if self._version:
            query.append(("resourceVersion", self._version))
        elif self._streams_lists:
            query += [("sendInitialEvents", "true"), ("resourceVersionMatch", "NotOlderThan")]
            listing = True
        else:
            await self._list()
            query.append(("resourceVersion", self._version))
        try:
            async with self._client.watch(self._resource, query, _SILENCE) as events:
                self._well()
                if listing:
                    await bounded(self._take_list(events), _LISTED_WITHIN)
                    listing = False
                await self._take_changes(events)
        except asyncio.TimeoutError:
            self._streams_lists = False
        except ClusterRefused as error:
            if not listing or error.status not in (400, 422):
                raise
            # An older server does not know the parameter, or has it switched off.
            self._streams_lists = False

    async def _take_list(self, events: AsyncIterator[dict[str, Any]]) -> None:
        """Take in what there is, which the server ends with a bookmark (KEP-3157)."""
        fresh: dict[str, Object] = {}
        async for event in events:
            self._well()
            kind, item = event["type"], event["object"]
            if kind == "ERROR":
                self._streams_lists = False
                raise _watch_error(item)
            if kind == "DELETED":
                # While the list was being told.
                fresh.pop(item["metadata"]["name"], None)
                self._apply(kind, item)
            elif kind != "BOOKMARK":
                fresh[item["metadata"]["name"]] = item
            elif _ends_the_list(item):
                self._version = item["metadata"]["resourceVersion"]
                self._replace(fresh, self._version)
                return
        # It ended before the list did.
        self._streams_lists = False

    async def _take_changes(self, events: AsyncIterator[dict[str, Any]]) -> None:
        """Take in what changes, until the watch ends."""
        try:
            async for event in events:
                self._well()
                kind, item = event["type"], event["object"]
                if kind == "ERROR":
                    raise _watch_error(item)
                self._version = item["metadata"]["resourceVersion"]
                if kind != "BOOKMARK":
                    self._apply(kind, item)
        except ClusterUnreachable as error:
            # The ordinary end of a connection: whether there is trouble, the next one tells.
            log.debug("the watch of the runners ended: %s", error.message)

    async def _list(self) -> None:
        answer = await self._client.request(
            "GET", self._resource, query=[("labelSelector", self._selector)]
        )
        self._well()
        self._version = answer["metadata"]["resourceVersion"]
        self._replace({item["metadata"]["name"]: item for item in answer["items"]}, self._version)

    def _replace(self, fresh: Mapping[str, Object], version: str) -> None:
        for name, item in list(self._objects.items()):
            kept = fresh.get(name)
            gone = kept is None or kept["metadata"]["uid"] != item["metadata"]["uid"]
            # An object made since, which its creator has told of already, is in no list yet.
            if gone and not _is_later(item["metadata"]["resourceVersion"], version):
                self._apply("DELETED", item)
        for item in fresh.values():
            self._apply("MODIFIED", item)
        self._synced.set()

    def _apply(self, kind: str, item: Object) -> None:
        meta = item["metadata"]
        name, uid = meta["name"], meta["uid"]
        known = self._objects.get(name)
        if kind == "DELETED":
            self._remember(item)
            if known is not None and known["metadata"]["uid"] == uid:
                del self._objects[name]
        elif uid in self._gone or (known is not None and _is_newer(known, item)):
            return
        else:
            if known is not None and known["metadata"]["uid"] != uid:
                self._remember(known)
            self._objects[name] = item
        for listener in list(self._listeners):
            listener(kind, item)

    def _remember(self, item: Object) -> None:
        self._gone[item["metadata"]["uid"]] = item
        while len(self._gone) > _REMEMBERED:
            self._gone.popitem(last=False)


async def bounded(work: Coroutine[Any, Any, T], seconds: float) -> T:
    """:func:`asyncio.wait_for`, which before Python 3.12 may lose a cancellation (gh-86296).

    Raises :class:`asyncio.TimeoutError`.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait((task,), timeout=seconds)
        if not task.done():
            raise asyncio.TimeoutError
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait((task,))


def _ends_the_list(bookmark: Object) -> bool:
    annotations = bookmark["metadata"].get("annotations") or {}
    return annotations.get("k8s.io/initial-events-end") == "true"


def _is_newer(known: Object, item: Object) -> bool:
    """Whether ``known`` is a later state of what has the name that both have."""
    return _is_later(known["metadata"]["resourceVersion"], item["metadata"]["resourceVersion"])


def _is_later(one: str, other: str) -> bool:
    """Resource versions of one resource are compared as numbers (KEP-5504)."""
    return one.isdigit() and other.isdigit() and int(one) > int(other)


def _watch_error(status: Object) -> ClusterRefused:
    return ClusterRefused(
        f"The API server ended the watch: {status.get('message')}",
        reason=str(status.get("reason") or "WatchEnded"),
        status=int(status.get("code") or 500),
    )
