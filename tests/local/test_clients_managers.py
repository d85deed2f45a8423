"""jupyter_client's own managers and clients, used as programs use them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import AsyncKernelManager, start_new_async_kernel, start_new_kernel
from jupyter_client.multikernelmanager import AsyncMultiKernelManager, MultiKernelManager

from tests.support.cells import run, run_async
from tests.support.kernels import START_TIMEOUT, StartedKernel


@pytest.mark.same_with_pods("all tests do it")
def test_a_blocking_client_runs_code(kernel: StartedKernel) -> None:
    cell = kernel.run("print(6 * 7)")

    assert cell.status == "ok"
    assert cell.text == "42\n"


@pytest.mark.same_with_pods("all tests do it")
def test_start_new_kernel_gives_a_kernel_that_is_ready(kernel_name: str) -> None:
    manager, client = start_new_kernel(startup_timeout=START_TIMEOUT, kernel_name=kernel_name)
    try:
        assert manager.is_alive()
        assert run(client, "1 + 1").of_type("execute_result")
    finally:
        client.stop_channels()
        manager.shutdown_kernel()

    assert not manager.is_alive()
    assert not manager.has_kernel


@pytest.mark.same_with_pods("the next test does it too")
async def test_an_asynchronous_manager_and_client_run_code(kernel_name: str) -> None:
    manager, client = await start_new_async_kernel(
        startup_timeout=START_TIMEOUT, kernel_name=kernel_name
    )
    try:
        assert await manager.is_alive()
        assert (await run_async(client, "print('async')")).text == "async\n"
    finally:
        client.stop_channels()
        await manager.shutdown_kernel()

    assert not await manager.is_alive()


async def test_several_asynchronous_kernels_start_at_the_same_time(kernel_name: str) -> None:
    managers = [AsyncKernelManager(kernel_name=kernel_name) for _ in range(3)]
    await asyncio.gather(*(manager.start_kernel() for manager in managers))
    try:
        for number, manager in enumerate(managers):
            client = manager.client()
            client.start_channels()
            await client.wait_for_ready(timeout=START_TIMEOUT)
            assert (await run_async(client, f"print({number})")).text == f"{number}\n"
            client.stop_channels()
    finally:
        await asyncio.gather(*(manager.shutdown_kernel() for manager in managers))


def test_a_multi_kernel_manager_keeps_several_kernels_apart(kernel_name: str) -> None:
    kernels = MultiKernelManager()
    clients: dict[str, BlockingKernelClient] = {}
    try:
        for _ in range(3):
            kernel_id = kernels.start_kernel(kernel_name=kernel_name)
            clients[kernel_id] = kernels.get_kernel(kernel_id).blocking_client()
            clients[kernel_id].start_channels()
        for kernel_id, client in clients.items():
            client.wait_for_ready(timeout=START_TIMEOUT)
            run(client, f"mine = {kernel_id!r}")

        assert set(kernels.list_kernel_ids()) == set(clients)
        for kernel_id, client in clients.items():
            assert run(client, "print(mine)").text == f"{kernel_id}\n"

        first, *others = clients
        clients.pop(first).stop_channels()
        kernels.shutdown_kernel(first)
        assert set(kernels.list_kernel_ids()) == set(others)
        for kernel_id, client in clients.items():
            assert run(client, "print(mine)").text == f"{kernel_id}\n"
    finally:
        for client in clients.values():
            client.stop_channels()
        kernels.shutdown_all()


@pytest.mark.same_with_pods("a restart is the agent's")
async def test_an_asynchronous_multi_kernel_manager_restarts_one_of_two(kernel_name: str) -> None:
    kernels = AsyncMultiKernelManager()
    ids = [await kernels.start_kernel(kernel_name=kernel_name) for _ in range(2)]
    # The manager's class is said to be KernelManager; what it makes is asynchronous.
    clients: list[Any] = [kernels.get_kernel(kernel_id).client() for kernel_id in ids]
    try:
        for client in clients:
            client.start_channels()
            await client.wait_for_ready(timeout=START_TIMEOUT)
            await run_async(client, "kept = 1")

        await kernels.restart_kernel(ids[0])
        await clients[0].wait_for_ready(timeout=START_TIMEOUT)

        assert (await run_async(clients[0], "kept")).error["ename"] == "NameError"
        assert (await run_async(clients[1], "print(kept)")).text == "1\n"
    finally:
        for client in clients:
            client.stop_channels()
        await kernels.shutdown_all()


@pytest.mark.same_with_pods("the kernel tells all its clients")
def test_a_second_client_sees_the_outputs_of_the_first(kernel: StartedKernel) -> None:
    onlooker = kernel.manager.blocking_client()
    onlooker.start_channels()
    try:
        onlooker.wait_for_ready(timeout=START_TIMEOUT)
        cell = kernel.run("print('for all')")
        while True:
            message = onlooker.get_iopub_msg(timeout=START_TIMEOUT)
            if message["header"]["msg_type"] == "stream":
                break
    finally:
        onlooker.stop_channels()

    assert message["content"]["text"] == "for all\n"
    assert message["parent_header"]["msg_id"] == cell.msg_id


@pytest.mark.gra_only
@pytest.mark.same_with_pods("the ports are the tunnel's")
def test_ports_are_this_machines_own_and_listen_on_loopback_only(kernel: StartedKernel) -> None:
    info = kernel.manager.get_connection_info()

    assert info["transport"] == "tcp"
    assert info["ip"] == "127.0.0.1"
    assert info["signature_scheme"] == "hmac-sha256"
    assert len(info["key"]) >= 32
