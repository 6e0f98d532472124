"""Ending a task: it has ended, its failure is told, and whoever waits can be cancelled meanwhile."""

import asyncio

import pytest

from app_kernel.core import cancellation
from app_kernel.core.cancellation import cancel_task, cancel_tasks


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


async def test_tasks_that_overhear_it_are_cancelled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cancellation, "ASK_AGAIN_SECONDS", 0.01)
    overheard = 0

    async def stubborn() -> None:
        nonlocal overheard
        while overheard < 2:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                overheard += 1
        await asyncio.sleep(60)

    async def fail() -> None:
        raise ZeroDivisionError

    tasks = [asyncio.create_task(work()) for work in (stubborn, fail)]
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await cancel_tasks(tasks)
    assert overheard == 2
    assert [task.cancelled() for task in tasks] == [True, False]
    await cancel_tasks([])
