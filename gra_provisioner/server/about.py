"""What can be asked about the server itself: its profiles, its health."""

from __future__ import annotations

import asyncio
from typing import Any

from ..errors import ConfigError, GraError
from ..profiles import Config, resolve
from .calls import Call, Reply, Setting, encoded

# A probe asks every few seconds, and does not wait for long.
_READY_WITHIN = 10.0


async def list_profiles(setting: Setting, call: Call) -> Reply:
    """``GET profiles``."""
    config = setting.config
    found = [_profile(config, name) for name in sorted(config.profiles)]
    return Reply(200, encoded({"profiles": found}))


def _profile(config: Config, name: str) -> dict[str, Any]:
    settings: dict[str, Any] | None = None
    problem: dict[str, Any] | None = None
    try:
        settings = resolve(config, {"profile": name}).public()
    except ConfigError as error:
        # One that cannot be used hides no other.
        problem = error.to_dict()
    else:
        del settings["profile"], settings["description"]
    return {
        "name": name,
        "description": config.profiles[name].description,
        "default": name == config.default_profile,
        "settings": settings,
        "error": problem,
    }


def health(call: Call) -> Reply:
    """``GET health``."""
    return Reply(200, encoded({"status": "ok"}))


async def ready(setting: Setting, call: Call) -> Reply:
    """``GET ready``."""
    try:
        await asyncio.wait_for(setting.service.check(), _READY_WITHIN)
    except asyncio.TimeoutError:
        raise GraError(
            f"The {setting.service.backend_name} backend did not answer within "
            f"{_READY_WITHIN:g} s ({setting.service.backend_reason}).",
            hint="Runners go on. `gra list` on the server's host may say more.",
            reason="NotReady",
        ) from None
    document = {
        "status": "ready",
        "backend": setting.service.backend_name,
        "backend_reason": setting.service.backend_reason,
    }
    return Reply(200, encoded(document))
