"""Ending a task: it has ended, its failure is told, and whoever waits can be cancelled meanwhile."""

import asyncio

import pytest

from app_kernel.core.cancellation import cancel_task


async def test_it_has_ended_when_it_returns() -> None:
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            ended.set()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    await cancel_task(task)
    assert ended.is_set()
    assert task.cancelled()
    await cancel_task(None)


async def test_what_it_had_failed_with_is_raised() -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    task = asyncio.create_task(fail())
    await asyncio.wait([task])
    with pytest.raises(ZeroDivisionError):
        await cancel_task(task)


async def test_whoever_waits_for_it_can_be_cancelled() -> None:
    go_on = asyncio.Event()

    async def stubborn() -> None:
        while not go_on.is_set():
            try:
                await go_on.wait()
            except asyncio.CancelledError:
                continue

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await cancel_task(task)
    go_on.set()
    await asyncio.wait([task])
    assert task.done()
