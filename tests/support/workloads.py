"""What the client of :mod:`tests.support.faulty_client` has its kernel do, step by step.

At a *mark* the client says so and goes on when it is told to; it reads on meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Step = dict[str, Any]


@dataclass(frozen=True)
class Workload:
    """``setup`` is run before anything is recorded, so it may differ between two runs.

    ``high_water``: how many messages the client takes on a channel that it does not read.
    """

    name: str
    steps: Sequence[Step]
    setup: str = ""
    high_water: int = 1000

    def script(self, kernel_name: str) -> dict[str, Any]:
        return {
            "kernel_name": kernel_name,
            "setup": self.setup,
            "steps": list(self.steps),
            "high_water": self.high_water,
        }


def _request(channel: str, kind: str, **content: Any) -> Step:
    return {"do": "request", "channel": channel, "type": kind, "content": content}


def _cell(code: str, **more: Any) -> Step:
    content = {
        "code": code,
        "silent": False,
        "store_history": True,
        "user_expressions": {},
        "allow_stdin": True,
        "stop_on_error": True,
    }
    return {**_request("shell", "execute_request", **content), **more}


# The pace is the setup's, so that an undisturbed run need not take as long as an outage.
_COUNT = """
import sys, time
from IPython.display import display
for i in range(100):
    print('line', i)
    if i % 10 == 0:
        print('warning', i, file=sys.stderr)
    if i % 5 == 0:
        display({'text/plain': f'step {i}'}, raw=True)
    time.sleep(pace)
"""

_ASK = "answer = input('who? '); print('hello', answer)"

_SETUP = """
def opened(comm, message):
    data = bytes(message['buffers'][0])
    print(len(data), sum(data))
    comm.send({'size': len(data)}, buffers=[data[::-1], b'the end'])
get_ipython().kernel.comm_manager.register_target('mirror', opened)
"""

_LARGE = """
from IPython.display import display
print('0123456789abcdef' * (1 << 16))
display({'text/plain': 'large', 'text/html': '<b>' + 'tag' * (1 << 18) + '</b>'}, raw=True)
"""

_COMPLETE = _request("shell", "complete_request", code="imp", cursor_pos=3)
_INFO = _request("control", "kernel_info_request")


def mixed(seconds: float = 0.0) -> Workload:
    """All kinds of messages on all channels.

    Mark ``running`` comes in a cell that prints for so many seconds; two requests are made when the
    client goes on.  Mark ``asked`` comes when the next cell asks something.
    """
    steps = [
        _cell(_COUNT, marks={"step 20": "running"}, meanwhile={"running": [_INFO, _COMPLETE]}),
        _cell(_ASK, answers=["world"], marks={"who? ": "asked"}),
        {
            **_request("shell", "comm_open", comm_id="c", target_name="mirror", data={}),
            "buffers": [300 << 10],
        },
        _cell(_LARGE),
        _cell("1 / 0"),
        _INFO,
    ]
    return Workload("mixed", steps, f"pace = {seconds / 100}\n{_SETUP}")


def question() -> Workload:
    """Mark ``asked`` comes when the kernel asks and is not answered yet."""
    step = _cell(_ASK, answers=["world"], marks={"who? ": "asked"})
    return Workload("question", [step, _cell("print('after')")])


def volume(megabytes: int) -> Workload:
    """Mark ``running`` comes early in a cell with so much output."""
    return Workload(f"volume {megabytes}", [_volume(megabytes, [_INFO, _COMPLETE]), _INFO])


def late(channel: str, seconds: float = 0.0) -> Workload:
    """From the mark ``running`` on, the client does not read a channel for some seconds.

    30 MB wait there meanwhile, which is more than can wait between the kernel and the client.
    """
    meanwhile: list[Step] = [{"do": "ignore", "channel": channel, "seconds": seconds}]
    if channel == "shell":
        meanwhile += [_large_reply(number) for number in range(30)]
        steps = [_volume(10, meanwhile)]
    else:
        steps = [_volume(30, [*meanwhile, _INFO])]
    return Workload(f"late {channel}", [*steps, _INFO], high_water=4)


# Nearly a megabyte that hardly shrinks, and is the same in each run.
_DENSE = (
    "__import__('base64').b64encode(__import__('random').Random({}).randbytes(700_000)).decode()"
)


def _volume(megabytes: int, meanwhile: Sequence[Step]) -> Step:
    code = (
        "from IPython.display import display\n"
        f"for i in range({megabytes}):\n"
        f"    data = {_DENSE.format('i')}\n"
        "    display({'text/plain': f'part {i}', 'text/html': data}, raw=True)\n"
        "    print(i)\n"
    )
    return _cell(code, marks={"part 2": "running"}, meanwhile={"running": meanwhile})


def _large_reply(number: int) -> Step:
    step = _cell("")
    step["content"]["user_expressions"] = {"large": _DENSE.format(number)}
    return step


def restart(*, now: bool) -> Workload:
    """Mark ``restarting`` comes before the restart."""
    steps = [
        _cell("kept = 1; print('before')"),
        {"do": "restart", "now": now, "mark": "restarting"},
        _cell("print('kept' in globals())"),
        _cell(_ASK, answers=["again"]),
    ]
    return Workload("restart", steps)


def shutdown(*, now: bool) -> Workload:
    """Mark ``ending`` comes before the kernel is shut down, which is the last that is done."""
    steps = [_cell("print('before')"), {"do": "shutdown", "now": now, "mark": "ending"}]
    return Workload("shutdown", steps)
