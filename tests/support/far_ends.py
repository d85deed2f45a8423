"""The far end of a copied directory as a process here, in the place of one in a runner."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from gra_provisioner.execution import ProcessExit
from gra_provisioner.tunnel.process import STDERR, STDOUT, Output
from gra_provisioner.workspace.transfer import FarEnd


class HereProcess:
    """What :class:`gra_provisioner.tunnel.process.RemoteProcess` is to its users."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._pieces: asyncio.Queue[Output | None] = asyncio.Queue()
        self._tasks = [
            asyncio.create_task(self._pump(process.stdout, STDOUT)),
            asyncio.create_task(self._pump(process.stderr, STDERR)),
        ]
        self._open = 2

    async def _pump(self, stream: asyncio.StreamReader | None, source: str) -> None:
        assert stream is not None
        while data := await stream.read(1 << 16):
            self._pieces.put_nowait(Output(source, data))
        self._pieces.put_nowait(None)

    async def read(self) -> Output | None:
        while self._open:
            piece = await self._pieces.get()
            if piece is not None:
                return piece
            self._open -= 1
        return None

    async def write(self, data: bytes) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(data)
            await self._process.stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            # Dropped, as by the other.
            pass

    def finish(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()

    async def wait(self) -> ProcessExit:
        code = await self._process.wait()
        return ProcessExit(code, None) if code >= 0 else ProcessExit(None, -code)

    async def close(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await asyncio.gather(*self._tasks)
        await self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()


def far_end(folder: Path, python: str = sys.executable, stalled: float = 60.0) -> FarEnd:
    """The far end in a folder of this machine."""

    @asynccontextmanager
    async def start(argv: Sequence[str]) -> AsyncIterator[HereProcess]:
        assert argv[0] == "{python}"
        process = HereProcess(
            await asyncio.create_subprocess_exec(
                python,
                *argv[1:],
                cwd=folder,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
        )
        try:
            yield process
        finally:
            await process.close()

    return FarEnd(start, "runner-3", stalled)  # type: ignore[arg-type]
