"""A process run in the runner because a client asked for it, joined to streams of the tunnel.

The agent answers a client's ``exec`` with :meth:`ExecProcess.start` and attaches streams as the
client opens them; until then nothing is read, so no output is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import struct
import termios
from typing import Callable, Iterator, Mapping, Optional, Sequence, Tuple

from .failure import AgentError
from .pipes import Channel, Input, Output
from .spawn import ExitStatus, not_started, spawn
from .stream import StreamHandler

# Seconds after the exit for which output is awaited while somebody else holds the pipe open.
EXIT_GRACE = 2.0


class ExecProcess:
    """A running process in a session of its own, with three pipes or one terminal.

    ``pid`` is also the id of its session and process group.  ``exited`` gets the
    :class:`ExitStatus` when the agent's reaper calls :meth:`on_child_exit`; ``finished`` gets
    it when, besides, all output has been handed to the channels.  Output that no channel was
    attached for holds ``finished`` back until one is, or until :meth:`close`.  Shield the
    futures where the task that waits may be cancelled.
    """

    def __init__(
        self,
        pid: int,
        stdin: int,
        stdout: int,
        stderr: Optional[int],
        terminal: Optional[int],
        loop: asyncio.AbstractEventLoop,
        keep: bool = False,
    ) -> None:
        """Own the given descriptors.  Called by :meth:`start` only."""
        self.pid = pid
        self.on_terminal = terminal is not None
        self.exited: asyncio.Future[ExitStatus] = loop.create_future()
        self.finished: asyncio.Future[ExitStatus] = loop.create_future()
        self._loop = loop
        self._keep = keep
        self._terminal = terminal
        self._stdin = Input(loop, stdin, self.on_terminal)
        self._stdout = Output(loop, stdout, self._settle)
        self._stderr = None if stderr is None else Output(loop, stderr, self._settle)
        self._status: Optional[ExitStatus] = None
        self._grace: Optional[asyncio.TimerHandle] = None
        self._settled = False

    @classmethod
    def start(
        cls,
        argv: Sequence[str],
        env: Mapping[str, str],
        cwd: Optional[str],
        tty: Optional[Tuple[int, int]],
        loop: asyncio.AbstractEventLoop,
        keep: bool = False,
    ) -> ExecProcess:
        """Start ``argv`` with exactly ``env``, on a terminal of ``tty`` (rows, columns) if given.

        With ``keep`` it goes on when its channels are lost, and its output is read and dropped.

        A process on a terminal gets ``TERM=xterm`` unless ``env`` has a TERM.  The call does not
        yield to the loop, so the reaper cannot see the child's end before its pid is known.

        Raises :class:`AgentError`, and leaves nothing open then: see :func:`spawn`, and
        ``TerminalUnavailable``.
        """
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as childs:
            stderr: Optional[int] = None
            terminal: Optional[int] = None
            size = None if tty is None else _window_size(*tty)
            try:
                if size is None:
                    child_stdin, stdin = _pipe(childs, ours)
                    stdout, child_stdout = _pipe(ours, childs)
                    stderr, child_stderr = _pipe(ours, childs)
                else:
                    terminal, child_stdin = _open_terminal(ours, childs, size)
                    child_stdout = child_stderr = child_stdin
                    # Each user has its own descriptor, to close when it is done.
                    stdin = _keep(ours, os.dup(terminal))
                    stdout = _keep(ours, os.dup(terminal))
            except OSError as error:
                raise not_started(error) from error
            pid = spawn(
                argv,
                env if size is None else {"TERM": "xterm", **env},
                cwd,
                (child_stdin, child_stdout, child_stderr),
                None if size is None else _take_terminal,
            )
            process = cls(pid, stdin, stdout, stderr, terminal, loop, keep)
            ours.pop_all()
            return process

    def attach_stdio(self, channel: Channel) -> StreamHandler:
        """Join a channel to stdin and stdout, or to the terminal.  Becomes its handler.

        Raises :class:`AgentError` ``AlreadyAttached``.
        """
        self._stdout.check_free("stdio")
        handler = _StdioHandler(self._stdin, self._stdout, self._on_stdio_lost)
        channel.handler = handler
        self._stdin.attach(channel)
        self._stdout.attach(channel)
        return handler

    def attach_stderr(self, channel: Channel) -> StreamHandler:
        """Join a channel to stderr.  Becomes its handler; what the peer sends is dropped.

        Raises :class:`AgentError` ``AlreadyAttached``, or ``NoSuchStream`` for a process on a
        terminal, which has one stream for all.
        """
        if self._stderr is None:
            raise AgentError(
                "NoSuchStream",
                "A process on a terminal has no stderr of its own.",
                "Run it without a terminal to get its stderr apart from its stdout.",
            )
        self._stderr.check_free("stderr")
        handler = _StderrHandler(channel, self._stderr, self._on_stderr_lost)
        channel.handler = handler
        self._stderr.attach(channel)
        return handler

    def resize(self, rows: int, cols: int) -> None:
        """Give the terminal a size; the kernel sends SIGWINCH.  No effect after the end.

        Raises :class:`AgentError` ``NotATerminal`` or ``InvalidRequest``.
        """
        size = _window_size(rows, cols)
        if not self.on_terminal:
            raise AgentError("NotATerminal", "The process does not run on a terminal.")
        if self._terminal is not None:
            fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, size)

    def signal(self, signum: int) -> None:
        """Send a signal to the process group.  One that has ended is no error.

        Raises :class:`AgentError` ``InvalidRequest``, or ``PermissionDenied`` for a process
        that has changed its user.
        """
        if not 1 <= signum < signal.NSIG:
            raise AgentError("InvalidRequest", f"signal: {signum} is not the number of a signal.")
        # The kernel may give the id to another group once this one is empty.
        if self._settled:
            return
        try:
            os.killpg(self.pid, signum)
        except ProcessLookupError:
            return
        except PermissionError as error:
            raise AgentError(
                "PermissionDenied",
                f"Process {self.pid} runs as another user: signal {signum} was refused.",
            ) from error

    def on_child_exit(self, status: int) -> None:
        """Take the waitpid(2) status of :attr:`pid`.  Called once, by the agent's reaper."""
        self._status = ExitStatus.from_wait(status)
        if not self.exited.done():
            self.exited.set_result(self._status)
        self._stdin.close()
        self._grace = self._loop.call_later(EXIT_GRACE, self._end_grace)
        self._settle()

    def close(self) -> None:
        """Give the process up: hang up on it, and neither read nor write any more.

        For an agent that ends.  ``finished`` then needs the exit only.  Channels are not told.
        """
        self._keep = False
        self.leave()

    def leave(self) -> None:
        """Its client is gone, or never came to attach its channels: as if these were lost."""
        self._on_stdio_lost()
        self._on_stderr_lost()

    def _on_stdio_lost(self) -> None:
        if self._keep:
            self._stdin.abandon()
            self._stdout.discard()
            return
        self._hang_up()
        self._stdin.abandon()
        self._close_terminal()
        self._stdout.close()

    def _on_stderr_lost(self) -> None:
        if self._keep:
            if self._stderr is not None:
                self._stderr.discard()
            return
        self._hang_up()
        if self._stderr is not None:
            self._stderr.close()

    def _hang_up(self) -> None:
        # As for a lost terminal (setpgid(2)): a stopped process has to go on to notice.
        for signum in (signal.SIGHUP, signal.SIGCONT):
            # Whoever could be told of a refusal is gone.
            with contextlib.suppress(AgentError):
                self.signal(signum)

    def _close_terminal(self) -> None:
        if self._terminal is not None:
            os.close(self._terminal)
            self._terminal = None

    def _outputs(self) -> Iterator[Output]:
        yield self._stdout
        if self._stderr is not None:
            yield self._stderr

    def _end_grace(self) -> None:
        for output in self._outputs():
            output.end_soon()

    def _settle(self) -> None:
        if self._status is None or self._settled:
            return
        if not all(output.ended for output in self._outputs()):
            return
        self._settled = True
        if self._grace is not None:
            self._grace.cancel()
        self._close_terminal()
        if not self.finished.done():
            self.finished.set_result(self._status)


class _StdioHandler:
    def __init__(self, stdin: Input, stdout: Output, on_lost: Callable[[], None]) -> None:
        self._stdin = stdin
        self._stdout = stdout
        self._on_lost = on_lost

    def on_data(self, data: memoryview) -> None:
        self._stdin.feed(data)

    def on_finish(self) -> None:
        self._stdin.finish()

    def on_reset(self, reason: str, message: str) -> None:
        self._on_lost()

    def on_drain(self) -> None:
        self._stdout.resume()


class _StderrHandler:
    def __init__(self, channel: Channel, stderr: Output, on_lost: Callable[[], None]) -> None:
        self._channel = channel
        self._stderr = stderr
        self._on_lost = on_lost

    def on_data(self, data: memoryview) -> None:
        self._channel.consumed(len(data))

    def on_finish(self) -> None:
        """Nothing was expected from this side anyway."""

    def on_reset(self, reason: str, message: str) -> None:
        self._on_lost()

    def on_drain(self) -> None:
        self._stderr.resume()


def _keep(stack: contextlib.ExitStack, fd: int) -> int:
    stack.callback(os.close, fd)
    return fd


def _pipe(reader: contextlib.ExitStack, writer: contextlib.ExitStack) -> Tuple[int, int]:
    read_end, write_end = os.pipe()
    return _keep(reader, read_end), _keep(writer, write_end)


def _open_terminal(
    ours: contextlib.ExitStack, childs: contextlib.ExitStack, size: bytes
) -> Tuple[int, int]:
    try:
        master, slave = os.openpty()
    except OSError as error:
        raise AgentError(
            "TerminalUnavailable",
            f"No pseudo-terminal could be opened: {error.strerror}.",
            "Run the command without a terminal.",
            {"errno": error.errno},
        ) from error
    _keep(ours, master)
    _keep(childs, slave)
    fcntl.ioctl(master, termios.TIOCSWINSZ, size)
    return master, slave


def _take_terminal() -> None:
    """In the child, a session leader: make stdin its controlling terminal (ioctl_tty(2))."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _window_size(rows: int, cols: int) -> bytes:
    """A ``struct winsize`` (ioctl_tty(2)); its size in pixels is not known."""
    try:
        return struct.pack("HHHH", rows, cols, 0, 0)
    except struct.error as error:
        raise AgentError(
            "InvalidRequest",
            f"tty: {rows!r} rows and {cols!r} columns is no size of a terminal.",
            "Both are whole numbers from 0 to 65535.",
        ) from error
