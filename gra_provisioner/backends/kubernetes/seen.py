"""What pods were last found to be, so that a list does not look into each of thousands anew.

Reading a pod takes 50 to 150 µs, which is a quarter of a second for 5,000; most have not changed
since the last list.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ...runner import Runner, RunnerStatus

Pod = Mapping[str, Any]


@dataclass(frozen=True)
class _Seen:
    pod: Pod
    runner: Runner
    until: float


class SeenRunners:
    """The runners of the pods of the last list, by uid.

    A pod is never changed in place (:class:`.reflector.Reflector` replaces it), so the same object
    means the same, but for what time brings.  ``clock`` is in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[str, _Seen] = {}

    def runners(
        self,
        pods: Iterable[Pod],
        started: Collection[str],
        look: Callable[[Pod], tuple[Runner, float]],
    ) -> list[Runner]:
        """The runners of these pods, in their order.

        ``look`` tells what a pod is, and for how many seconds that holds.  ``started`` are the
        uids of runners whose start was seen: one of them that was found to be starting is looked
        at again.
        """
        now = self._clock()
        before, self._seen = self._seen, {}
        for pod in pods:
            uid = pod["metadata"]["uid"]
            seen = before.get(uid)
            if seen is None or not _holds(seen, pod, now, started):
                runner, holds_for = look(pod)
                seen = _Seen(pod, runner, now + holds_for)
            self._seen[uid] = seen
        return [seen.runner for seen in self._seen.values()]


def _holds(seen: _Seen, pod: Pod, now: float, started: Collection[str]) -> bool:
    if seen.pod is not pod or now >= seen.until:
        return False
    return seen.runner.status is not RunnerStatus.STARTING or seen.runner.uid not in started
