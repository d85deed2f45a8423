"""One s3fs: started, ready, asked whether it answers, ended."""

from __future__ import annotations

import asyncio
import collections
import os
import shutil
import signal
import subprocess
from typing import Callable, Deque, Dict, Optional, Tuple, TypeVar

from ..failure import AgentError
from ..reaper import Reaper
from ..spawn import ExitStatus, spawn
from . import namespace
from .answers import redacted
from .mount import Mount
from .s3fs import OLDEST, Cache, command, environment, parse_version
from .signing import Credentials
from .threads import in_thread

_READY_WITHIN = 10.0
_ANSWERS_WITHIN = 5.0
_LOOK = 0.02
_LINES = 20
_LONGEST_LINE = 400
_LONGEST_REST = 1 << 14
# Rather s3fs than the kernel or the agent where memory runs out: it is started again.
_OOM_SCORE = "500"
T = TypeVar("T")


class S3fs:
    """A running s3fs.  ``ended`` is set to a text that says how."""

    def __init__(self, pid: int, folder: str, output: int, secrets: Tuple[str, ...]) -> None:
        loop = asyncio.get_running_loop()
        self.pid = pid
        self.folder = folder
        self.ended: asyncio.Future[str] = loop.create_future()
        self._output = output
        self._secrets = secrets
        self._lines: Deque[str] = collections.deque(maxlen=_LINES)
        self._rest = b""
        os.set_blocking(output, False)
        loop.add_reader(output, self._on_output)

    @classmethod
    async def start(
        cls,
        mount: Mount,
        folder: str,
        cache: Cache,
        credentials: Optional[Credentials],
        reaper: Reaper,
    ) -> S3fs:
        """Mount at ``folder`` and wait until it answers.

        Raises :class:`AgentError`: ``S3FsMissing``, ``S3FuseMissing``, ``S3MountFailed`` or
        ``S3Stuck``.
        """
        check_system()
        env = environment(credentials, mount.ca, dict(os.environ))
        argv = command(mount, folder, cache, os.geteuid() == 0, _version())
        reading, writing = os.pipe()
        null = os.open(os.devnull, os.O_RDONLY)
        try:
            pid = spawn(argv, env, "/", (null, writing, writing), lambda: _in_child(mount))
        except AgentError as error:
            os.close(reading)
            raise AgentError("S3MountFailed", error.message, error.hint) from error
        finally:
            os.close(writing)
            os.close(null)
        made = cls(pid, folder, reading, tuple(credentials) if credentials else ())
        reaper.watch(pid, made.on_exit)
        made._prefer_for_oom()
        try:
            await made._until_ready()
        except BaseException:
            made.kill(signal.SIGKILL)
            raise
        return made

    def _prefer_for_oom(self) -> None:
        try:
            with open(f"/proc/{self.pid}/oom_score_adj", "w", encoding="ascii") as file:
                file.write(_OOM_SCORE)
        except OSError:
            # It has ended, or the system has none of this: nothing depends on it.
            return

    async def _until_ready(self) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _READY_WITHIN
        while not namespace.is_mounted(self.folder):
            if self.ended.done():
                raise AgentError(
                    "S3MountFailed",
                    f"s3fs {self.ended.result()} before it was ready{self.last_words()}.",
                    "What s3fs says is its own; options of the mount may be wrong.",
                )
            if loop.time() > deadline:
                raise AgentError(
                    "S3MountFailed",
                    f"s3fs did not mount within {_READY_WITHIN:g} s{self.last_words()}.",
                )
            await asyncio.sleep(_LOOK)
        if not await self.answers(_ANSWERS_WITHIN):
            raise AgentError("S3Stuck", f"s3fs mounted but does not answer{self.last_words()}.", "")

    async def answers(self, bound: float) -> bool:
        """Whether it answers a question that needs no S3 within ``bound`` seconds."""
        try:
            await in_thread(lambda: os.statvfs(self.folder), bound)
        except (asyncio.TimeoutError, OSError):
            return False
        return True

    def last_words(self) -> str:
        """The end of its output, without secrets, to be put after a sentence."""
        lines = list(self._lines)[-3:]
        return ": " + " / ".join(lines) if lines else ""

    def kill(self, signum: int) -> None:
        """Send a signal, if it still runs."""
        if not self.ended.done():
            try:
                os.kill(self.pid, signum)
            except ProcessLookupError:
                # The reaper is about to say so.
                return

    def on_exit(self, status: int) -> None:
        """See :class:`.reaper.Reaper`."""
        self._on_output()
        self._close_output()
        how = ExitStatus.from_wait(status)
        text = f"ended with code {how.code}" if how.signal is None else _by_signal(how.signal)
        if not self.ended.done():
            self.ended.set_result(text)

    async def until_ended(self, bound: float) -> bool:
        """Wait for its end; whether it came in time."""
        done, _ = await asyncio.wait([self.ended], timeout=bound)
        return bool(done)

    def _on_output(self) -> None:
        while self._output >= 0:
            try:
                data = os.read(self._output, 1 << 14)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._close_output()
                return
            *lines, self._rest = (self._rest + data).split(b"\n")
            self._rest = self._rest[:_LONGEST_REST]
            for line in lines:
                text = redacted(line.decode("utf-8", "replace").strip(), self._secrets)
                if text and "[INF]" not in text:
                    self._lines.append(text[:_LONGEST_LINE])

    def _close_output(self) -> None:
        if self._output >= 0:
            asyncio.get_event_loop().remove_reader(self._output)
            os.close(self._output)
            self._output = -1


def _version() -> Tuple[int, int]:
    """Of the s3fs that is to be started."""
    try:
        done = subprocess.run(
            ["s3fs", "--version"],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_ANSWERS_WITHIN,
        )
    except (OSError, subprocess.TimeoutExpired):
        return OLDEST
    return parse_version(done.stdout.decode("utf-8", "replace"))


def _in_child(mount: Mount) -> None:
    namespace.die_with_parent()
    # For files that other programs have made, whose permissions are in no object.
    os.umask(int(mount.umask, 8))


def _by_signal(number: int) -> str:
    try:
        return f"was ended by {signal.Signals(number).name}"
    except ValueError:
        return f"was ended by signal {number}"


def check_system(
    environ: Optional[Dict[str, str]] = None,
    device: str = "/dev/fuse",
    which: Callable[..., Optional[str]] = shutil.which,
    is_root: Optional[bool] = None,
) -> None:
    """Raises :class:`AgentError` ``S3FsMissing`` or ``S3FuseMissing``."""
    path = (os.environ if environ is None else environ).get("PATH")
    is_root = os.geteuid() == 0 if is_root is None else is_root
    if which("s3fs", path=path) is None:
        raise AgentError(
            "S3FsMissing",
            "The program s3fs is not installed where the mount is to be made.",
            "Install it (Debian and Ubuntu: apt-get install s3fs; Fedora: dnf install s3fs-fuse), "
            'or use via = "fsspec".',
        )
    try:
        os.close(os.open(device, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        raise AgentError(
            "S3FuseMissing",
            f"FUSE cannot be used: {device}: {error.strerror}.",
            "A sidecar must be privileged (allow_privileged_sidecar = true); a container needs "
            'the device /dev/fuse, a host the module fuse. Else use via = "volume" or "fsspec".',
        ) from None
    programs = ("fusermount", "fusermount3")
    if not is_root and not any(which(name, path=path) for name in programs):
        raise AgentError(
            "S3FuseMissing",
            "The program fusermount, by which users mount, is not installed.",
            "Install it (Debian and Ubuntu: apt-get install fuse).",
        )
