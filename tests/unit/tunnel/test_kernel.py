"""What a client is told when its runner ends: the agent's word, or who had it ended."""

from __future__ import annotations

import pytest

from gra_provisioner.errors import GraError, RunnerEnded, RunnerNotFound
from gra_provisioner.tunnel.channels import KernelChannels
from gra_provisioner.tunnel.kernel import KernelExit, RemoteKernel, _why_runner_ended
from tests.unit.tunnel.fake_agent import FakeAgent

TERMINATED = "Terminated: the agent got SIGTERM"
EVICTED = RunnerEnded(
    "runner-1 was evicted.", hint="Restart the kernel.", details={"reason": "Evicted"}
)
GONE = RunnerNotFound("runner-1 does not exist any more.", hint="It was deleted.")


@pytest.mark.parametrize(
    ("error", "word", "reason", "message", "hint"),
    [
        # The agent does not know who had it terminated.
        (EVICTED, TERMINATED, "Evicted", "runner-1 was evicted.", "Restart the kernel."),
        # Nor does the backend, where there is no record left.
        (GONE, TERMINATED, "Terminated", "The runner has ended. " + TERMINATED, "It was deleted."),
        # The agent knows best why it ended by itself.
        (EVICTED, "Idle: for 60 s", "Idle", "The runner has ended. Idle: for 60 s.", ""),
        # It had no time to say anything.
        (EVICTED, "", "Evicted", "runner-1 was evicted.", "Restart the kernel."),
        (GONE, "Deleted: runner-1 was deleted", "Deleted", "runner-1 was deleted.", GONE.hint),
        (GONE, "", "RunnerNotFound", "runner-1 does not exist any more.", "It was deleted."),
    ],
)
def test_why_a_runner_ended(
    error: GraError, word: str, reason: str, message: str, hint: str
) -> None:
    obituary, found = _why_runner_ended(error, word)

    assert found == reason
    assert obituary.message.startswith(message)
    assert hint in obituary.hint


async def test_a_kernel_is_signalled_in_vain_while_its_end_with_the_runner_is_being_told() -> None:
    agent, ends = FakeAgent(), list[KernelExit]()
    await agent.start()
    kernel = RemoteKernel(KernelChannels("key", "hmac-sha256"), ends.append, 0.5)
    try:
        await kernel.connect(agent.dial)
        agent.rejection = {"reason": "RunnerNotFound", "message": "It is gone."}
        agent.cut()
        await kernel.tunnel.ended

        assert not ends, "the end has been told already"
        assert await kernel.signal(2) is False
        await kernel.expect_exit()
    finally:
        await kernel.release()
        await kernel.channels.close()
        await agent.stop()
