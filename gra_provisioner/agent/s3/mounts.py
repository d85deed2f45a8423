"""All mounts of a runner, and the credentials that came for them."""

from __future__ import annotations

import asyncio
from typing import Any, Callable, Dict, List, Optional, Sequence

from ..failure import AgentError
from ..reaper import Reaper
from .keeper import Ground, Keeper, Tools, credentials_in, missing
from .mount import ANONYMOUS, OWN, Mount
from .s3fs import Cache
from .signing import Credentials


class Mounts:
    """See the module.  ``secrets`` is the folder of the Secrets' files: ``<id>/access_key`` ….

    s3fs that does not answer for ``patience`` seconds is killed.
    """

    def __init__(
        self,
        ground: Ground,
        cache: Cache,
        reaper: Reaper,
        secrets: str,
        log: Callable[[str], None],
        on_change: Callable[[], None],
        patience: float,
    ) -> None:
        self._tools = Tools(ground, cache, reaper, self._find, log, patience)
        self._secrets = secrets
        self._on_change = on_change
        self._own: Dict[str, Credentials] = {}
        self._keepers: Dict[str, Keeper] = {}

    def add(self, mounts: Sequence[Mount]) -> None:
        """Begin to mount what is not there yet.

        Raises :class:`AgentError` ``BadRequest`` where one is there under the same id but another.
        """
        for mount in mounts:
            known = self._keepers.get(mount.id)
            if known is not None and known.mount != mount:
                raise AgentError(
                    "BadRequest",
                    f"The runner has another mount {mount.id!r} already, at {known.mount.path}.",
                    "Start a new runner for other mounts.",
                )
        for mount in mounts:
            if mount.id not in self._keepers:
                self._keepers[mount.id] = Keeper(mount, self._tools, self._on_change)

    def give(self, credentials: Dict[str, Credentials]) -> None:
        """Credentials from the user; mounts that had others are made anew, failed ones tried again.

        Raises :class:`AgentError` ``BadRequest`` where a mount is not to have such.
        """
        for id in credentials:
            keeper = self._keepers.get(id)
            if keeper is None or keeper.mount.credentials != OWN:
                raise AgentError("BadRequest", f"No mount {id!r} takes the user's credentials.")
        self._own.update(credentials)
        for keeper in self._keepers.values():
            keeper.wake()

    def show_again(self) -> None:
        """The kernel's container is another one."""
        for keeper in self._keepers.values():
            keeper.wake(show_again=True)

    def wake(self) -> None:
        """Something that mounts wait for may be there."""
        for keeper in self._keepers.values():
            keeper.wake()

    def documents(self) -> List[Dict[str, Any]]:
        """How it goes, for clients."""
        return [keeper.status.document(keeper.mount) for keeper in self._keepers.values()]

    async def close(self, bound: float) -> None:
        """Unmount everything; ``bound`` seconds for what is yet to be written."""
        if self._keepers:
            await asyncio.wait(
                [asyncio.ensure_future(keeper.close(bound)) for keeper in self._keepers.values()]
            )

    def _find(self, mount: Mount) -> Optional[Credentials]:
        if mount.credentials == ANONYMOUS:
            return None
        if mount.credentials == OWN:
            if mount.id not in self._own:
                raise missing(mount)
            return self._own[mount.id]
        return credentials_in(self._secrets, mount)
