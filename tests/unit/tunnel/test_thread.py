"""The background thread: there while anybody needs it, and gone afterwards."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest

from gra_provisioner.tunnel.thread import THREAD_NAME, Lease


def _threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == THREAD_NAME]


async def _name() -> str:
    return threading.current_thread().name


def test_leases_share_one_thread_that_ends_with_the_last() -> None:
    first, second = Lease(), Lease()
    assert len(_threads()) == 1
    first.release()
    first.release()
    assert len(_threads()) == 1
    assert asyncio.run(second.run(_name())) == THREAD_NAME
    second.release()

    assert _threads() == []


def test_each_call_may_have_a_loop_of_its_own() -> None:
    lease = Lease()
    try:
        assert {asyncio.run(lease.run(_name())) for _ in range(3)} == {THREAD_NAME}
    finally:
        lease.release()


async def test_cancelling_the_caller_cancels_the_work() -> None:
    lease = Lease()
    begun, cancelled = threading.Event(), threading.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    try:
        task = asyncio.create_task(lease.run(work()))
        assert await asyncio.to_thread(begun.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(cancelled.wait, 10)
    finally:
        lease.release()


async def test_what_the_work_raises_reaches_the_caller() -> None:
    async def work() -> None:
        raise KeyError("this one")

    lease = Lease()
    try:
        with pytest.raises(KeyError, match="this one"):
            await lease.run(work())
    finally:
        lease.release()


async def test_a_lease_that_was_released_does_no_work() -> None:
    lease = Lease()
    lease.release()

    with pytest.raises(RuntimeError, match="released"):
        await lease.run(_name())


def test_a_forked_process_gets_a_thread_of_its_own() -> None:
    lease = Lease()
    try:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                mine = Lease()
                status = asyncio.run(mine.run(_name())) != THREAD_NAME
                mine.release()
            finally:
                os._exit(int(status))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert asyncio.run(lease.run(_name())) == THREAD_NAME
    finally:
        lease.release()
