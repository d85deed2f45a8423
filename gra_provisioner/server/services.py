"""The service that the configuration asks for: made when it is first needed, and anew when a
configuration file has changed.  Lives on gra's background loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ConfigError, GraError
from ..profiles import Config, config_files, load_config
from ..service import RunnerService
from .access import Access
from .calls import Setting

# Of each file: path, when it was changed (ns), size, inode.  A file that is not there has none.
_Look = tuple[tuple[str, int, int, int], ...]


@dataclass
class _Opened:
    """A service, and how many use it.  One that was replaced is closed by its last user."""

    service: RunnerService
    key: tuple[Any, ...]
    users: int = 0
    retired: bool = False


class Services:
    """Gives the service to those who need it.  ``environ`` is the server's environment."""

    def __init__(self, environ: Mapping[str, str], log: logging.Logger) -> None:
        self._environ = environ
        self._log = log
        self._turn = asyncio.Lock()
        self._look: _Look | None = None
        self._config: Config | None = None
        self._opened: _Opened | None = None
        self._told = ""

    @contextlib.asynccontextmanager
    async def use(self) -> AsyncIterator[Setting]:
        """The service as it is configured now, for as long as the block runs.

        Raises :class:`GraError` ``NotConfigured``; the next call tries again.
        """
        config, opened = await self._current()
        opened.users += 1
        try:
            yield Setting(config, opened.service, Access(config.owner, config.other_owners))
        finally:
            opened.users -= 1
            await self._close_if_done(opened)

    async def close(self) -> None:
        """Release the service.  Whoever uses it must be done."""
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.retired = True
            await self._close_if_done(opened)

    async def _current(self) -> tuple[Config, _Opened]:
        async with self._turn:
            look = await asyncio.to_thread(_look)
            if self._config is None or self._opened is None or look != self._look:
                try:
                    config = await asyncio.to_thread(load_config, self._environ)
                    opened = await self._open(config)
                except ConfigError as error:
                    raise self._not_configured(error) from None
                self._look, self._config, self._told = look, config, ""
                if opened is not self._opened:
                    before, self._opened = self._opened, opened
                    if before is not None:
                        before.retired = True
                        await self._close_if_done(before)
            return self._config, self._opened

    async def _open(self, config: Config) -> _Opened:
        key = (config.backend, config.kubernetes, config.state_dir, config.owner)
        if self._opened is not None and self._opened.key == key:
            return self._opened
        # In a thread: what it imports for a cluster would hold up all kernels.
        return _Opened(await asyncio.to_thread(RunnerService.from_config, config), key)

    async def _close_if_done(self, opened: _Opened) -> None:
        if opened.retired and opened.users == 0:
            await opened.service.close()

    def _not_configured(self, error: ConfigError) -> GraError:
        if error.message != self._told:
            self._told = error.message
            self._log.error("gra cannot be used: %s", error.message)
        return GraError(
            f"The server's configuration of gra cannot be used: {error.message}",
            hint=error.hint,
            reason="NotConfigured",
            details=error.details,
        )


def _look() -> _Look:
    found = []
    for path in config_files():
        with contextlib.suppress(OSError):
            stat = Path(path).stat()
            found.append((str(path), stat.st_mtime_ns, stat.st_size, stat.st_ino))
    return tuple(found)
