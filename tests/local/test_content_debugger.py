"""The debugger: DAP requests on the control channel while a cell stands still."""

from __future__ import annotations

import itertools
import queue
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient

from tests.support.cells import TIMEOUT, control, finish
from tests.support.kernels import StartedKernel
from tests.support.waiting import WaitTimeout

_CELL = """def double(number):
    result = number * 2
    return result

print(double(21))
"""


class Debugger:
    """Sends DAP requests as JupyterLab's debugger does."""

    def __init__(self, client: BlockingKernelClient) -> None:
        self._client = client
        self._numbers = itertools.count(1)

    def request(self, command: str, **arguments: Any) -> dict[str, Any]:
        """The body of a successful response."""
        request = {
            "type": "request",
            "seq": next(self._numbers),
            "command": command,
            "arguments": arguments,
        }
        response = control(self._client, "debug_request", request)
        assert response["success"], (command, response)
        body: dict[str, Any] = response.get("body") or {}
        return body

    def event(self, name: str) -> dict[str, Any]:
        """The body of the next event of that name."""
        seen: list[str] = []
        while name not in seen:
            try:
                message = self._client.get_iopub_msg(timeout=TIMEOUT)
            except queue.Empty:
                raise WaitTimeout(f"the debug event {name} (got {seen})", TIMEOUT) from None
            if message["header"]["msg_type"] == "debug_event":
                seen.append(message["content"]["event"])
        body: dict[str, Any] = message["content"].get("body") or {}
        return body


def test_a_cell_stops_at_a_breakpoint_and_goes_on(kernel: StartedKernel) -> None:
    debugger = Debugger(kernel.client)
    debugger.request(
        "initialize",
        clientID="test",
        adapterID="",
        pathFormat="path",
        linesStartAt1=True,
        columnsStartAt1=True,
        supportsVariableType=True,
    )
    debugger.request("attach")
    source = debugger.request("dumpCell", code=_CELL)["sourcePath"]
    (accepted,) = debugger.request(
        "setBreakpoints", source={"path": source}, breakpoints=[{"line": 3}], sourceModified=False
    )["breakpoints"]
    debugger.request("configurationDone")
    assert accepted["verified"]

    msg_id = kernel.client.execute(_CELL)
    thread = debugger.event("stopped")["threadId"]
    frame, *_ = debugger.request("stackTrace", threadId=thread)["stackFrames"]
    assert (frame["name"], frame["line"]) == ("double", 3)
    value = debugger.request("evaluate", expression="result", frameId=frame["id"])
    assert value["result"] == "42"
    debugger.request("continue", threadId=thread)

    assert finish(kernel.client, msg_id).text == "42\n"
    debugger.request("disconnect", restart=False, terminateDebuggee=False)
    assert kernel.run("print('after')").text == "after\n"
