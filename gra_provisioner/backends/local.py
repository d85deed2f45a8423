"""Runners as detached processes of this host: for laptops, and wherever no cluster is configured.

It isolates nothing: a runner is a process of the user's, with the user's files.  All that is
known of one is in its folder ``runners/runner-N``, which only the user may enter::

    runner.json   what it is (written by whoever made it)
    agent.sock    where its agent listens
    agent.log     what the agent did and the kernel wrote
    kernel.json   the kernel's connection file inside the runner
    kernel.pid    the kernel's process
    ended.json    why the agent ended, once it has
    deleted       who is deleting it

Making the folder is the lock on its number.  A process is known by pid and start time, so that
neither a pid used again nor a reboot is taken for a runner.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import agent as agent_package
from ..diagnosis import Finding
from ..errors import RunnerEnded, RunnerNotFound, Unreachable
from ..logs import LogLine, LogQuery
from ..owner import this_client
from ..runner import (
    Change,
    ChangeKind,
    Runner,
    RunnerEvent,
    RunnerLabels,
    RunnerSpec,
    RunnerStatus,
    Stale,
)
from ..s3_mounts import not_here
from ..selection import Selection
from . import process
from .base import NoticeCallback, PhaseCallback, ignore_notice, ignore_phase
from .changes import Changes
from .local_agent import start_agent, until_ready
from .local_diagnosis import findings, look
from .local_logs import local_logs
from .local_records import Records, labels_of, resources_of, state_errors, unusable, write_json

# A record without an agent that is older than this was left by a client that was killed.
_ABANDONED_AFTER = 60.0
# How long after the end of its agent a runner that is being deleted is gone.
_REMOVED_WITHIN = 0.5
# How long the record of a runner that ended by itself stays, for whoever asks why.
_KEEP_ENDED = 3600.0
# How often, in seconds, a watch looks: no system tells of a process that is not its child.
_LOOK_EVERY = 1.0
# The longest path that fits a unix socket's address on every system.
_LONGEST_SOCKET = 100


class LocalBackend:
    """Implements :class:`.base.Backend` with processes and folders.

    ``root`` is the state folder (``…/gra``); ``python`` the interpreter of agents and kernels.
    """

    name = "local"

    def __init__(
        self,
        root: Path,
        python: str = sys.executable,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._folder = root / "runners"
        self._records = Records(self._folder)
        self._python = python
        self._environ = environ
        # Agents that this process started: it is their parent, so it must wait for them.
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    # -- Backend ----------------------------------------------------------------------------

    async def create(
        self,
        spec: RunnerSpec,
        labels: RunnerLabels,
        on_phase: PhaseCallback = ignore_phase,
        *,
        wait: bool = True,
    ) -> Runner:
        """See :meth:`.base.Backend.create`.  Always waits: an agent listens within a moment."""
        wrong = not_here(spec)
        if wrong is not None:
            raise wrong
        with state_errors(self._folder):
            self._prune()
            folder = self._records.claim()
        uid = secrets.token_hex(16)
        record: dict[str, Any] = {
            "name": folder.name,
            "uid": uid,
            "profile": spec.profile,
            "owner": labels.owner,
            "kernel_id": labels.kernel_id,
            "kernel_name": labels.kernel_name,
            "notebook": labels.notebook,
            "client_host": labels.client_host,
            "created": time.time(),
            "agent_pid": None,
            "agent_identity": None,
            "spec": spec.public(),
        }
        on_phase("starting", f"{folder.name}: starting a local runner (it isolates nothing)")
        try:
            with state_errors(folder):
                write_json(folder / "runner.json", record)
                child, ready = start_agent(folder, uid, spec, self._python, self._environ)
            self._children[uid] = child
            record["agent_pid"] = child.pid
            record["agent_identity"] = process.identity(child.pid)
            with state_errors(folder):
                write_json(folder / "runner.json", record)
            await until_ready(ready, child, folder)
        except BaseException:
            # Whatever went wrong, a cancelled launch included, nothing is left behind.
            self._end_now(folder, record)
            raise
        return self._runner(record, folder)

    async def check(self) -> None:
        """See :meth:`.base.Backend.check`.  Makes no folder that is not there."""
        folder = self._folder
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        if not (folder.is_dir() and os.access(folder, os.R_OK | os.W_OK | os.X_OK)):
            number = errno.EACCES if folder.is_dir() else errno.ENOTDIR
            raise unusable(folder, OSError(number, os.strerror(number)))

    async def diagnose(self, spec: RunnerSpec, owner: str) -> Sequence[Finding]:
        """See :meth:`.base.Backend.diagnose`."""
        host = await look(self._python, spec.kernel_argv, self._environ)
        return findings(host, {mount.via for mount in spec.s3})

    async def get(self, name: str) -> Runner:
        """See :meth:`.base.Backend.get`."""
        record = self._records.read(name)
        if record is None:
            raise RunnerNotFound(
                f"There is no runner {name!r}.", hint="`gra list` shows the runners there are."
            )
        return self._runner(record, self._folder / name)

    async def list(self) -> list[Runner]:
        """See :meth:`.base.Backend.list`."""
        with state_errors(self._folder):
            names = sorted(self._records.names(), key=lambda name: int(name.partition("-")[2]))
        runners = []
        for name in names:
            record = self._records.read(name)
            if record is not None:
                runners.append(self._runner(record, self._folder / name))
        return runners

    async def pages(self, selection: Selection) -> AsyncGenerator[Sequence[Runner], None]:
        """See :meth:`.base.Backend.pages`."""
        yield [runner for runner in await self.list() if selection.matches(runner)]

    async def watch(self) -> AsyncGenerator[Change, None]:
        """See :meth:`.base.Backend.watch`.  The folders are looked at each second."""
        changes = Changes()
        synced = False
        while True:
            for change in changes.to(await self.list()):
                yield change
            if not synced:
                synced = True
                yield Change(ChangeKind.SYNCED)
            await asyncio.sleep(_LOOK_EVERY)

    def stale(self) -> Stale | None:
        """See :meth:`.base.Backend.stale`.  Folders can always be read, or reading them fails."""
        return None

    def last_seen(self, name: str, uid: str) -> Runner | None:
        """See :meth:`.base.Backend.last_seen`.  Nothing is left of one that is gone."""
        return None

    async def events(self, name: str, uid: str) -> Sequence[RunnerEvent]:
        """See :meth:`.base.Backend.events`.  There is no cluster that could say anything."""
        return []

    async def logs(
        self, runner: Runner, query: LogQuery, on_notice: NoticeCallback = ignore_notice
    ) -> AsyncGenerator[LogLine, None]:
        """See :meth:`.base.Backend.logs`."""
        folder = self._folder / runner.name

        def status() -> RunnerStatus | None:
            record = self._records.read(runner.name)
            if record is None or record["uid"] != runner.uid:
                return None
            return self._status(record, folder)[0]

        lines = local_logs(folder, runner.name, query, status, on_notice)
        with state_errors(folder):
            async with contextlib.aclosing(lines):
                async for line in lines:
                    yield line

    async def delete(self, runner: Runner, *, grace: float = 5.0, wait: bool = True) -> None:
        """See :meth:`.base.Backend.delete`.  Always waits: nobody else would kill it in the end."""
        folder = self._folder / runner.name
        record = self._records.read(runner.name)
        if record is None or record["uid"] != runner.uid:
            return
        pid, known = record["agent_pid"], record["agent_identity"]
        # Read by the agent, which tells its clients.  Without it, only who did it is not known.
        with contextlib.suppress(OSError):
            note = f"{runner.name} was deleted by {this_client(self._environ)}"
            (folder / agent_package.DELETION_NOTE).write_text(note, encoding="utf-8")
        if pid is not None and process.end(pid, known, signal.SIGTERM):
            await _gone(pid, known, grace)
        self._end_now(folder, record)

    async def dial(
        self,
        runner: Runner,
        protocol_factory: Callable[[], asyncio.Protocol],
        *,
        mostly_sends: bool = False,
    ) -> asyncio.Transport:
        """See :meth:`.base.Backend.dial`."""
        loop = asyncio.get_running_loop()
        folder = self._folder / runner.name
        record = self._records.read(runner.name)
        if record is None or record["uid"] != runner.uid:
            raise self._why_not(runner, FileNotFoundError())
        try:
            with _short_path(folder, "agent.sock") as path:
                transport, _ = await loop.create_unix_connection(protocol_factory, path)
        except OSError as error:
            why = self._why_not(runner, error)
            if isinstance(why, RunnerEnded) and why.details["reason"] == "Terminated":
                # Whoever told it to end is most likely about to remove it: that is the reason then.
                await asyncio.sleep(_REMOVED_WITHIN)
                why = self._why_not(runner, error)
            raise why from None
        return transport

    async def close(self) -> None:
        """See :meth:`.base.Backend.close`."""
        for child in self._children.values():
            child.poll()
        # Those that go on are waited for by subprocess, at the next start of any process.
        self._children.clear()

    # -- finding ----------------------------------------------------------------------------

    def _runner(self, record: Mapping[str, Any], folder: Path) -> Runner:
        status, reason, message, hint = self._status(record, folder)
        return Runner(
            name=record["name"],
            uid=record["uid"],
            backend=self.name,
            profile=record["profile"],
            labels=labels_of(record),
            created=record["created"],
            status=status,
            reason=reason,
            message=message,
            hint=hint,
            pid=record["agent_pid"],
            resources=resources_of(record),
        )

    def _status(
        self, record: Mapping[str, Any], folder: Path
    ) -> tuple[RunnerStatus, str, str, str]:
        child = self._children.get(record["uid"])
        if child is not None and child.poll() is not None:
            del self._children[record["uid"]]
        pid = record["agent_pid"]
        if pid is None:
            if time.time() - record["created"] < _ABANDONED_AFTER:
                return RunnerStatus.STARTING, "", "", ""
            return (
                RunnerStatus.LOST,
                "Abandoned",
                "Whoever started this runner was ended before its agent ran.",
                f"`gra delete {record['name']}` removes what is left.",
            )
        if process.identity(pid) == record["agent_identity"]:
            return RunnerStatus.RUNNING, "", "", ""
        gone = f"The runner's agent (pid {pid}) is gone: it was killed, or the host was restarted."
        try:
            word = json.loads((folder / "ended.json").read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return (
                RunnerStatus.LOST,
                "AgentLost",
                gone,
                f"`gra delete {record['name']}` removes what is left.",
            )
        return RunnerStatus.ENDED, str(word.get("reason")), str(word.get("message")), ""

    def _why_not(self, runner: Runner, error: OSError) -> Exception:
        record = self._records.read(runner.name)
        if record is None or record["uid"] != runner.uid:
            return RunnerNotFound(
                f"The runner {runner.name} was deleted.",
                hint="A kernel of it gets a new runner when it is restarted.",
                # Nobody but gra removes its folder.
                details={"reason": "Deleted"},
            )
        now = self._runner(record, self._folder / runner.name)
        if now.status in (RunnerStatus.ENDED, RunnerStatus.LOST):
            return RunnerEnded(
                f"The runner {runner.name} has ended: {now.message}",
                hint="A kernel of it gets a new runner when it is restarted.",
                details={"reason": now.reason},
            )
        return Unreachable(f"The agent of {runner.name} cannot be reached: {error.strerror}.")

    # -- ending -----------------------------------------------------------------------------

    def _end_now(self, folder: Path, record: Mapping[str, Any]) -> None:
        child = self._children.pop(record["uid"], None)
        if child is not None:
            child.kill()
            child.wait()
        elif record["agent_pid"] is not None:
            process.end(record["agent_pid"], record["agent_identity"], signal.SIGKILL)
        with contextlib.suppress(FileNotFoundError, ValueError):
            pid, _, started = (folder / "kernel.pid").read_text().partition(" ")
            process.kill_session(int(pid), started, record["created"])
        shutil.rmtree(folder, ignore_errors=True)

    def _prune(self) -> None:
        """Remove the records of runners that ended long ago."""
        for name in self._records.names():
            record = self._records.read(name)
            if record is None or time.time() - record["created"] < _KEEP_ENDED:
                continue
            folder = self._folder / name
            status = self._status(record, folder)[0]
            if status in (RunnerStatus.ENDED, RunnerStatus.LOST):
                ended = folder / "ended.json"
                if not ended.exists() or time.time() - ended.stat().st_mtime > _KEEP_ENDED:
                    self._end_now(folder, record)


async def _gone(pid: int, known: str, timeout: float) -> None:
    """Wait until the process has ended, or ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    # No system tells a stranger of a process's end but by being asked.
    while process.identity(pid) == known and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.01)


@contextlib.contextmanager
def _short_path(folder: Path, name: str) -> Iterator[str]:
    """A path of the file that fits a socket address, whatever the folder's depth."""
    path = str(folder / name)
    if len(os.fsencode(path)) <= _LONGEST_SOCKET or not Path("/proc/self/fd").exists():
        yield path
        return
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{name}"
    finally:
        os.close(fd)
