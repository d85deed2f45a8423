"""What an operation of the REST API is, and what it is given and gives.

Nothing here knows the web server: :mod:`.operations` is the table of operations, :mod:`.handlers`
makes request handlers of it and :mod:`.openapi` their description.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

from pydantic import BaseModel

from ..documents.queries import NoQuery
from ..documents.requests import Request
from ..profiles import Config
from ..service import RunnerService
from .access import Access

T = TypeVar("T")

#: Below the server's base URL.
ROOT = "gra/api"


@dataclass(frozen=True)
class Setting:
    """What the server is configured to do, and with what."""

    config: Config
    service: RunnerService
    access: Access


@dataclass(frozen=True)
class Call:
    """A request that was found to be well-formed.

    ``names`` are the variable parts of its path, ``query`` and ``body`` what the operation's models
    made of it.  ``base_url`` begins and ends with ``/``, ``folder`` is where the server's files
    are.
    """

    names: Mapping[str, str]
    query: Any
    body: Any
    base_url: str
    folder: str
    log: logging.Logger


@dataclass(frozen=True)
class Reply:
    """An answer.  ``body`` is JSON; None for an answer without one.

    Where the client was gone before it could be answered, ``undo`` is done on the background loop,
    and ``undo_here`` on the server's.
    """

    status: int
    body: bytes | None
    headers: Mapping[str, str] = field(default_factory=dict)
    undo: Callable[[Setting], Awaitable[None]] | None = None
    undo_here: Callable[[], Awaitable[None]] | None = None


class Background(Protocol):
    """Does work on gra's background loop for those who run on the server's."""

    async def run(self, work: Callable[[Setting], Coroutine[Any, Any, T]]) -> T:
        """Do it and wait for it.  Cancelling the caller cancels the work."""


@dataclass(frozen=True)
class Server:
    """What a Jupyter server has of its own: its managers, and gra's service beside its loop.

    ``kernels`` is a ``MappingKernelManager``, ``sessions`` a ``SessionManager``, ``kernelspecs`` a
    ``KernelSpecManager``, ``contents`` a ``ContentsManager``; of each an administrator may have
    configured another class.
    """

    kernels: Any
    sessions: Any
    kernelspecs: Any
    contents: Any
    background: Background


def encoded(document: Any) -> bytes:
    """A document of JSON types as the body of an answer.

    What is no Unicode in it, as a path may be, is replaced.
    """
    return json.dumps(document, ensure_ascii=False).encode("utf-8", "replace")


@dataclass(frozen=True)
class AtOnce:
    """Needs nothing but the request.  Runs on the server's loop."""

    run: Callable[[Call], Reply]


@dataclass(frozen=True)
class Answered:
    """Runs on gra's background loop.

    Cancelled when the client goes away, unless it is to go on ``to_the_end``.
    """

    run: Callable[[Setting, Call], Awaitable[Reply]]
    to_the_end: bool = False


@dataclass(frozen=True)
class OnServer:
    """Runs on the server's loop, with its kernels.

    Cancelled when the client goes away, unless it is to go on ``to_the_end``.
    """

    run: Callable[[Server, Call], Awaitable[Reply]]
    to_the_end: bool = False


@dataclass(frozen=True)
class Streamed:
    """Gives server-sent events, on gra's background loop.

    An error before the first is answered as of any other operation.  Closed when the client goes
    away.
    """

    run: Callable[[Setting, Call], AsyncGenerator[bytes, None]]


@dataclass(frozen=True)
class AsAsked:
    """One or the other: the query's ``follow`` says which."""

    answered: Answered
    streamed: Streamed


@dataclass(frozen=True)
class Events:
    """What a stream has: which models an event's data may have, by its name."""

    description: str
    models: Mapping[str, tuple[type[BaseModel], ...]]


@dataclass(frozen=True)
class Answer:
    """What a status means, and the model of the body, if it has one, or what a stream has."""

    description: str
    model: type[BaseModel] | None = None
    events: Events | None = None


@dataclass(frozen=True)
class Operation:
    """One thing that can be asked for.

    ``path`` is below :data:`ROOT`, with variable parts in braces.  ``right`` is the action that a
    server's authorizer is asked about; without one nobody needs to be known.  ``also`` are actions
    that it is asked about too, by other resources of the server's.  ``errors`` are the statuses
    that clients have reason to expect.
    """

    id: str
    method: Literal["GET", "POST", "DELETE"]
    path: str
    right: Literal["read", "write", "execute"] | None
    summary: str
    description: str
    does: AtOnce | Answered | OnServer | Streamed | AsAsked
    answers: Mapping[int, Answer]
    errors: tuple[int, ...] = ()
    query: type[Request] = NoQuery
    body: type[Request] | None = None
    also: Mapping[str, str] = field(default_factory=dict)
