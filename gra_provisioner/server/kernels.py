"""Kernels of this Jupyter server's on runners: started with settings of their own.

Runs on the server's loop, as its kernel manager does.
"""

from __future__ import annotations

import asyncio
import posixpath
import time
from collections.abc import Mapping
from typing import Any

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_core.utils import ensure_async
from tornado.web import HTTPError

from ..documents.requests import StartKernel
from ..errors import ConfigError, GraError, LaunchError
from ..kernel_launch import LAUNCH, LaunchFailed, LaunchSettings
from ..kernelspecs import InstalledKernelSpec, installed
from ..profiles import Config, resolve
from ..runner import Runner
from .calls import Call, Reply, Server, Setting, encoded
from .runners import BODY, end_runner

# Of the kernelspecs that the wheel brings, the one that leaves the profile to the configuration.
_GENERAL = "gra"
# After the end of a kernel's runner, in seconds: how long the kernel's clients may take to be told.
_TOLD_WITHIN = 15.0
_LOOK_EVERY = 0.05


async def start_kernel(server: Server, call: Call) -> Reply:
    """``POST kernels``."""
    body: StartKernel = call.body
    launch = LaunchSettings(body.launch(), BODY)

    async def config_of(setting: Setting) -> Config:
        return setting.config

    config = await server.background.run(config_of)
    name = await asyncio.to_thread(
        kernelspec_for, server.kernelspecs, body.name, body.profile, server.kernels, config
    )
    own = await asyncio.to_thread(_settings_of, server.kernelspecs, name)
    # What is wrong is said before anything is started.
    resolve(
        config,
        own,
        f"kernelspec {name!r} metadata",
        launch=launch.settings,
        launch_source=launch.source,
    )
    id = await _start(server, name, {LAUNCH: launch, **await _place(server, body.path)})
    try:
        document = {
            "kernel": {"id": id, "name": name},
            "runner": await server.background.run(lambda setting: _runner(server, setting, id)),
        }
    except BaseException:
        await asyncio.shield(shut_down(server.kernels, id))
        raise
    return Reply(
        201,
        encoded(document),
        {"Location": f"{call.base_url}api/kernels/{id}"},
        undo_here=lambda: shut_down(server.kernels, id),
    )


def kernelspec_for(
    manager: KernelSpecManager, name: str, profile: str, kernels: Any, config: Config
) -> str:
    """Which kernelspec is meant, by ``name`` or else by ``profile``; both may be empty.

    Raises :class:`~..errors.ConfigError` ``UnknownKernelSpec`` or ``NotOurKernelSpec``.
    """
    ours = installed(manager)
    names = [spec.name for spec in ours]
    if name:
        # Jupyter takes no account of their case.
        if name.lower() in names:
            return name.lower()
        raise _refused(name, name.lower() in manager.find_kernel_specs(), names)
    if profile:
        for spec in ours:
            if _profile_of(spec, config) == profile:
                return spec.name
    for known in (kernels.default_kernel_name, _GENERAL, *names):
        if known in names:
            return str(known)
    raise ConfigError(
        "This Jupyter server has no kernelspec of gra's.",
        hint="`gra kernelspec install` makes one.",
        reason="UnknownKernelSpec",
    )


async def delete_runner(server: Server, call: Call) -> Reply:
    """``DELETE runners/{name}``: with it a kernel of this server's that is there."""
    runner = await server.background.run(lambda setting: end_runner(setting, call))
    kernels = server.kernels
    ids = [id for id in kernels.list_kernel_ids() if _uid_of(kernels, id) == runner.uid]
    deadline = time.monotonic() + _TOLD_WITHIN
    for id in ids:
        # Its provisioner sees to it, once the notebook's output says what has happened.  The
        # server's list tells nobody of a change.
        while id in kernels and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_EVERY)
        await shut_down(kernels, id)
    return Reply(204, None)


async def shut_down(kernels: Any, id: str) -> None:
    """Shut a kernel down, if the server has it yet."""
    if id in kernels:
        await ensure_async(kernels.shutdown_kernel(id, now=True))


# -- inside -------------------------------------------------------------------------------------


def _uid_of(kernels: Any, id: str) -> str:
    runner: Runner | None = getattr(kernels.get_kernel(id).provisioner, "runner", None)
    return "" if runner is None else runner.uid


def _profile_of(spec: InstalledKernelSpec, config: Config) -> str:
    return spec.profile or config.default_profile


def _refused(name: str, exists: bool, ours: list[str]) -> ConfigError:
    hint = f"Those of gra's are: {', '.join(ours) or 'none'}."
    details = {"fields": ["name"], "kernelspecs": ours}
    if exists:
        return ConfigError(
            f"{BODY}: name is {name!r}, which is a kernelspec of something else than gra.",
            hint=f"{hint} POST api/kernels starts kernels of any other.",
            reason="NotOurKernelSpec",
            details=details,
        )
    return ConfigError(
        f"{BODY}: name is {name!r}, but there is no such kernelspec.",
        hint=hint,
        reason="UnknownKernelSpec",
        details=details,
    )


def _settings_of(manager: KernelSpecManager, name: str) -> Mapping[str, Any]:
    stanza = manager.get_kernel_spec(name).metadata["kernel_provisioner"]
    config: Mapping[str, Any] = stanza.get("config", {})
    return config


async def _place(server: Server, path: str) -> dict[str, Any]:
    """Where a kernel works, as ``SessionManager.start_kernel_for_session`` has it."""
    try:
        is_folder = await ensure_async(server.contents.dir_exists(path))
    except HTTPError as error:
        raise GraError(
            f"{BODY}: path is {path!r}, which is no path of this server's: {error.log_message}",
            hint="Paths are as GET api/contents has them.",
            reason="InvalidRequest",
            details={"source": BODY, "fields": ["path"]},
        ) from None
    if is_folder:
        return {"path": path}
    folder = await ensure_async(server.contents.get_kernel_path(path=path))
    env = server.sessions.get_kernel_env(path, posixpath.basename(path))
    return {"path": folder, "env": env}


async def _start(server: Server, name: str, options: Mapping[str, Any]) -> str:
    kernels = server.kernels
    id: str = kernels.new_kernel_id()
    try:
        await ensure_async(kernels.start_kernel(kernel_name=name, kernel_id=id, **options))
    except BaseException as error:
        await asyncio.shield(shut_down(kernels, id))
        # Nobody else forgets a kernel that did not start, and the server's own stop trips over it
        # (jupyter_client, MultiKernelManager._add_kernel_when_ready).
        kernels._pending_kernels.pop(id, None)
        if isinstance(error, LaunchFailed):
            # As what it was, which decides about the status.
            raise error.error from None
        raise
    return id


async def _runner(server: Server, setting: Setting, id: str) -> dict[str, Any]:
    """On the background loop: the document of a kernel's runner, as it is now."""
    runner: Runner | None = getattr(server.kernels.get_kernel(id).provisioner, "runner", None)
    if runner is None:
        raise LaunchError(
            "The kernel has no runner: another one of the server's managers has started it.",
            hint="The server's kernel manager is to start kernels on this machine itself.",
        )
    now = await setting.service.get(runner.name)
    return {**setting.access.public(now), "backend_reason": setting.service.backend_reason}
