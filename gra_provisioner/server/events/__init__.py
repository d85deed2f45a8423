"""Jupyter events about runners: their schemas, and who emits them.

The schemas are the YAML files beside this module
(https://jupyter-events.readthedocs.io/en/latest/user_guide/defining-schema.html).  Importing this
module imports neither the server nor jupyter_events: the logger is given by those who have one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import ResultsNotFetched
from ...progress import FAILED_STATE, LaunchEnd

if TYPE_CHECKING:
    from jupyter_events import EventLogger

    from ...runner import Runner
    from ...tunnel.kernel import KernelExit
    from ...workspace.sync import Returned

RUNNER_LAUNCH = "https://events.gra.dev/gra_provisioner/runner_launch/v1"
KERNEL_DEATH = "https://events.gra.dev/gra_provisioner/kernel_death/v1"
RUNNER_RESULTS = "https://events.gra.dev/gra_provisioner/runner_results/v1"

SCHEMAS: Mapping[str, Path] = {
    RUNNER_LAUNCH: Path(__file__).with_name("runner_launch.yaml"),
    KERNEL_DEATH: Path(__file__).with_name("kernel_death.yaml"),
    RUNNER_RESULTS: Path(__file__).with_name("runner_results.yaml"),
}

log = logging.getLogger(__name__)


def register(event_logger: EventLogger) -> None:
    """Make the schemas known to a server's event logger.  Can be called again."""
    for id, path in SCHEMAS.items():
        if id not in event_logger.schemas:
            event_logger.register_event_schema(path)


@dataclass(frozen=True)
class Subject:
    """Which kernel events are about."""

    kernel_id: str = ""
    kernel_name: str = ""
    notebook: str = ""
    profile: str = ""

    def public(self) -> dict[str, str]:
        """What is known, as fields of an event."""
        return {name: value for name, value in vars(self).items() if value}


class Emitter:
    """Emits the events of one kernel, from any thread.

    jupyter_events makes tasks for its listeners (``EventLogger.emit``), so it must be called on the
    server's event loop: on the one that this object is made on.  Events of a schema that is not
    registered, because the extension is disabled, are not emitted.
    """

    def __init__(self, event_logger: EventLogger, subject: Subject) -> None:
        self._event_logger = event_logger
        self._subject = subject
        self._loop = asyncio.get_running_loop()

    def launching(self) -> LaunchEvents:
        """The observer of one launch of the kernel."""
        return LaunchEvents(self)

    def died(self, runner: str, end: KernelExit, runner_uid: str = "") -> None:
        """Say that the kernel died, and why.  Not for an end that was asked for."""
        data: dict[str, Any] = {
            "runner": runner,
            "reason": end.reason,
            "message": end.obituary.message,
            "hint": end.obituary.hint,
            "stderr": list(end.obituary.stderr),
            "code": end.code,
            "runner_gone": end.runner_gone,
        }
        if runner_uid:
            data["runner_uid"] = runner_uid
        if end.memory:
            data["memory"] = dict(end.memory)
        self.emit(KERNEL_DEATH, data)

    def results(self, runner: Runner, outcome: Returned | ResultsNotFetched) -> None:
        """Say what came back from a runner, if there is anything to be told."""
        data: dict[str, Any] = {"runner": runner.name, "runner_uid": runner.uid}
        if isinstance(outcome, ResultsNotFetched):
            data.update(state=FAILED_STATE, reason=outcome.code)
            data.update(message=outcome.message, hint=outcome.hint)
        elif outcome.notices:
            said = [outcome.summary and f"{outcome.summary}.", *outcome.notices]
            data.update(state="noticed", message=" ".join(filter(None, said)))
        elif outcome.summary:
            data.update(state="returned", message=f"{outcome.summary}.")
        else:
            return
        self.emit(RUNNER_RESULTS, data)

    def emit(self, schema: str, data: Mapping[str, Any]) -> None:
        """Emit an event soon, in the order of the calls."""
        if schema not in self._event_logger.schemas:
            return
        try:
            self._loop.call_soon_threadsafe(self._emit, schema, {**self._subject.public(), **data})
        except RuntimeError:
            log.debug("no event %s: the server's event loop is closed", schema)

    def _emit(self, schema: str, data: dict[str, Any]) -> None:
        self._event_logger.emit(schema_id=schema, data=data)


class LaunchEvents:
    """A :class:`~gra_provisioner.progress.LaunchObserver`: one event for each phase and the end."""

    def __init__(self, emitter: Emitter) -> None:
        self._emitter = emitter

    def on_phase(self, phase: str, message: str, runner: str = "") -> None:
        """See :class:`~gra_provisioner.progress.LaunchObserver`."""
        data = {"state": "launching", "phase": phase, "message": message, "runner": runner}
        self._emitter.emit(RUNNER_LAUNCH, data)

    def on_end(self, end: LaunchEnd) -> None:
        """See :class:`~gra_provisioner.progress.LaunchObserver`."""
        data: dict[str, Any] = {
            "state": end.state,
            "phase": end.phase,
            "message": end.message or end.summary,
            "runner": end.runner,
            "reason": end.reason,
            "hint": end.hint,
            "seconds": round(end.seconds, 3),
            "phases": [time.public() for time in end.phases],
        }
        if end.runner_uid:
            data["runner_uid"] = end.runner_uid
        if end.state == FAILED_STATE:
            data["details"] = {"events": list(end.events), "log": list(end.log)}
        self._emitter.emit(RUNNER_LAUNCH, data)
