"""How tasks that run beside others are ended."""

import asyncio
from collections.abc import Collection
from typing import Any

ASK_AGAIN_SECONDS = 2.0
"""After which a task that has not ended is asked again: its cancellation may have been lost."""


async def cancel_task(task: "asyncio.Task[None] | None") -> None:
    """Cancels a task, where there is one, and returns once it has ended; raises what it had failed with."""
    if task is not None:
        await cancel_tasks([task])
        if not task.cancelled():
            task.result()


async def cancel_tasks(tasks: "Collection[asyncio.Task[Any]]") -> None:
    """Cancels tasks and returns once they have ended, however they did.

    Whatever takes its cancellation for a failure of what it waited for, and goes on, is cancelled again: whoever waits
    here would wait for ever otherwise.
    """
    waiting = set(tasks)
    while waiting:
        for task in waiting:
            task.cancel()
        # Awaited themselves, their cancellation could not be told from that of whoever waits here.
        _, waiting = await asyncio.wait(waiting, timeout=ASK_AGAIN_SECONDS)
    for task in tasks:
        if not task.cancelled():
            # Looked at, so that nobody complains that it was not.
            task.exception()
