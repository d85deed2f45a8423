"""Talking with the far end: its program sent along, questions asked, streams carried.

The program is the text of :mod:`.far` and of what that uses, run by the Python of the runner's
agent in the working directory of the runner.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from ..tunnel.process import RUNNERS_PYTHON, STDOUT, Output, RemoteProcess
from .parcel import Changed, Folder, pack
from .tree import Entry

T = TypeVar("T")

#: Starts a command in the runner's working directory, for as long as the block runs.
Start = Callable[[Sequence[str]], AbstractAsyncContextManager[RemoteProcess]]

# Seconds without a byte either way after which the transfer is given up.
_STALLED = 60.0
# What an answer may have at most; a listing has some 150 bytes for each file.
_LONGEST_ANSWER = 256 << 20
_LONGEST_WORD = 64 << 10
_AT_ONCE = 256 << 10

# Modules by name, in the order in which they import each other.
_MODULES = ("tree", "parcel", "far")
_BOOT = """\
import sys, types
package = sys.modules["workspace"] = types.ModuleType("workspace")
package.__path__ = []
for name, text in {sources!r}:
    module = types.ModuleType("workspace." + name)
    module.__package__ = "workspace"
    sys.modules[module.__name__] = module
    exec(compile(text, name + ".py", "exec"), module.__dict__)
sys.exit(sys.modules["workspace.far"].main())
"""


class TransferFailed(Exception):
    """The far end could not do what it was asked for, or does not go on; the text says why."""


@cache
def program() -> str:
    """The far end's program, for ``python -c``."""
    here = Path(__file__).parent
    sources = [(name, (here / f"{name}.py").read_text(encoding="utf-8")) for name in _MODULES]
    return _BOOT.format(sources=sources)


class _Moving:
    """A process whose stream either way goes on, or it is given up after ``stalled`` seconds."""

    def __init__(self, process: RemoteProcess, runner: str, stalled: float) -> None:
        self.process = process
        self._runner = runner
        self._stalled = stalled
        self._loop = asyncio.get_running_loop()
        self._moved = self._loop.time()

    async def read(self) -> Output | None:
        """See :meth:`~..tunnel.process.RemoteProcess.read`."""
        return await self._going_on(self.process.read)

    async def write(self, data: bytes) -> None:
        """See :meth:`~..tunnel.process.RemoteProcess.write`."""
        # What waits in it is there already.
        writing = asyncio.ensure_future(self.process.write(data))
        try:
            await self._going_on(lambda: asyncio.shield(writing))
        finally:
            writing.cancel()
            await asyncio.wait({writing})

    async def _going_on(self, wait: Callable[[], Awaitable[T]]) -> T:
        while True:
            left = self._moved + self._stalled - self._loop.time()
            try:
                result = await asyncio.wait_for(wait(), max(left, 0.0))
            except asyncio.TimeoutError:
                # The other way may have moved meanwhile.
                if self._moved + self._stalled > self._loop.time():
                    continue
                raise TransferFailed(
                    f"The connection to {self._runner} has carried nothing for {self._stalled:g} s."
                ) from None
            self._moved = self._loop.time()
            return result


class FarEnd:
    """The other end of transfers.  ``runner`` is its name, for errors.

    All methods raise :class:`TransferFailed` and what :class:`~..tunnel.process.RemoteProcess`
    does.
    """

    def __init__(self, start: Start, runner: str, stalled: float = _STALLED) -> None:
        self._start = start
        self._runner = runner
        self._stalled = stalled

    async def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        """The answer to a question: see :mod:`.far`."""
        async with self._process() as moving:
            await moving.write(await _request(op, fields))
            moving.process.finish()
            return await self._answer(moving)

    async def give(
        self,
        root: str,
        entries: Sequence[Entry],
        on_bytes: Callable[[int], None],
        **fields: Any,
    ) -> tuple[dict[str, Any], list[Entry]]:
        """Send files and folders below ``root``: the answer, and what was sent as it was then.

        ``on_bytes`` is told how much of the stream has gone.
        """
        async with self._process() as moving:
            await moving.write(await _request("receive", fields))
            answer = asyncio.ensure_future(self._answer(moving))
            try:
                packed = await self._feed(moving, root, entries, on_bytes, answer)
                moving.process.finish()
                return await answer, packed
            finally:
                answer.cancel()
                await asyncio.wait({answer})

    async def take(self, entries: Sequence[Entry], spool: BinaryIO, bound: int) -> None:
        """Have files and folders sent, into ``spool``: a stream of at most ``bound`` bytes."""
        async with self._process() as moving:
            await moving.write(await _request("send", {"entries": entries}))
            moving.process.finish()
            size, kept = 0, bytearray()
            async for data in self._output(moving):
                size += len(data)
                if size > bound:
                    raise TransferFailed(
                        f"{self._runner} sent more than the files have that it was asked for."
                    )
                kept += data
                if len(kept) >= _AT_ONCE:
                    await asyncio.to_thread(spool.write, bytes(kept))
                    kept.clear()
            await asyncio.to_thread(spool.write, bytes(kept))

    # -- inside -----------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _process(self) -> AsyncIterator[_Moving]:
        async with self._start((RUNNERS_PYTHON, "-I", "-S", "-c", program())) as process:
            yield _Moving(process, self._runner, self._stalled)

    async def _feed(
        self,
        moving: _Moving,
        root: str,
        entries: Sequence[Entry],
        on_bytes: Callable[[int], None],
        answer: asyncio.Future[dict[str, Any]],
    ) -> list[Entry]:
        """Write the stream to the far end, as fast as it takes it."""
        loop = asyncio.get_running_loop()
        reading, writing = os.pipe()
        # Not the loop's own threads, on which dialling again may depend.
        with ThreadPoolExecutor(1, "gra-pack") as threads:
            packing = loop.run_in_executor(threads, _pack, root, entries, writing)
            try:
                async with _pipe(reading) as pipe:
                    sent = 0
                    while data := await pipe.read(_AT_ONCE):
                        if answer.done():
                            # It takes no more: its answer says why.
                            break
                        await moving.write(data)
                        sent += len(data)
                        on_bytes(sent)
            finally:
                # It ends at the latest with its pipe.
                await asyncio.wait({packing})
        if answer.done():
            answer.result()
        try:
            return packing.result()
        except Changed as error:
            raise TransferFailed(f"{error} became shorter while it was copied.") from error
        except OSError as error:
            raise TransferFailed(f"{root} cannot be read: {error.strerror}.") from error

    async def _answer(self, moving: _Moving) -> dict[str, Any]:
        data = bytearray()
        async for piece in self._output(moving):
            data += piece
            if len(data) > _LONGEST_ANSWER:
                raise TransferFailed(f"{self._runner} gives an answer without an end.")
        try:
            # Of many files it takes a while.
            answer = await asyncio.to_thread(json.loads, bytes(data))
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise TransferFailed(f"{self._runner} gives an answer that is none.")
        return answer

    async def _output(self, moving: _Moving) -> AsyncIterator[bytes]:
        """What it writes to stdout until it has ended well."""
        errors = bytearray()
        while (piece := await moving.read()) is not None:
            if piece.source == STDOUT:
                yield piece.data
            elif len(errors) < _LONGEST_WORD:
                errors += piece.data
        end = await moving.process.wait()
        if end.shell_code != 0:
            text = _message(bytes(errors)) or f"it ended with exit code {end.shell_code}"
            raise TransferFailed(f"{self._runner}: {text}.")


async def _request(op: str, fields: dict[str, Any]) -> bytes:
    text = await asyncio.to_thread(json.dumps, {"op": op, **fields})
    return text.encode() + b"\n"


def _message(errors: bytes) -> str:
    """What the far end said of its failure: its own word, or the last line of another."""
    last = errors.decode(errors="replace").strip().rpartition("\n")[2]
    try:
        return str(json.loads(last)["message"]).rstrip(".")
    except (ValueError, KeyError, TypeError):
        return last.rstrip(".")


def _pack(root: str, entries: Sequence[Entry], writing: int) -> list[Entry]:
    try:
        with os.fdopen(writing, "wb") as out, Folder(root) as folder:
            return pack(folder, entries, out)
    except BrokenPipeError:
        return []


@contextlib.asynccontextmanager
async def _pipe(fd: int) -> AsyncIterator[asyncio.StreamReader]:
    """The reading end of a pipe; it is closed in the end."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=_AT_ONCE)
    file = os.fdopen(fd, "rb", buffering=0)
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), file)
    try:
        yield reader
    finally:
        transport.close()
