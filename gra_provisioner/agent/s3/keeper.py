"""Keeps one mount: makes it, looks after it, makes it again."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import Callable, List, NamedTuple, Optional, Protocol, Set

from ..failure import AgentError
from ..reaper import Reaper
from .answers import of_exception
from .mount import FAILED, FAILING, MOUNTED, STARTING, WAITING, Mount, Status
from .probe import BOUND, probe
from .process import S3fs
from .s3fs import Cache
from .signing import Credentials
from .threads import in_thread

# Seconds between two looks at a mount, where all is well and where it is not.
_LOOK = 10.0
_LOOK_SOON = 2.0
# Between two attempts to mount: at first, and at the most.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 10.0
#: s3fs that has not answered for so many seconds is killed.
STUCK = 30.0
# What still uses a mount that was replaced may do so for this long.
_RETIRED = 300.0
_REFUSED = frozenset(("S3AccessKeyUnknown", "S3SecretKeyWrong", "S3TokenExpired", "S3AccessDenied"))


class Ground(Protocol):
    """See :mod:`.ground`."""

    def ready(self) -> bool: ...
    def prepare(self, mount: Mount) -> str: ...
    def show(self, mount: Mount, folder: str) -> None: ...
    def retire(self, folder: str) -> None: ...
    def release(self, mount: Mount, folder: Optional[str]) -> None: ...


class Tools(NamedTuple):
    """What all mounts share.  ``find_credentials`` raises AgentError where there are none."""

    ground: Ground
    cache: Cache
    reaper: Reaper
    find_credentials: Callable[[Mount], Optional[Credentials]]
    log: Callable[[str], None]
    patience: float = STUCK


class Keeper:
    """See the module.  ``on_change`` is called whenever ``status`` says something new."""

    def __init__(self, mount: Mount, tools: Tools, on_change: Callable[[], None]) -> None:
        self.mount = mount
        self.status = Status(STARTING, since=time.time())
        self._tools = tools
        self._on_change = on_change
        self._woken = asyncio.Event()
        self._process: Optional[S3fs] = None
        self._used: Optional[Credentials] = None
        self._retired: Set[asyncio.Task[None]] = set()
        # Whether the mount is to be made, or shown, anew although s3fs is well.
        self._show_again = False
        self._closing = False
        self._task = asyncio.ensure_future(self._run())

    def wake(self, *, show_again: bool = False) -> None:
        """Credentials or the namespace may be others now.  What failed is being tried again."""
        self._show_again = self._show_again or show_again
        if self.status.state in (FAILED, WAITING) or self._has_other():
            self._set(Status(STARTING))
        self._woken.set()

    async def close(self, bound: float) -> None:
        """Unmount and end s3fs, which first writes what it has, within ``bound`` seconds."""
        self._closing = True
        self._task.cancel()
        await asyncio.wait([self._task])
        process, self._process = self._process, None
        try:
            self._tools.ground.release(self.mount, process.folder if process else None)
        except OSError as error:
            self._tools.log(f"{self.mount.path} could not be unmounted: {error.strerror}")
        if process is not None:
            await self._end(process, bound)
        for task in self._retired:
            task.cancel()
        if self._retired:
            await asyncio.wait(self._retired)

    async def _end(self, process: S3fs, bound: float) -> None:
        """Unmounted, it ends by itself once nobody uses it."""
        if await process.until_ended(bound):
            return
        process.kill(signal.SIGTERM)
        if not await process.until_ended(1.0):
            process.kill(signal.SIGKILL)
            await process.until_ended(1.0)

    # -- the mount's life -------------------------------------------------------------------

    async def _run(self) -> None:
        pause = _FIRST_PAUSE
        while not self._closing:
            self._woken.clear()
            try:
                await self._make()
            except (AgentError, OSError) as error:
                self._fail(_as_agent_error(error))
                await self._wait(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
                continue
            began = time.monotonic()
            await self._watch()
            if time.monotonic() - began > _LOOK:
                pause = _FIRST_PAUSE

    async def _make(self) -> None:
        """Mount, and show it where it is wanted.  Raises :class:`AgentError`."""
        tools = self._tools
        credentials = tools.find_credentials(self.mount)
        problem = await self._probe(credentials)
        if problem is not None:
            raise problem
        before = self._process
        folder = tools.ground.prepare(self.mount)
        try:
            process = await S3fs.start(self.mount, folder, tools.cache, credentials, tools.reaper)
        except BaseException:
            self._retire_folder(folder)
            raise
        used = self._used
        self._process, self._used = process, credentials
        try:
            await self._show()
        except (AgentError, OSError):
            # What was shown before stays.
            self._process, self._used = before, used
            process.kill(signal.SIGTERM)
            self._retire_folder(folder)
            raise
        except asyncio.CancelledError:
            self._retire(before)
            raise
        self._retire(before)
        self._set(Status(MOUNTED))

    async def _show(self) -> None:
        if self._process is None:
            return
        while not self._tools.ground.ready():
            await self._woken.wait()
            self._woken.clear()
        self._show_again = False
        self._tools.ground.show(self.mount, self._process.folder)

    async def _watch(self) -> None:
        """Look after the mount until it is to be made anew."""
        process = self._process
        silent_since: Optional[float] = None
        while process is not None:
            soon = self.status.state != MOUNTED or silent_since is not None
            await self._wait(_LOOK_SOON if soon else _LOOK, process)
            woken = self._woken.is_set()
            self._woken.clear()
            if process.ended.done():
                self._lost(f"s3fs {process.ended.result()}{process.last_words()}")
                return
            if woken and self._has_other():
                return
            if self._show_again:
                await self._show_or_fail()
            now = time.monotonic()
            if not await process.answers(_LOOK_SOON):
                silent_since = silent_since or now
                patience = self._tools.patience
                self._trouble(_stuck(self.mount, patience))
                if now - silent_since >= patience:
                    process.kill(signal.SIGKILL)
                    await process.until_ended(_LOOK_SOON)
                continue
            silent_since = None
            problem = await self._probe(self._used)
            if problem is None:
                self._set(Status(MOUNTED))
                continue
            self._trouble(problem)
            if problem.reason in _REFUSED and self._has_other():
                return

    async def _show_or_fail(self) -> None:
        try:
            await self._show()
        except (AgentError, OSError) as error:
            self._trouble(_as_agent_error(error))

    def _has_other(self) -> bool:
        """Whether there are other credentials than those that s3fs has."""
        try:
            found = self._tools.find_credentials(self.mount)
            return self._process is not None and found != self._used
        except AgentError:
            return False

    async def _probe(self, credentials: Optional[Credentials]) -> Optional[AgentError]:
        stage: List[str] = []
        try:
            return await in_thread(lambda: probe(self.mount, credentials, stage=stage), BOUND)
        except asyncio.TimeoutError as error:
            return of_exception(self.mount, error, stage[-1] if stage else "")

    async def _wait(self, seconds: float, process: Optional[S3fs] = None) -> None:
        """Until something has changed, at the most so long."""
        woken = asyncio.ensure_future(self._woken.wait())
        waited: List[asyncio.Future[object]] = [woken]  # type: ignore[list-item]
        if process is not None:
            waited.append(process.ended)  # type: ignore[arg-type]
        try:
            await asyncio.wait(waited, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            woken.cancel()

    # -- mounts that were replaced ------------------------------------------------------------

    def _retire(self, process: Optional[S3fs]) -> None:
        if process is None:
            return
        self._retire_folder(process.folder)
        if not process.ended.done():
            task = asyncio.ensure_future(self._end_retired(process))
            self._retired.add(task)
            task.add_done_callback(self._retired.discard)

    async def _end_retired(self, process: S3fs) -> None:
        try:
            await self._end(process, _RETIRED)
        except asyncio.CancelledError:
            process.kill(signal.SIGTERM)
            raise

    def _retire_folder(self, folder: str) -> None:
        # On a host the new one may be at the same path by now.
        if (
            self._process is not None
            and self._process.folder == folder
            and (not self._process.ended.done())
        ):
            return
        try:
            self._tools.ground.retire(folder)
        except OSError as error:
            self._tools.log(f"{folder} could not be unmounted: {error.strerror}")

    # -- the status ---------------------------------------------------------------------------

    def _lost(self, what: str) -> None:
        error = AgentError(
            "S3MountFailed",
            f"{what}; it is being started again.",
            "If it happens again, the sidecar or the runner may have too little memory.",
        )
        self._set(Status.of_error(FAILING, error, 0.0))

    def _trouble(self, error: AgentError) -> None:
        self._set(Status.of_error(FAILING, error, 0.0))

    def _fail(self, error: AgentError) -> None:
        state = WAITING if error.reason == "S3CredentialsMissing" else FAILED
        self._set(Status.of_error(state, error, 0.0))

    def _set(self, status: Status) -> None:
        if self.status.same_as(status):
            return
        self.status = status._replace(since=round(time.time(), 3))
        said = f": {status.reason}: {status.message}" if status.reason else ""
        self._tools.log(f"{self.mount.source} at {self.mount.path} is {status.state}{said}")
        self._on_change()


def _as_agent_error(error: Exception) -> AgentError:
    """What the system refuses (memory, descriptors, space) in the words of a mount."""
    if isinstance(error, AgentError):
        return error
    what = getattr(error, "strerror", None) or type(error).__name__
    return AgentError(
        "S3MountFailed",
        f"The system where the mount is made refused: {what}.",
        "It is tried again; the sidecar, or the host, may be short of memory or disk.",
    )


def _stuck(mount: Mount, patience: float) -> AgentError:
    return AgentError(
        "S3Stuck",
        f"s3fs of {mount.path} does not answer.",
        f"If it does not for {patience:g} s, it is killed and started again.",
    )


def credentials_in(folder: str, mount: Mount) -> Credentials:
    """A Secret's key, as files.  Raises :class:`AgentError` ``S3CredentialsMissing``."""
    key = Credentials(*(_content(os.path.join(folder, mount.id, n)) for n in Credentials._fields))
    if not key.access_key or not key.secret_key:
        raise AgentError(
            "S3CredentialsMissing",
            f"The Secret of {mount.source} has no access key or no secret key.",
            "Check the Secret's keys: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY by default.",
        )
    return key


def missing(mount: Mount) -> AgentError:
    """The error for a mount whose user has not sent credentials yet."""
    return AgentError(
        "S3CredentialsMissing",
        f"{mount.source} waits for the user's credentials.",
        "They come with the start of a kernel: start or restart one.",
    )


def _content(path: str) -> str:
    """A small file's, or nothing."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().strip()
    except (OSError, UnicodeDecodeError):
        return ""
