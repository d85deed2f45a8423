"""Terminals in runners, as those of JupyterLab speak with them."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import pytest
import requests
import websocket

from tests.support.cells import TIMEOUT
from tests.support.cli import gra
from tests.support.places import Places
from tests.support.rest import Rest, rest_server
from tests.support.runners import Runners
from tests.support.waiting import WaitTimeout, until

pytestmark = pytest.mark.gra_only

_HERE = pytest.mark.same_with_pods("no backend has a part in it")


class Terminal:
    """A page's terminal.  ``said`` is all that it was sent, ``text`` what it shows of it."""

    def __init__(self, connection: websocket.WebSocket) -> None:
        self.connection = connection
        self.said: list[list[Any]] = []

    @property
    def text(self) -> str:
        return "".join(value for kind, value in self.said if kind == "stdout")

    def send(self, *message: Any) -> None:
        self.connection.send(json.dumps(message))

    def until(self, text: str) -> None:
        """Read until this text is shown."""
        deadline = time.monotonic() + TIMEOUT
        while text not in self.text:
            if time.monotonic() > deadline or not self.receive():
                raise WaitTimeout(f"a terminal to show {text!r}; it shows {self.text!r}", TIMEOUT)

    def receive(self) -> bool:
        """Take the next message; False at the end."""
        opcode, data = self.connection.recv_data()
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            self.closed = int.from_bytes(data[:2], "big"), data[2:].decode()
            return False
        self.said.append(json.loads(data))
        return True

    def end(self) -> tuple[int, str]:
        """Read to the end; how it was closed."""
        while self.receive():
            pass
        return self.closed


@contextmanager
def _terminal(rest: Rest, name: str, **options: Any) -> Iterator[Terminal]:
    url = f"{rest.url.replace('http', 'ws', 1)}runners/{name}/terminal"
    options.setdefault("header", [f"Authorization: token {rest.server.token}"])
    connection = websocket.create_connection(url, timeout=TIMEOUT, **options)
    try:
        yield Terminal(connection)
    finally:
        connection.shutdown()


def test_a_terminal_is_a_login_shell_in_the_runner(rest: Rest) -> None:
    with rest.runner() as name, _terminal(rest, name) as terminal:
        terminal.send("setup", {})
        terminal.send("set_size", 33, 99, 600, 800)
        terminal.send("stdin", "shopt -q login_shell && echo log''in $TERM; stty size\r")
        terminal.until("login xterm-256color\r\n")
        terminal.until("33 99\r\n")
        # One that is not shown has no size.
        terminal.send("set_size", 0, 0, 0, 0)
        terminal.send("stdin", "echo grüße $((6 * 7)); sleep 1000\r")
        terminal.until("grüße 42\r\n")
        terminal.send("stdin", "\x03")
        terminal.send("stdin", "stty size; exit\r")

        assert terminal.end() == (1000, "")
        assert terminal.said[0] == ["setup", {}]
        assert terminal.said[-1] == ["disconnect", 1]
        assert {kind for kind, _ in terminal.said} == {"setup", "stdout", "disconnect"}
        assert terminal.text.count("33 99\r\n") == 2


def test_a_shell_is_hung_up_on_when_its_page_is_closed(rest: Rest, runners: Runners) -> None:
    with rest.runner() as name:
        with _terminal(rest, name) as terminal:
            terminal.send("stdin", "sleep 54321\r")
            until(lambda: runners.runs("sleep 54321"), "the shell to run what was typed")
        until(lambda: not runners.runs("sleep 54321"), "what the shell ran to be ended")
        until(lambda: not runners.runs("bash -l"), "the shell to be ended")


@pytest.mark.local_only("the path is the same with pods; how much memory is used can be seen here")
def test_a_page_that_does_not_read_holds_the_shell_up(rest: Rest, runners: Runners) -> None:
    with rest.runner() as name, _terminal(rest, name) as terminal:
        terminal.send("stdin", "stty -echo\r")
        terminal.send("stdin", "echo on''ce\r")
        terminal.until("once\r\n")
        server = psutil.Process(rest.server.process.pid)
        agent = psutil.Process(runners.agent_pid)
        before = [server.memory_info().rss, agent.memory_info().rss]
        terminal.send("stdin", "seq 20000000 & wait; echo do''ne\r")
        (seq,) = until(
            lambda: [p for p in agent.children(recursive=True) if p.name() == "seq"],
            "a program that writes much",
        )

        def is_held_up() -> bool:
            used = sum(seq.cpu_times()[:2])
            time.sleep(0.5)
            return sum(seq.cpu_times()[:2]) == used

        until(is_held_up, "the program to be held up")
        after = [server.memory_info().rss, agent.memory_info().rss]
        assert all(now - then < 48 << 20 for now, then in zip(after, before, strict=True))
        assert rest.run(name, "echo", "beside")["stdout"]["text"] == "beside\n"
        # Nothing is left out.
        terminal.until("\n300000\r\n")
        assert "\r\n".join(map(str, range(1000, 300_000))) in terminal.text


@_HERE
def test_who_may_run_no_commands_gets_no_terminal(places: Places, runners: Runners) -> None:
    authorizer = (
        "from jupyter_server.auth import Authorizer\n"
        "class NoCommands(Authorizer):\n"
        "    def is_authorized(self, handler, user, action, resource):\n"
        "        return action != 'execute'\n"
    )
    config = places.config / "jupyter_server_config.py"

    def status(rest: Rest, name: str, **options: Any) -> int:
        with (
            pytest.raises(websocket.WebSocketBadStatusException) as refused,
            _terminal(rest, name, **options),
        ):
            pass
        return int(refused.value.status_code)

    with rest_server(places) as rest, rest.runner() as name:
        assert status(rest, name, header=[]) == 403
        page = requests.Session()
        page.get(f"{rest.server.url}tree?token={rest.server.token}", timeout=30)
        cookie = "; ".join(f"{name}={value}" for name, value in page.cookies.items())
        assert status(rest, name, header=[], cookie=cookie, origin="https://example.com") == 404
        with _terminal(rest, name, header=[], cookie=cookie) as terminal:
            terminal.send("stdin", "exit\r")
            assert terminal.end() == (1000, "")
        answer, error = rest.error("GET", f"runners/{name}/terminal")
        assert (answer, error["reason"]) == (400, "BadHttpRequest")
        answer, error = rest.error("GET", f"runners/{name}/terminal", headers={})
        assert (answer, error["reason"]) == (403, "NotAuthorized")
    config.write_text(f"{authorizer}c.ServerApp.authorizer_class = NoCommands\n")
    with rest_server(places) as rest, rest.runner() as name:
        assert status(rest, name) == 403


def test_a_terminal_that_cannot_begin_or_go_on_says_why(
    places: Places, runners: Runners, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(rest: Rest, name: str) -> tuple[int, str, str]:
        with _terminal(rest, name) as terminal:
            code, reason = terminal.end()
            assert [kind for kind, _ in terminal.said] == ["setup", "stdout", "disconnect"]
            return code, reason, terminal.text

    monkeypatch.setenv("GRA_OWNER", "bob")
    theirs = gra("create", "--no-kernel").stdout.strip()
    monkeypatch.setenv("GRA_OWNER", "ada")
    with rest_server(places) as rest:
        code, reason, text = refused(rest, "runner-99")
        assert (code, reason) == (4404, "RunnerNotFound")
        assert "'runner-99'" in text
        assert "\r\nHint: " in text
        assert refused(rest, theirs)[:2] == (4403, "NotYourRunner")
        assert gra("delete", theirs).returncode == 0
        with rest.runner() as name, _terminal(rest, name) as terminal:
            terminal.send("stdin", "echo on''ce\r")
            terminal.until("once\r\n")
            assert gra("delete", name).returncode == 0
            # The shell ends by itself, or with the runner, whichever is told first.
            code, reason = terminal.end()
            assert (code, reason) == (1000, "") or (code > 4000 and "[gra] " in terminal.text)
            assert terminal.said[-1] == ["disconnect", 1]


@_HERE
def test_what_is_no_message_of_a_terminals_closes_it(rest: Rest) -> None:
    with rest.runner() as name:
        for message in ("{", "{}", "[]", "[1]", '"stdin"'):
            with _terminal(rest, name) as terminal:
                terminal.connection.send(message)
                assert terminal.end()[0] == 1007
        with _terminal(rest, name) as terminal:
            for message in (["what"], ["stdin"], ["stdin", 1], ["set_size", "a", 1], ["set_size"]):
                terminal.send(*message)
            terminal.send("stdin", "exit\r")
            assert terminal.end() == (1000, "")


@pytest.mark.local_only("a pod that has ended is gone")
def test_a_terminal_of_a_runner_that_has_ended_says_so(rest: Rest, runners: Runners) -> None:
    with rest.runner() as name:
        runners.kill(runners.agent_pid, signal.SIGTERM)
        until(
            lambda: rest.ok("GET", f"runners/{name}")["status"] == "ended", "the runner to be ended"
        )
        with _terminal(rest, name) as terminal:
            assert terminal.end() == (4409, "RunnerEnded")
            assert "has ended" in terminal.text
