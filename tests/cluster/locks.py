"""Who may change the cluster, and who may use it: advisory locks between processes."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cluster.layout import ClusterError, Layout

_HOST_LOCK = Path("/run/lock/gra-test-cluster")
# Another `up` may be building everything from nothing.
_HOST_BOUND = 1200.0
# How long one test may keep the cluster from others.
_USE_BOUND = 600.0


@contextmanager
def host_lock() -> Iterator[None]:
    """Held while the cluster of this host is brought up or taken down.

    Raises :class:`ClusterError` if another process keeps it for too long.
    """
    _HOST_LOCK.parent.mkdir(parents=True, exist_ok=True)
    with _HOST_LOCK.open("a") as file:
        _take(file.fileno(), fcntl.LOCK_EX, f"the lock {_HOST_LOCK}", _HOST_BOUND)
        yield


class Use:
    """Says to other test runs of this host whether a test has the cluster to itself.

    A test that stops parts would break what another run is about: it waits until no other test
    runs, and others wait for it.  All methods raise :class:`ClusterError` if that takes too long.
    Who comes later waits at the turnstile, or a test that wants to be alone would never be.
    """

    def __init__(self, layout: Layout) -> None:
        layout.cache.mkdir(parents=True, exist_ok=True)
        self._file = (layout.cache / "use.lock").open("a")
        self._turnstile = (layout.cache / "turnstile.lock").open("a")

    def __enter__(self) -> Use:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()
        self._turnstile.close()

    def shared(self) -> None:
        self._lock(fcntl.LOCK_SH)
        fcntl.flock(self._turnstile, fcntl.LOCK_UN)

    def try_shared(self) -> bool:
        """As :meth:`shared`, but False where that would have to be waited for."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def alone(self) -> None:
        self._lock(fcntl.LOCK_EX)

    def end(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_UN)
        fcntl.flock(self._turnstile, fcntl.LOCK_UN)

    def _lock(self, kind: int) -> None:
        # Whoever waits holds nothing, so that two do not wait for each other.
        fcntl.flock(self._file, fcntl.LOCK_UN)
        what = "other tests to be done with the cluster"
        _take(self._turnstile.fileno(), fcntl.LOCK_EX, what, _USE_BOUND)
        _take(self._file.fileno(), kind, what, _USE_BOUND)


def _take(fd: int, kind: int, what: str, bound: float) -> None:
    deadline = time.monotonic() + bound
    while True:
        try:
            fcntl.flock(fd, kind | fcntl.LOCK_NB)
        except BlockingIOError:  # noqa: PERF203
            if time.monotonic() >= deadline:
                raise ClusterError(f"waited {bound:g} s for {what}") from None
            time.sleep(0.1)
        else:
            return
