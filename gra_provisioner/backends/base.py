"""What every backend can do: the protocol between :mod:`gra_provisioner.service` and the world.

A backend knows how to make, find and end runners and how to dial the agent in one.  It knows
nothing of kernels, channels or Jupyter: those go through the tunnel, the same for all backends.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Protocol

from ..diagnosis import Finding
from ..logs import LogLine, LogQuery
from ..runner import Change, Runner, RunnerEvent, RunnerLabels, RunnerSpec, Stale
from ..selection import Selection

# Told once for each phase of a start, as it begins: ("starting", "agent of runner-3 started").
PhaseCallback = Callable[[str, str], None]


def ignore_phase(phase: str, message: str) -> None:
    """A :data:`PhaseCallback` for callers that show no progress."""


# Told what is being waited for, as a sentence, when that changes.
NoticeCallback = Callable[[str], None]


def ignore_notice(message: str) -> None:
    """A :data:`NoticeCallback` for callers that show none."""


class Backend(Protocol):
    """One place where runners live.  All methods are called on gra's background loop."""

    @property
    def name(self) -> str:
        """``local`` or ``kubernetes``: stored in :attr:`Runner.backend`."""
        ...

    async def create(
        self,
        spec: RunnerSpec,
        labels: RunnerLabels,
        on_phase: PhaseCallback = ignore_phase,
        *,
        wait: bool = True,
    ) -> Runner:
        """Make a runner under the lowest free name ``runner-N`` and wait until it is started.

        Raises :class:`~gra_provisioner.errors.LaunchError` or
        :class:`~gra_provisioner.errors.BackendError`; nothing is left behind then, nor when
        the call is cancelled.  Without ``wait`` it is enough that the runner was accepted; how
        its start goes on, or why it does not, :meth:`get` tells.
        """
        ...

    async def check(self) -> None:
        """Raise what keeps runners from being made and listed just now, if anything is known to.

        A :class:`~gra_provisioner.errors.BackendError`, or for credentials that cannot be read a
        :class:`~gra_provisioner.errors.ConfigError`.
        """
        ...

    async def diagnose(self, spec: RunnerSpec, owner: str) -> Sequence[Finding]:
        """What such a runner of this owner would find here, above all which ways to S3 it has.

        Makes nothing.  Raises :class:`~gra_provisioner.errors.BackendError` where the backend
        cannot be asked, and :class:`~gra_provisioner.errors.ConfigError` for a spec that no runner
        can be made by.
        """
        ...

    async def get(self, name: str) -> Runner:
        """The runner of that name.  Raises :class:`~gra_provisioner.errors.RunnerNotFound`."""
        ...

    async def list(self) -> list[Runner]:
        """All runners, ended and lost ones included, ordered by number."""
        ...

    def pages(self, selection: Selection) -> AsyncGenerator[Sequence[Runner], None]:
        """The runners that are meant as they are now, in parts as they become known.

        Each part is ordered by number.  For whoever asks once: of the selection, order and limit do
        not count.
        """
        ...

    def watch(self) -> AsyncGenerator[Change, None]:
        """All runners as ``ADDED``, ``SYNCED`` once they were told, then what becomes of them.

        Of changes that come faster than they are taken the last one of each runner is told.  A
        backend that cannot be asked for a while tells ``STALE``, at the beginning or as soon as it
        is known, and its runners as ``UNKNOWN``; later ``FRESH``.  Raises
        :class:`~gra_provisioner.errors.BackendError` where there has never been a list.
        """
        ...

    def stale(self) -> Stale | None:
        """Why :meth:`list` tells what was and not what is, if it does."""
        ...

    def last_seen(self, name: str, uid: str) -> Runner | None:
        """A runner that is gone, as this process saw it last, if it did."""
        ...

    async def events(self, name: str, uid: str) -> Sequence[RunnerEvent]:
        """What the cluster has said about this runner, the newest last, as far as it still knows.

        Raises :class:`~gra_provisioner.errors.BackendError`.
        """
        ...

    def logs(
        self, runner: Runner, query: LogQuery, on_notice: NoticeCallback = ignore_notice
    ) -> AsyncGenerator[LogLine, None]:
        """What the runner wrote, by time, and if it is followed what it writes, as it comes.

        Of one that is followed, the end of the runner ends it; a connection that drops meanwhile
        loses no line and repeats none.  Raises :class:`~gra_provisioner.errors.RunnerNotFound`,
        :class:`~gra_provisioner.errors.UnknownLogSource`, for a runner that has no log
        :class:`~gra_provisioner.errors.LogUnavailable` (of one that is starting and followed it is
        waited for) or :class:`~gra_provisioner.errors.RunnerStartError`, or another
        :class:`~gra_provisioner.errors.BackendError`.
        """
        ...

    async def delete(self, runner: Runner, *, grace: float = 5.0, wait: bool = True) -> None:
        """End the runner and remove what it left.  Deleting one that is gone is no error.

        After ``grace`` seconds it is killed.  A runner that has the name but another uid is
        not touched.  Without ``wait``, that its end is certain is enough: it may go on for the
        grace.
        """
        ...

    async def dial(
        self,
        runner: Runner,
        protocol_factory: Callable[[], asyncio.Protocol],
        *,
        mostly_sends: bool = False,
    ) -> asyncio.Transport:
        """A new byte stream to the agent, as :meth:`asyncio.loop.create_connection` gives it.

        Where there are ways that are better for one direction, it is one for what is sent if
        ``mostly_sends``, and ``get_extra_info("traffic")`` is a :class:`~..traffic.Traffic`.
        Raises :class:`~gra_provisioner.errors.Unreachable` where a later try may succeed, and
        :class:`~gra_provisioner.errors.RunnerEnded` (with why, as far as is known) or
        :class:`~gra_provisioner.errors.RunnerNotFound` where none can.
        """
        ...

    async def close(self) -> None:
        """Release what the backend holds in this process.  Runners go on."""
        ...
