"""How a task that runs beside others is ended."""

import asyncio
from contextlib import suppress


async def cancel_task(task: "asyncio.Task[None] | None") -> None:
    """Cancels a task, where there is one, and returns once it has ended; raises what it had failed with."""
    if task is not None:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
