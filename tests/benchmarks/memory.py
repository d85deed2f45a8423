"""What a runner costs in memory, in its agent and in the client's process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jupyter_client.manager import AsyncKernelManager

from gra_provisioner.backends.local import LocalBackend
from gra_provisioner.service import labels_of_this_process
from gra_provisioner.tunnel.thread import Lease
from tests.benchmarks import processes
from tests.benchmarks.figures import Bar, Row, Summary, Table
from tests.benchmarks.options import Sizes
from tests.benchmarks.pod_runners import open_many
from tests.benchmarks.routes import spec
from tests.support.places import Places

_WITHIN = 60.0
_AGENT_LIMIT = 25.0
_PRINT = 1_000_000


def _one(value: float, unit: str = "MiB") -> Summary:
    return Summary.of([value], unit)


def _agent_row(label: str, pid: int, bars: Sequence[Bar] = ()) -> Row:
    rss, pss = processes.memory(pid)
    return Row(label, {"RSS": _one(rss), "PSS": _one(pss)}, bars)


async def _idle_agent(places: Places) -> Row:
    backend = LocalBackend(places.gra_state)
    lease = Lease()
    try:
        runner = await lease.run(backend.create(spec(), labels_of_this_process()))
        try:
            return _agent_row("idle", runner.pid or 0, [Bar("RSS", _AGENT_LIMIT)])
        finally:
            await lease.run(backend.delete(runner))
    finally:
        lease.release()


async def _busy_agent(size: int) -> list[Row]:
    manager = AsyncKernelManager(kernel_name="gra")
    await manager.start_kernel()
    client = manager.client()
    try:
        client.start_channels()
        await client.wait_for_ready(timeout=_WITHIN)
        pid = int(manager.provisioner.runner.pid)  # type: ignore[union-attr]
        rows = [_agent_row("with a kernel and a client", pid, [Bar("RSS", _AGENT_LIMIT)])]
        code = f"for _ in range({size // _PRINT}): print('x' * {_PRINT - 1})"
        seen = 0

        def count(message: dict[str, Any]) -> None:
            nonlocal seen
            if message["msg_type"] == "stream":
                seen += len(message["content"]["text"])

        await client.execute_interactive(code, output_hook=count, timeout=_WITHIN)
        if seen < size // _PRINT * _PRINT:
            raise RuntimeError(f"{seen} of {size} bytes of output arrived")
        rows.append(_agent_row(f"after {size / 1e6:.0f} MB of output", pid))
        return rows
    finally:
        client.stop_channels()
        await manager.shutdown_kernel(now=True)


async def measure(places: Places, sizes: Sizes) -> list[Table]:
    """The tables of this benchmark."""
    agent = [await _idle_agent(places), *await _busy_agent(sizes.output)]
    return [
        Table(
            "Memory of an agent",
            "Of the agent's process alone, the kernel not included. Without a kernel; with an "
            "ipykernel and a connected client; after that kernel's output has all arrived.",
            agent,
        ),
        Table(
            "Memory of the client's process",
            "A process that holds this many runners open, each with a kernel and a ZMQ client "
            "connected to all five channels; the ZMQ clients are in another process.",
            await open_many({"state": str(places.gra_state)}, sizes.runners),
        ),
    ]
