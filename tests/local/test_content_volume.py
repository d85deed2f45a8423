"""Large output and much output: all of it, in order."""

from __future__ import annotations

import hashlib
import queue
import time
from dataclasses import dataclass, field

import pytest
from jupyter_client.blocking.client import BlockingKernelClient

from tests.support.kernels import StartedKernel
from tests.support.waiting import WaitTimeout

pytestmark = pytest.mark.timeout(400)

_MANY_SECONDS = 300.0
_MEGABYTE = 10**6


@dataclass
class Output:
    """The digest of all that a cell printed, taken while it arrives."""

    size: int = 0
    messages: int = 0
    longest: int = 0
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)

    def add(self, text: str) -> None:
        data = text.encode()
        self.size += len(data)
        self.messages += 1
        self.longest = max(self.longest, len(data))
        self.digest.update(data)


def _printed(client: BlockingKernelClient, code: str) -> Output:
    """Run ``code`` and read iopub as fast as this process can, keeping no text."""
    output = Output()
    msg_id = client.execute(code)
    deadline = time.monotonic() + _MANY_SECONDS
    while True:
        try:
            message = client.get_iopub_msg(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            what = f"a cell to be idle (got {output.size} bytes in {output.messages} messages)"
            raise WaitTimeout(what, _MANY_SECONDS) from None
        if message["parent_header"].get("msg_id") != msg_id:
            continue
        kind, content = message["header"]["msg_type"], message["content"]
        if kind == "stream":
            output.add(content["text"])
        elif kind == "error":
            raise AssertionError("\n".join(content["traceback"]))
        elif kind == "status" and content["execution_state"] == "idle":
            return output


def _digest_in_kernel(kernel: StartedKernel, expression: str) -> str:
    """The SHA-256 of what ``expression`` is in the kernel, in hexadecimal."""
    return kernel.run(
        f"import hashlib; print(hashlib.sha256(({expression}).encode()).hexdigest())"
    ).text.strip()


def test_200_megabytes_arrive_in_one_message(kernel: StartedKernel) -> None:
    # Numbered, so that a piece that is lost or doubled changes the digest.
    kernel.run("text = ''.join(f'{n:09d}\\n' for n in range(20_000_000))")

    output = _printed(kernel.client, "print(text, end='')")

    assert output.size == 200 * _MEGABYTE
    assert output.longest == output.size
    assert output.digest.hexdigest() == _digest_in_kernel(kernel, "text")


@pytest.mark.same_with_pods("in one message it is harder")
def test_200_megabytes_arrive_in_many_messages(kernel: StartedKernel) -> None:
    kernel.run("parts = [f'{n:09d}\\n' * 100_000 for n in range(200)]")

    output = _printed(kernel.client, "for part in parts: print(part, end='', flush=True)")

    assert output.size == 200 * _MEGABYTE
    assert output.messages >= 100
    assert output.digest.hexdigest() == _digest_in_kernel(kernel, "''.join(parts)")


def test_100_000_small_prints_arrive_in_order(kernel: StartedKernel) -> None:
    output = _printed(kernel.client, "for n in range(100_000): print(n)")

    expected = "".join(f"{n}\n" for n in range(100_000)).encode()
    assert output.size == len(expected)
    assert output.digest.digest() == hashlib.sha256(expected).digest()


@pytest.mark.gra_only
@pytest.mark.same_with_pods("the tunnel's client keeps them")
def test_20_000_messages_arrive_at_a_client_that_reads_none_meanwhile(
    kernel: StartedKernel,
) -> None:
    # More than libzmq queues for a slow subscriber (1,000 at each end) before it drops.
    msg_id = kernel.client.execute("for n in range(20_000): print(n, flush=True)")
    reply = kernel.client.get_shell_msg(timeout=_MANY_SECONDS)
    assert reply["parent_header"]["msg_id"] == msg_id

    text = ""
    while not text.endswith("19999\n"):
        message = kernel.client.get_iopub_msg(timeout=30)
        if message["header"]["msg_type"] == "stream":
            text += message["content"]["text"]

    assert text == "".join(f"{n}\n" for n in range(20_000))
