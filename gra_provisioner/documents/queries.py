"""What the REST API takes in queries.  Unknown names are refused, types are strict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from ..fields import wrong_field
from ..selection import SORT_KEYS
from .requests import Request

if TYPE_CHECKING:
    from typing_extensions import Self

LONGEST_GRACE = 3600.0
#: How many runners a query may name.
MOST_NAMES = 100
#: What a runner's name is.
RUNNER_NAME = "^runner-[1-9][0-9]{0,8}$"


class NoQuery(Request):
    """No query."""


class ListQuery(Request):
    """Which runners are meant. All that is given must be so."""

    name: list[Annotated[str, Field(pattern=RUNNER_NAME)]] = Field(
        default_factory=list,
        max_length=MOST_NAMES,
        description="Their names: one of those given. By default any.",
        examples=[["runner-1", "runner-2"]],
    )
    owner: str | None = Field(
        None,
        description="Whose they are; me: this server's owner's. By default everybody's that may "
        "be seen.",
    )
    status: list[Literal["starting", "running", "ended", "lost", "unknown"]] = Field(
        default_factory=list, description="What they are: one of those given."
    )
    profile: str | None = Field(None, description="The profile that they were made by.")
    label: list[Annotated[str, Field(pattern="^[^=]+=")]] = Field(
        default_factory=list,
        description="A label that they have, as NAME=VALUE. Of several, all.",
    )
    kernel: str | None = Field(
        None, description="The id of their kernel, or the name of its kernelspec."
    )
    notebook: str | None = Field(
        None, description="The path of their notebook, or a pattern: work/*.ipynb."
    )


class SortedListQuery(ListQuery):
    """Which runners are meant, in which order, how many, and how much is wanted of them."""

    sort: Literal[SORT_KEYS] = Field(  # type: ignore[valid-type]
        "name", description="What they are sorted by. age: the youngest first."
    )
    reverse: bool = Field(False, description="The other way round.")
    limit: int | None = Field(None, ge=0, le=10**9, description="At most so many.")
    inspect: bool | None = Field(
        None,
        description="Whether each is asked for what its kernel does, its clients and its use of "
        "CPU and memory. By default up to 50 are. false answers from the cache.",
    )


class GetQuery(Request):
    """How much is wanted of a runner."""

    inspect: bool = Field(
        True,
        description="Whether it is asked for what its kernel does, its clients and its use of CPU "
        "and memory.",
    )


class EventsQuery(Request):
    """Which runner of the name is meant."""

    uid: str | None = Field(
        None,
        pattern="^[A-Za-z0-9-]{1,64}$",
        description="Its uid, for one that is gone. By default the one that has the name now.",
    )


class DeleteQuery(Request):
    """How a runner is ended."""

    grace: float = Field(
        5.0,
        ge=0,
        le=LONGEST_GRACE,
        allow_inf_nan=False,
        description="After so many seconds it is killed. A pod takes whole seconds, at least 1.",
    )
    force: bool = Field(False, description="Kill it at once: as grace 0.")


class LogQuery(Request):
    """Which lines of a runner's log are meant. All that is given must be so."""

    follow: bool = Field(
        False,
        description="Whether what is written from now on is meant too: then lines are sent as "
        "server-sent events.",
    )
    since: float | None = Field(
        None,
        ge=0,
        allow_inf_nan=False,
        description="Written from then on, in seconds since the epoch. A line of which nobody has "
        "noted the time is always late enough.",
    )
    last: float | None = Field(
        None, ge=0, allow_inf_nan=False, description="Written in the last so many seconds."
    )
    tail: int = Field(
        1000, ge=0, le=1_000_000, description="At most so many of the last lines of each runner."
    )
    source: list[str] = Field(
        default_factory=list,
        description="Written by one of these: agent, kernel (or only its stdout or stderr), or "
        "another container of the pod.",
    )

    @model_validator(mode="after")
    def _one_beginning(self) -> Self:
        if self.since is not None and self.last is not None:
            raise wrong_field("last", "must be left out where since is given")
        return self


class LogsQuery(LogQuery):
    """Which lines of several runners' logs are meant."""

    runner: list[str] = Field(
        min_length=1, max_length=MOST_NAMES, description="The name of a runner. At least one."
    )
