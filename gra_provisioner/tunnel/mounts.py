"""What becomes of a runner's mounts of S3, in the log of the process that serves its kernel."""

from __future__ import annotations

import logging
from typing import Any

log = logging.getLogger(__name__)

_BAD = ("failing", "failed")


class MountLog:
    """Writes each change of a mount once: trouble as a warning, its end as information."""

    def __init__(self) -> None:
        # The last state and reason of each mount, by id.
        self._last: dict[str, tuple[str, str]] = {}

    def told(self, mounts: Any) -> None:
        """Take note of what the agent says of all mounts: ``info``'s ``mounts``."""
        for mount in mounts if isinstance(mounts, list) else ():
            state, reason = str(mount.get("state")), str(mount.get("reason") or "")
            before = self._last.get(str(mount.get("id")), ("", ""))
            self._last[str(mount.get("id"))] = (state, reason)
            if (state, reason) == before:
                continue
            if state in _BAD:
                words = (mount.get("message"), mount.get("hint"))
                said = " ".join(str(word) for word in words if word)
                log.warning("The mount %s is %s (%s). %s", mount.get("path"), state, reason, said)
            elif state == "mounted" and before[0] in _BAD:
                log.info("The mount %s is there again.", mount.get("path"))
