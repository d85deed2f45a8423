"""What a server lets its user do with which owner's runners.  Pure.

``hidden``: others' runners are as if they did not exist.  ``visible``: they can be seen, and no
more.  ``managed``: whatever can be done with one's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from ..errors import GraError, RunnerNotFound
from ..runner import Runner

OtherOwners = Literal["hidden", "visible", "managed"]


@dataclass(frozen=True)
class Access:
    """``owner`` is the server's, ``other_owners`` what is configured."""

    owner: str
    other_owners: OtherOwners

    def is_mine(self, runner: Runner) -> bool:
        """Whether the runner belongs to the server's owner."""
        return runner.labels.owner == self.owner

    def may_see(self, runner: Runner) -> bool:
        """Whether the runner is listed, told of and given."""
        return self.other_owners != "hidden" or self.is_mine(runner)

    def may_use(self, runner: Runner) -> bool:
        """Whether it may be ended, run commands in and have its logs read."""
        return self.other_owners == "managed" or self.is_mine(runner)

    def check_seen(self, runner: Runner) -> None:
        """Raise :class:`RunnerNotFound` for a runner that is not to be seen."""
        if not self.may_see(runner):
            raise not_found(runner.name)

    def check_used(self, runner: Runner) -> None:
        """Raise for a runner that is not to be used: as if it did not exist, or why not."""
        self.check_seen(runner)
        if not self.may_use(runner):
            raise GraError(
                f"{runner.name} belongs to {runner.labels.owner or 'nobody known'}, this server's "
                f"runners to {self.owner}.",
                hint='Only server.other_owners = "managed" in the server\'s gra/config.toml '
                "allows it.",
                reason="NotYourRunner",
                details={"runner": runner.name, "owner": runner.labels.owner},
            )

    def public(self, runner: Runner) -> dict[str, Any]:
        """The runner as JSON types, with whether it is one's own."""
        return {**runner.public(), "mine": self.is_mine(runner)}


def not_found(name: str) -> RunnerNotFound:
    """The same for a runner that is not there and for one that is hidden."""
    return RunnerNotFound(
        f"There is no runner {name!r}.", hint="GET gra/api/runners lists those there are."
    )
