"""The REST API of a Jupyter server as a client of it sees it."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from tests.support.cells import TIMEOUT
from tests.support.places import Places
from tests.support.server import JupyterServer, jupyter_server
from tests.support.sse import Event, EventReader
from tests.support.waiting import WaitTimeout

REPOSITORY = Path(__file__).parents[2]
ERROR_FIELDS = {"reason", "message", "hint", "details"}

#: Whatever a server must never have said.
_FAULTS = ("Traceback", "Uncaught exception", "Task exception was never", "InternalError")

# The server's signal handler writes a line while another is being written, which Python does not
# allow (jupyter_server, ServerApp._signal_stop).
_LOGGED_IN_A_SIGNAL = re.compile(
    r"--- Logging error ---\nTraceback(?:(?!\n\[).)*?reentrant call inside.*?(?=\n\[|\Z)", re.DOTALL
)

#: Code that writes bytes which are no text: of each megabyte the first is 0xff, the rest random.
HUNDRED_MEGABYTES = """
import random, sys
for block in range(100):
    sys.stdout.buffer.write(b"\\xff" + random.Random(block).randbytes((1 << 20) - 1))
"""


class Stream:
    """An answer of server-sent events that is still being sent."""

    def __init__(self, response: requests.Response) -> None:
        self.response = response
        self.reader = EventReader()
        self._blocks = response.raw.stream(1 << 16, decode_content=False)
        self._events: list[Event] = []

    def events(self) -> Iterator[Event]:
        """The events, until the server ends the stream."""
        while True:
            while self._events:
                yield self._events.pop(0)
            block = next(self._blocks, None)
            if block is None:
                return
            self._events += self.reader.feed(block)

    def next(self, *names: str) -> Event:
        """The next event of one of these names; without any, the next one."""
        deadline = time.monotonic() + TIMEOUT
        for event in self.events():
            if not names or event.name in names:
                return event
            if time.monotonic() > deadline:
                break
        raise WaitTimeout(f"an event {names}", TIMEOUT)

    def close(self) -> None:
        """Go away, as a page does that is closed."""
        # A connection that is to be used again would be read to the end.
        raw = self.response.raw
        connection = getattr(raw, "_connection", None)
        if connection is not None:
            connection.close()
        raw.close()
        self.response.close()


class Rest:
    """Asks a server."""

    def __init__(self, server: JupyterServer) -> None:
        self.server = server
        self.url = f"{server.url}gra/api/"

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float = TIMEOUT,
        **options: Any,
    ) -> requests.Response:
        """Ask, as somebody who has the server's token.  ``options`` are those of requests."""
        token = {"Authorization": f"token {self.server.token}"}
        return requests.request(
            method,
            self.url + path,
            json=body,
            headers=token if headers is None else headers,
            timeout=timeout,
            **options,
        )

    def ok(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        """What is answered, which must be no error."""
        answer = self.call(method, path, body, **options)
        if not answer.ok:
            raise AssertionError(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer.json() if answer.content else None

    def error(self, method: str, path: str, body: Any = None, **options: Any) -> tuple[int, Any]:
        """Status and document of an error."""
        return as_error(self.call(method, path, body, **options))

    def names(self, query: str = "") -> list[str]:
        """The names of the runners that are listed."""
        return [runner["name"] for runner in self.ok("GET", f"runners?{query}")["runners"]]

    @contextmanager
    def stream(self, method: str, path: str, body: Any = None) -> Iterator[Stream]:
        """A stream, which is left at the end of the block."""
        response = self.call(method, path, body, stream=True)
        if response.status_code != 200:
            raise AssertionError(f"{method} {path}: {response.status_code} {response.text}")
        assert response.headers["Content-Type"] == "text/event-stream"
        stream = Stream(response)
        try:
            yield stream
        finally:
            stream.close()

    @contextmanager
    def runner(self, **body: Any) -> Iterator[str]:
        """The name of a new runner, which is gone at the end; without a kernel unless asked for."""
        name: str = self.ok("POST", "runners", {"kernel": False, **body})["name"]
        try:
            yield name
        finally:
            self.call("DELETE", f"runners/{name}?force=true")

    def run(self, name: str, *argv: str, **body: Any) -> Any:
        """Run a command to its end."""
        return self.ok("POST", f"runners/{name}/exec", {"argv": argv, **body})

    def log(self) -> str:
        """What the server has said."""
        return self.server.log.read_text(errors="replace")


def as_error(answer: requests.Response) -> tuple[int, Any]:
    """Status and document of an error; it must have the form of one."""
    assert answer.status_code >= 400, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    document = json.loads(answer.text)
    assert set(document) == ERROR_FIELDS
    return answer.status_code, document


@contextmanager
def rest_server(
    places: Places, env: Mapping[str, str] | None = None, *, faultless: bool = True
) -> Iterator[Rest]:
    """A Jupyter server whose extension is enabled as the wheel does it.

    If it is to be ``faultless``, it must not have said anything of a fault of its own when it is
    stopped.  jupyter_client logs a traceback of every kernel that does not start.
    """
    shutil.copytree(REPOSITORY / "jupyter-config", places.config, dirs_exist_ok=True)
    # What else is installed has no part in it and takes its time.
    others = {"jupyterlab": False, "jupyter_lsp": False, "notebook_shim": False}
    config = {"ServerApp": {"jpserver_extensions": others}}
    (places.config / "jupyter_server_config.json").write_text(json.dumps(config))
    with jupyter_server(places, env) as server:
        rest = Rest(server)
        yield rest
    if not faultless:
        return
    log = _LOGGED_IN_A_SIGNAL.sub("", rest.log())
    faults = [line for line in log.splitlines() if any(fault in line for fault in _FAULTS)]
    if faults:
        raise AssertionError("the server has said:\n" + "\n".join(faults) + f"\n{log[-8000:]}")


def quietly(work: Any) -> None:
    """Do something whose answer nobody waits for."""
    with contextlib.suppress(requests.RequestException):
        work()
