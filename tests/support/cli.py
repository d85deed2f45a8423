"""The ``gra`` command as a user runs it: another process."""

from __future__ import annotations

import json
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any

from tests.support.waiting import WaitTimeout

GRA = (sys.executable, "-m", "gra_provisioner")


def gra(
    *arguments: str, timeout: float = 60.0, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run ``gra`` to its end.  The caller looks at the exit code.

    ``env`` is the whole environment of its process; this one's by default.
    """
    return subprocess.run(
        [*GRA, *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        stdin=subprocess.DEVNULL,
        env=env,
    )


def gra_json(*arguments: str) -> Any:
    """What ``gra … --json`` prints.  Fails the test, with its stderr, if it fails."""
    result = gra(*arguments, "--json")
    if result.returncode != 0:
        raise AssertionError(f"gra {' '.join(arguments)}: {result.returncode}\n{result.stderr}")
    return json.loads(result.stdout)


def read_line(stream: IO[bytes], what: str, timeout: float = 30.0) -> str:
    """The next line of an unbuffered pipe, or :class:`WaitTimeout` naming ``what``."""
    deadline = time.monotonic() + timeout
    line = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while not line.endswith(b"\n"):
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise WaitTimeout(f"a line: {what} (got {line!r})", timeout)
            byte = stream.read(1)
            if not byte:
                raise AssertionError(f"the output ended before a line came: {what} ({line!r})")
            line += byte
    return line.decode()


def stop(process: subprocess.Popen[bytes], signum: int, what: str, timeout: float = 30.0) -> int:
    """Send a signal, wait for the end, return the exit code.  Killed if it never ends."""
    if process.poll() is None:
        process.send_signal(signum)
    try:
        return process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise WaitTimeout(f"{what} to end on signal {signum}", timeout) from None


@contextmanager
def attached(name: str) -> Iterator[dict[str, Any]]:
    """``gra attach NAME --json`` while the block runs; yields the object that it prints."""
    with subprocess.Popen(
        [*GRA, "attach", name, "--json"], stdout=subprocess.PIPE, bufsize=0
    ) as process:
        try:
            assert process.stdout is not None
            yield json.loads(read_line(process.stdout, f"the connection file of {name}"))
        finally:
            stop(process, signal.SIGINT, "gra attach")


@contextmanager
def running_gra(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """``gra`` with its output in pipes while the block runs, and SIGTERM at the end of it."""
    with subprocess.Popen(
        [*GRA, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                stop(process, signal.SIGTERM, f"gra {arguments[0]}")
