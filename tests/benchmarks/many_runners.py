"""A client process that opens runners: ``python -m tests.benchmarks.many_runners WHERE``.

``WHERE`` is JSON: ``{"state": …}``, gra's state folder, for local runners, and for pods
``{"kubeconfig": …, "namespace": …, "image": …, "modules": …}`` (:func:`.clusters.pod_spec`).
Requests and answers are lines of JSON on stdin and stdout: ``launch`` of ``count`` runners (answers
with their kernels' connection infos), ``look`` (memory in MiB, threads) and ``delete`` (all).
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import threading
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from gra_provisioner.backends.local import LocalBackend
from gra_provisioner.runner import RunnerSpec
from gra_provisioner.service import Attachment, RunnerService, labels_of_this_process
from gra_provisioner.tunnel.thread import Lease
from tests.benchmarks.processes import ROOT, memory
from tests.benchmarks.routes import STUB_KERNEL, spec

# What starts takes CPU, and a machine has little.
_AT_ONCE = 6


class _Host:
    def __init__(self, service: RunnerService, spec: RunnerSpec, cwd: str | None) -> None:
        self._service = service
        self._spec = spec
        self._cwd = cwd
        self._open: list[tuple[Lease, Attachment]] = []

    async def launch(self, count: int) -> list[dict[str, Any]]:
        turns = asyncio.Semaphore(_AT_ONCE)

        async def one() -> dict[str, Any]:
            async with turns:
                lease = Lease()
                launch = self._service.launch(self._spec, labels_of_this_process(), cwd=self._cwd)
                attachment = await lease.run(launch)
                self._open.append((lease, attachment))
                return attachment.connection_info

        return await asyncio.gather(*(one() for _ in range(count)))

    async def look(self) -> dict[str, float]:
        gc.collect()
        rss, pss = memory(os.getpid())
        # Without the pool of an event loop, which has no more than the cores and 4.
        own = [thread for thread in threading.enumerate() if not thread.name.startswith("asyncio_")]
        return {"RSS": rss, "PSS": pss, "threads": len(own)}

    async def delete(self) -> int:
        held, self._open = self._open, []

        async def one(lease: Lease, attachment: Attachment) -> None:
            await lease.run(attachment.delete())

        await asyncio.gather(*(one(*pair) for pair in held))
        if held:
            await held[0][0].run(self._service.close())
        for lease, _ in held:
            lease.release()
        return len(held)


def _host(where: Mapping[str, str]) -> _Host:
    reason = "the benchmark names it"
    if "state" in where:
        service = RunnerService(LocalBackend(Path(where["state"])), reason)
        return _Host(service, spec(STUB_KERNEL), str(ROOT))
    from gra_provisioner.backends.kubernetes.backend import KubernetesBackend
    from gra_provisioner.backends.kubernetes.kubeconfig import Target
    from tests.benchmarks.clusters import pod_spec

    target = Target(namespace=where["namespace"], kubeconfig=where["kubeconfig"])
    service = RunnerService(KubernetesBackend(target, {}), reason)
    return _Host(service, pod_spec(where["image"], STUB_KERNEL, modules=where["modules"]), None)


async def _main(where: Mapping[str, str]) -> None:
    host = _host(where)
    requests: dict[str, Callable[..., Awaitable[Any]]]
    requests = {"launch": host.launch, "look": host.look, "delete": host.delete}
    try:
        while line := await asyncio.to_thread(sys.stdin.readline):
            request = json.loads(line)
            print(json.dumps(await requests[request.pop("do")](**request)), flush=True)
    finally:
        await host.delete()


if __name__ == "__main__":
    asyncio.run(_main(json.loads(sys.argv[1])))
