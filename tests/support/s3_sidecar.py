"""A pod's S3 sidecar and its kernel's container, played by processes of this host.

The sidecar is root in a mount namespace of its own; the container another namespace, in which the
mounts' folders are read-only mounts, and where an agent runs as uid 1000.  Needs root.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import shutil
import signal
import subprocess
import zipfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil

from gra_provisioner.archive import build_agent_archive
from gra_provisioner.tunnel.client import Tunnel
from tests.support.waiting import until

USER = 1000
# One that other users may run too, which that of a virtual environment in a home may not be.
PYTHON = shutil.which("python3", path="/usr/bin:/usr/local/bin") or "python3"
_BOUND = 30.0
_ENV = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LANG": "C.UTF-8"}


class Pod:
    """See the module.  ``mounts`` as in the variable ``GRA_S3_MOUNTS``; all below ``folder``."""

    def __init__(self, folder: Path, mounts: Sequence[dict[str, Any]]) -> None:
        self.folder = folder
        self.secrets = folder / "secrets"
        self.socket = folder / "shared" / "mounter.sock"
        self.log = folder / "sidecar.log"
        self.agent_log = folder / "agent" / "agent.log"
        self._mounts = list(mounts)
        self._archive = folder / "agent.pyz"
        self._sidecar: subprocess.Popen[bytes] | None = None
        self._container: subprocess.Popen[bytes] | None = None
        for path in (folder, folder.parent):
            path.chmod(0o755)
        for name in ("shared", "cache", "secrets", "agent", "work"):
            (folder / name).mkdir()
        os.chown(folder / "agent", USER, USER)
        os.chown(folder / "work", USER, USER)
        self._archive.write_bytes(build_agent_archive())
        assert zipfile.is_zipfile(self._archive)
        for mount in mounts:
            Path(mount["path"]).mkdir(parents=True)

    # -- the sidecar ------------------------------------------------------------------------

    def start_sidecar(self, *options: str) -> None:
        """Start it, or start it again, as the kubelet does."""
        words = [PYTHON, "-I", "-S", str(self._archive), "s3-sidecar"]
        words += ["--socket", str(self.socket), "--user", str(USER)]
        words += ["--secrets", str(self.secrets), "--cache", str(self.folder / "cache")]
        words += ["--cache-size", str(256 << 20), *options]
        with self.log.open("ab") as log:
            self._sidecar = subprocess.Popen(
                # In a pid namespace, as in a container: what it has started ends with it.
                ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", *words],
                env={**_ENV, "GRA_S3_MOUNTS": json.dumps(self._mounts)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def s3fs(self) -> list[psutil.Process]:
        """The s3fs processes that run."""
        if self._sidecar is None:
            return []
        children = psutil.Process(self._sidecar.pid).children(recursive=True)
        return [child for child in children if child.name() == "s3fs"]

    def kill_sidecar(self) -> None:
        """SIGKILL to its pid 1, and so to all in it."""
        if self._sidecar is not None:
            self._sidecar.kill()
            self._sidecar.wait(_BOUND)
            self._sidecar = None

    def stop_sidecar(self) -> int:
        """SIGTERM to its pid 1; the exit code."""
        assert self._sidecar is not None
        (child,) = psutil.Process(self._sidecar.pid).children()
        child.send_signal(signal.SIGTERM)
        code = self._sidecar.wait(_BOUND)
        self._sidecar = None
        return code

    # -- the kernel's container ---------------------------------------------------------------

    def start_container(self) -> None:
        """Start the container with its agent."""
        agent = self.folder / "agent"
        words = [PYTHON, "-I", "-S", str(self._archive), "--directory", str(agent)]
        words += ["--socket", str(agent / "agent.sock"), "--uid", "test", "--scope", "processes"]
        words += ["--log", str(self.agent_log), "--s3-socket", str(self.socket)]
        bare = [
            f"mount -t tmpfs -o ro,size=64k,mode=0777 bare {shlex.quote(mount['path'])}"
            for mount in self._mounts
        ]
        drop = f"setpriv --reuid {USER} --regid {USER} --clear-groups --bounding-set -all"
        script = " && ".join([*bare, f"exec {drop} --no-new-privs {shlex.join(words)}"])
        with (self.folder / "agent.err").open("ab") as errors:
            self._container = subprocess.Popen(
                ["unshare", "--mount", "--propagation", "private", "sh", "-c", script],
                env=_ENV,
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
            )
        until(self._agent_listens, "the agent", _BOUND)

    def _agent_listens(self) -> bool:
        if self._container is None or self._container.poll() is not None:
            said = (self.folder / "agent.err").read_text()
            raise AssertionError(f"the agent did not start:\n{said}")
        return (self.folder / "agent" / "agent.sock").exists()

    def path(self, path: str | Path) -> Path:
        """A path of the container, as this process reaches it."""
        assert self._container is not None
        return Path(f"/proc/{self._container.pid}/root") / str(path).lstrip("/")

    def run(self, script: str, bound: float = _BOUND) -> subprocess.CompletedProcess[str]:
        """A shell command in the container, by the kernel's user."""
        assert self._container is not None
        enter = ["nsenter", "--mount", "--target", str(self._container.pid)]
        drop = ["setpriv", "--reuid", str(USER), "--regid", str(USER), "--clear-groups"]
        return subprocess.run(
            [*enter, *drop, "sh", "-c", script],
            check=False,
            capture_output=True,
            text=True,
            env=_ENV,
            timeout=bound,
        )

    @asynccontextmanager
    async def tunnel(
        self, on_event: Callable[[str, dict[str, Any]], None] = lambda name, data: None
    ) -> AsyncIterator[Tunnel]:
        """A tunnel to the container's agent."""
        loop = asyncio.get_running_loop()

        async def dial(factory: Callable[[], asyncio.Protocol], **_: Any) -> asyncio.Transport:
            path = str(self.folder / "agent" / "agent.sock")
            transport, _protocol = await loop.create_unix_connection(factory, path)
            return transport

        tunnel = Tunnel(dial, on_event)
        await tunnel.connect()
        try:
            yield tunnel
        finally:
            await tunnel.close()

    def close(self) -> None:
        """End what runs, as the kubelet does: the kernel's container first."""
        if self._container is not None:
            self._container.terminate()
            try:
                self._container.wait(_BOUND)
            finally:
                self._container.kill()
        if self._sidecar is not None:
            try:
                self.stop_sidecar()
            finally:
                self.kill_sidecar()
