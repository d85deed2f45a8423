"""The web server's request handlers: made from the table of operations.

Authentication, the XSRF check, the authorizer and the headers are those of jupyter_server
(https://jupyter-server.readthedocs.io/en/latest/operators/security.html).
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from http.client import responses
from typing import Any

from jupyter_server.auth.decorator import allow_unauthenticated, authorized
from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import url_path_join
from pydantic_core import from_json
from tornado import web
from tornado.iostream import StreamClosedError

from ..documents.requests import Request
from ..errors import ConfigError, GraError
from ..validation import JSON_RULES, validated
from . import sse
from .calls import (
    ROOT,
    Answered,
    AsAsked,
    AtOnce,
    Call,
    OnServer,
    Operation,
    Reply,
    Server,
    Streamed,
    encoded,
)
from .host import Host, Job, JobHere
from .query import invalid, parsed_query
from .runners import BODY
from .status import status_of

#: What authorizers are asked about.
AUTH_RESOURCE = "gra_runners"

#: How many bytes a body may have.
LARGEST_BODY = 16 << 20
# One that is larger is read in a thread.
_SMALL_BODY = 1 << 16
# In seconds.
_KEEP_ALIVE_EVERY = 15.0
# Of a client that was gone before it could be answered, for the log (as nginx has it).
_CLIENT_GONE = 499

_REASONS = {
    400: "BadHttpRequest",
    403: "NotAuthorized",
    404: "UnknownPath",
    405: "MethodNotAllowed",
}

log = logging.getLogger(__name__)


class ApiHandler(APIHandler):
    """What all paths of the API have in common: errors in one form."""

    auth_resource = AUTH_RESOURCE
    operations: Mapping[str, Operation] = {}

    def initialize(self, host: Host, folder: str) -> None:
        """Called by tornado.  ``folder`` is where the server's files are."""
        self._host = host
        self._folder = folder
        self._give_up: Callable[[], object] = lambda: None
        self._gone = False

    def on_connection_close(self) -> None:
        """Called by tornado when the client goes away while it is being answered."""
        super().on_connection_close()
        self._gone = True
        self._give_up()

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Called by tornado for every error that was not answered."""
        exception = (kwargs.get("exc_info") or (None, None))[1]
        if status_code == 405:
            allowed = [method for method in self.SUPPORTED_METHODS if method in self.operations]
            self.set_header("Allow", ", ".join([*allowed, "OPTIONS"]))
        known = getattr(self, "_jupyter_current_user", None) is not None
        self._write(_as_error(status_code, exception, self.request.path, known).to_dict())

    async def serve(self, operation: Operation, names: Mapping[str, str]) -> None:
        """Do what was asked for, and answer."""
        with self._host.answering(works=operation.right not in (None, "read")):
            try:
                call = await self._call(operation, names)
                does = operation.does
                if isinstance(does, AsAsked):
                    does = does.streamed if call.query.follow else does.answered
                if isinstance(does, AtOnce):
                    self._answer(does.run(call))
                elif isinstance(does, Answered | OnServer):
                    await self._run(does, call)
                else:
                    await self._stream(does, call)
            except GraError as error:
                self.set_status(status_of(error))
                self._write(error.to_dict())

    async def _call(self, operation: Operation, names: Mapping[str, str]) -> Call:
        query = parsed_query(operation.query, self.request.query_arguments)
        body = None
        if operation.body is not None:
            raw = self.request.body
            if len(raw) > _SMALL_BODY:
                body = await asyncio.to_thread(parsed_body, operation.body, raw)
            else:
                body = parsed_body(operation.body, raw)
        return Call(names, query, body, self.base_url, self._folder, self.log)

    async def _run(self, does: Answered | OnServer, call: Call) -> None:
        if isinstance(does, OnServer):
            server = Server(
                self.kernel_manager,
                self.session_manager,
                self.kernel_spec_manager,
                self.contents_manager,
                self._host,
            )
            job: Job | JobHere = self._host.answer_here(does, server, call)
        else:
            job = self._host.answer(does, call)
        if not does.to_the_end:
            self._give_up = job.give_up
            if self._gone:
                job.give_up()
        reply = await job.run()
        if not self._gone and reply is not None:
            self._answer(reply)
            return
        self.set_status(_CLIENT_GONE, "Client Closed Request")
        if reply is not None:
            await self._host.undo(reply)

    async def _stream(self, does: Streamed, call: Call) -> None:
        bridge, running = self._host.stream(does, call)
        self._give_up = bridge.close
        begun = False
        try:
            if self._gone:
                return
            while (data := await bridge.take(_KEEP_ALIVE_EVERY)) is not None:
                if not begun:
                    if not data:
                        # What stands in its way can still be told by the status.
                        continue
                    begun = True
                    self.set_header("Content-Type", sse.CONTENT_TYPE)
                    self.set_header("Cache-Control", "no-cache")
                    # Of nginx, which would gather what it is given.
                    self.set_header("X-Accel-Buffering", "no")
                self.write(data or sse.KEEP_ALIVE)
                await self.flush()
        except GraError as error:
            if not begun:
                raise
            self.write(sse.event("error", error.to_dict()))
        except StreamClosedError:
            # The client is gone.
            self._gone = True
        finally:
            bridge.close()
            running.cancel()
            await asyncio.wait((running,))
        if begun:
            self.finish(set_content_type=sse.CONTENT_TYPE)

    def _answer(self, reply: Reply) -> None:
        self.set_status(reply.status)
        for name, value in reply.headers.items():
            self.set_header(name, value)
        self.finish(reply.body)

    def _write(self, document: Mapping[str, Any]) -> None:
        self.finish(encoded(document))

    def log_exception(self, *about: Any) -> None:
        """Called by tornado: what is answered with a reason needs no line but the request's own."""
        if not isinstance(about[1], web.HTTPError):
            super().log_exception(*about)


class UnknownPath(ApiHandler):
    """Whatever is below the API's root and is no path of it."""

    async def prepare(self) -> None:  # type: ignore[override]
        """Called by tornado before any method."""
        await super().prepare()
        if self.current_user is None:
            raise web.HTTPError(403)
        raise web.HTTPError(404)


def handlers(
    operations: Iterable[Operation],
    base_url: str,
    host: Host,
    folder: str,
    others: Mapping[str, type[ApiHandler]] | None = None,
) -> list[tuple[str, type[ApiHandler], dict[str, Any]]]:
    """The handlers as :meth:`tornado.web.Application.add_handlers` takes them.

    ``others`` are those of paths that are no operations: websockets.
    """
    by_path: dict[str, dict[str, Operation]] = {}
    for operation in operations:
        by_path.setdefault(operation.path, {})[operation.method] = operation
    options = {"host": host, "folder": folder}
    # A path without a variable part goes before one that it would fit.
    paths = sorted(by_path, key=lambda path: "{" in path)
    made = [(_pattern(base_url, path), _handler(by_path[path]), options) for path in paths]
    made += [
        (_pattern(base_url, path), handler, options) for path, handler in (others or {}).items()
    ]
    everything = re.escape(url_path_join(base_url, ROOT)) + "(?:/.*)?"
    return [*made, (everything, UnknownPath, options)]


def _pattern(base_url: str, path: str) -> str:
    names = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(path))
    return re.escape(url_path_join(base_url, ROOT)) + names


def _handler(operations: Mapping[str, Operation]) -> type[ApiHandler]:
    """A handler of the operations of one path, by their methods."""
    members: dict[str, Any] = {"operations": operations}
    for method, operation in operations.items():
        members[method.lower()] = _method(operation)
    return type("ApiPath", (ApiHandler,), members)


def _method(operation: Operation) -> Callable[..., Any]:
    async def method(self: ApiHandler, **names: str) -> None:
        await self.serve(operation, names)

    if operation.right is None:
        open_to_all: Callable[..., Any] = allow_unauthenticated(method)
        return open_to_all
    checked: Callable[..., Any] = method
    for resource, action in {**operation.also, AUTH_RESOURCE: operation.right}.items():
        checked = authorized(action=action, resource=resource)(checked)
    return web.authenticated(checked)


def parsed_body(model: type[Request], raw: bytes) -> Request:
    """A request's body, checked.

    Raises :class:`GraError` ``BodyTooLarge``, ``MalformedJson`` or ``InvalidRequest``.
    """
    if len(raw) > LARGEST_BODY:
        raise GraError(
            f"The body has {len(raw):,} bytes, {LARGEST_BODY:,} are allowed.",
            hint="Send large data as a file, for example with `gra exec --stdin`.",
            reason="BodyTooLarge",
        )
    problem = ""
    try:
        # Strict: no NaN, no half of a surrogate pair, no bottomless nesting.
        document = from_json(raw, allow_inf_nan=False)
    except ValueError as error:
        problem = str(error)
    if problem:
        raise GraError(
            f"The body is no JSON: {problem}.",
            hint="Its content type is application/json, in UTF-8.",
            reason="MalformedJson",
        )
    try:
        return validated(model, document, BODY, rules=JSON_RULES)
    except ConfigError as error:
        raise invalid(error, "InvalidRequest") from None


def _as_error(status: int, exception: BaseException | None, path: str, known: bool) -> GraError:
    """What is answered for an error that tornado or jupyter_server found.

    ``known``: whether the server knows who asks.
    """
    if not isinstance(exception, web.HTTPError):
        return GraError(
            "Something in gra failed that should not have.",
            hint="The server's log has the traceback: please report it.",
            reason="InternalError",
        )
    messages = {
        403: "This is for those whom the server knows.",
        404: f"There is nothing at {path}.",
        405: f"{path} has no such method.",
    }
    said = exception.get_message() or messages.get(status) or responses.get(status, "")
    hints = {
        404: f"What there is is told by {ROOT}/openapi.json.",
        405: "See the header Allow.",
        403: "The server's authorizer decides this: ask who runs the server."
        if known
        else "Send the server's token: Authorization: token …",
    }
    if "_xsrf" in said:
        hints[403] = (
            "Send the server's token, or from a page of the server's the header X-XSRFToken."
        )
    reason = _REASONS.get(status, "BadHttpRequest")
    return GraError(said, hint=hints.get(status, ""), reason=reason)
