"""Connection files: written for clients of an attached runner, read from a launcher's client.

The format is that of
https://jupyter-client.readthedocs.io/en/stable/kernels.html#connection-files; the file holds
the key that signs messages, so only its owner may read it.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from ..errors import ConfigError, GraError

PORTS = ("shell_port", "iopub_port", "stdin_port", "control_port", "hb_port")


@contextlib.contextmanager
def connection_file(path: Path, info: Mapping[str, Any]) -> Iterator[Path]:
    """The file with mode 0600, there as a whole or not at all, removed at the end.

    A file that someone else has put in its place meanwhile stays.  Raises
    :class:`~gra_provisioner.errors.GraError` where it cannot be written.
    """
    try:
        file = _written(path, json.dumps(info, indent=2))
    except OSError as error:
        raise GraError(
            f"the connection file {path} cannot be written: {error.strerror}",
            hint="Name another with -f, or another folder in JUPYTER_RUNTIME_DIR.",
            reason="ConnectionFileNotWritable",
        ) from error
    # Kept open: as long as it is, no other file can have its inode number.
    with file:
        try:
            yield path
        finally:
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(path.stat(), os.fstat(file.fileno())):
                    path.unlink()


def _written(path: Path, text: str) -> IO[str]:
    """The open file, in its place and only readable by its owner (as mkstemp makes it)."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    file = os.fdopen(descriptor, "w", encoding="utf-8")
    try:
        file.write(text)
        file.flush()
        Path(temporary).replace(path)
    except BaseException:
        file.close()
        Path(temporary).unlink()
        raise
    return file


def read_connection_file(path: Path) -> dict[str, Any]:
    """What a client wrote for its kernel: transport tcp, an address, five ports and a key.

    Raises :class:`~gra_provisioner.errors.ConfigError`, which names file and field and never
    shows the key.
    """
    try:
        info = json.loads(path.read_bytes())
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
    except ValueError:
        problem = "is not JSON"
    else:
        problem = _problem(info)
        if not problem:
            return dict(info)
    raise ConfigError(
        f"the connection file {path} {problem}",
        hint="It is written by the Jupyter client that starts this kernel.",
        reason="BadConnectionFile",
    )


def _problem(info: object) -> str:
    """What makes a connection file's content unusable, "" if nothing does."""
    if not isinstance(info, Mapping):
        return "is not a JSON object"
    if info.get("transport", "tcp") != "tcp":
        return f"has transport {info['transport']!r}; a runner's channels are served by tcp only"
    if "curve_publickey" in info:
        return "asks for CURVE encryption, which a runner's channels do not speak"
    for name in PORTS:
        port = info.get(name)
        if isinstance(port, bool) or not isinstance(port, int) or not 0 < port < 2**16:
            return f"has {name} {port!r}, must be a port from 1 to 65535"
    for name in ("ip", "key"):
        if not isinstance(info.get(name), str):
            return f"has no {name}, must be a text"
    return ""
