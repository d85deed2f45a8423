"""JupyterLab's server, in this process by pytest-jupyter: REST and the kernel's websocket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from jupyter_client.session import Session
from jupyter_server.services.kernels.connection.base import (
    deserialize_msg_from_ws_v1,
    serialize_msg_to_ws_v1,
)

# All of its fixtures, for this module alone: one of them makes a server for every test.
from pytest_jupyter.jupyter_server import *  # noqa: F403
from tornado.httpclient import HTTPClientError, HTTPResponse
from tornado.websocket import WebSocketClientConnection

from tests.support.cells import TIMEOUT, Cell, Message
from tests.support.kernelspecs import KernelSpecs
from tests.support.places import Places

T = TypeVar("T")
Run = Callable[[Coroutine[Any, Any, T]], T]
Fetch = Callable[..., Awaitable[HTTPResponse]]
Connect = Callable[..., Awaitable[WebSocketClientConnection]]

_BINARY_PROTOCOL = "v1.kernel.websocket.jupyter.org"


@pytest.fixture
def jp_home_dir(places: Places) -> Path:
    return places.home


@pytest.fixture
def jp_data_dir(places: Places) -> Path:
    return places.data


@pytest.fixture
def jp_config_dir(places: Places) -> Path:
    return places.config


@pytest.fixture
def jp_runtime_dir(places: Places) -> Path:
    return places.runtime


@pytest.fixture
def jp_root_dir(places: Places) -> Path:
    return places.work


@pytest.fixture
def run(jp_asyncio_loop: asyncio.AbstractEventLoop) -> Run[None]:
    """Runs a coroutine on the loop that the server is on."""
    return jp_asyncio_loop.run_until_complete


class Notebook:
    """The websocket of one session, in the protocol that was agreed on."""

    def __init__(self, connection: WebSocketClientConnection) -> None:
        self._connection = connection
        self._session = Session()
        self._binary = connection.selected_subprotocol == _BINARY_PROTOCOL

    async def send(self, kind: str, content: dict[str, Any], channel: str) -> str:
        message = self._session.msg(kind, content)
        if self._binary:
            data = serialize_msg_to_ws_v1(message, channel, self._session.pack)
            await self._connection.write_message(data, binary=True)
        else:
            text = json.dumps({**message, "channel": channel, "buffers": []}, default=str)
            await self._connection.write_message(text)
        msg_id: str = message["header"]["msg_id"]
        return msg_id

    async def receive(self) -> Message:
        data = await asyncio.wait_for(self._connection.read_message(), TIMEOUT)
        assert data is not None, "the server closed the websocket"
        if not self._binary:
            message: Message = json.loads(data)
            return message
        _channel, parts = deserialize_msg_from_ws_v1(data)
        header, parent, metadata, content = (json.loads(part) for part in parts[:4])
        return {
            "header": header,
            "parent_header": parent,
            "metadata": metadata,
            "content": content,
        }

    async def execute(self, code: str) -> Cell:
        content = {
            "code": code,
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": False,
            "stop_on_error": True,
        }
        return Cell(await self.send("execute_request", content, "shell"))

    async def read_until(self, cell: Cell, what: Callable[[Cell], object]) -> Cell:
        while not what(cell):
            cell.take(await self.receive())
        return cell

    async def run(self, code: str) -> Cell:
        return await self.read_until(await self.execute(code), lambda cell: cell.done)

    def close(self) -> None:
        self._connection.close()


async def _start_session(
    fetch: Fetch, kernel_name: str, notebook: str = "a.ipynb"
) -> dict[str, Any]:
    body = {
        "path": notebook,
        "name": notebook,
        "type": "notebook",
        "kernel": {"name": kernel_name},
    }
    response = await fetch(
        "api", "sessions", method="POST", body=json.dumps(body), request_timeout=TIMEOUT
    )
    assert response.code == 201
    session: dict[str, Any] = json.loads(response.body)
    return session


@pytest.mark.parametrize(
    "protocols",
    [
        pytest.param(None, id="json", marks=pytest.mark.same_with_pods("the server translates")),
        pytest.param([_BINARY_PROTOCOL], id="binary"),
    ],
)
def test_a_session_runs_cells_restarts_and_ends(
    run: Run[None],
    jp_fetch: Fetch,
    jp_ws_fetch: Connect,
    kernel_name: str,
    protocols: list[str] | None,
) -> None:
    async def scenario() -> None:
        session = await _start_session(jp_fetch, kernel_name)
        kernel_id = session["kernel"]["id"]
        channels = ("api", "kernels", kernel_id, "channels")
        notebook = Notebook(await jp_ws_fetch(*channels, subprotocols=protocols))

        cell = await notebook.run("kept = 6 * 7; print(kept)")
        assert (cell.status, cell.text) == ("ok", "42\n")

        restart = ("api", "kernels", kernel_id, "restart")
        response = await jp_fetch(
            *restart, method="POST", allow_nonstandard_methods=True, request_timeout=TIMEOUT
        )
        assert json.loads(response.body)["id"] == kernel_id
        assert (await notebook.run("kept")).error["ename"] == "NameError"

        notebook.close()
        await jp_fetch("api", "sessions", session["id"], method="DELETE", request_timeout=TIMEOUT)
        assert json.loads((await jp_fetch("api", "kernels")).body) == []

    run(scenario())


def test_rest_interrupts_a_running_cell(
    run: Run[None], jp_fetch: Fetch, jp_ws_fetch: Connect, kernel_name: str
) -> None:
    async def scenario() -> None:
        session = await _start_session(jp_fetch, kernel_name)
        kernel = ("api", "kernels", session["kernel"]["id"])
        notebook = Notebook(await jp_ws_fetch(*kernel, "channels"))
        cell = await notebook.execute("print('going', flush=True); import time; time.sleep(1000)")
        await notebook.read_until(cell, lambda cell: cell.text == "going\n")

        response = await jp_fetch(
            *kernel, "interrupt", method="POST", allow_nonstandard_methods=True
        )

        assert response.code == 204
        await notebook.read_until(cell, lambda cell: cell.done)
        assert cell.error["ename"] == "KeyboardInterrupt"
        notebook.close()

    run(scenario())


@pytest.mark.same_with_pods("managers of several kernels do it too")
def test_two_sessions_have_kernels_of_their_own(
    run: Run[None], jp_fetch: Fetch, jp_ws_fetch: Connect, kernel_name: str
) -> None:
    async def scenario() -> None:
        notebooks = []
        for name in ("a.ipynb", "b.ipynb"):
            session = await _start_session(jp_fetch, kernel_name, name)
            channels = ("api", "kernels", session["kernel"]["id"], "channels")
            notebooks.append(Notebook(await jp_ws_fetch(*channels)))
        for number, notebook in enumerate(notebooks):
            await notebook.run(f"mine = {number}")
        for number, notebook in enumerate(notebooks):
            assert (await notebook.run("print(mine)")).text == f"{number}\n"
            notebook.close()

    run(scenario())


@pytest.mark.gra_only
def test_a_kernel_that_cannot_start_is_explained_in_the_answer(
    run: Run[None], jp_fetch: Fetch, kernelspecs: KernelSpecs
) -> None:
    kernelspecs.write("absent", kernel_argv=["no-such-kernel", "-f", "{connection_file}"])

    async def scenario() -> None:
        with pytest.raises(HTTPClientError) as raised:
            await _start_session(jp_fetch, "absent")
        assert raised.value.code == 500
        assert raised.value.response is not None
        answer = json.loads(raised.value.response.body)
        assert "no-such-kernel" in answer["message"]
        assert json.loads((await jp_fetch("api", "kernels")).body) == []

    run(scenario())


@pytest.mark.same_with_pods("no runner is made")
def test_a_bare_kernel_that_cannot_start_is_explained_in_the_answer(
    run: Run[None], jp_fetch: Fetch, kernelspecs: KernelSpecs
) -> None:
    kernelspecs.write("unknown", config={"profile": "smal"})

    async def scenario() -> None:
        with pytest.raises(HTTPClientError) as raised:
            await jp_fetch("api", "kernels", method="POST", body=json.dumps({"name": "unknown"}))
        assert raised.value.code == 500
        assert raised.value.response is not None
        answer = json.loads(raised.value.response.body)
        assert "smal" in answer["message"]
        assert "small" in answer["message"]
        assert answer["reason"] == "UnknownProfile"
        assert json.loads((await jp_fetch("api", "kernels")).body) == []

    run(scenario())
