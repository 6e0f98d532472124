"""How a task that runs beside others is ended."""

import asyncio


async def cancel_task(task: "asyncio.Task[None] | None") -> None:
    """Cancels a task, where there is one, and returns once it has ended; raises what it had failed with."""
    if task is not None:
        task.cancel()
        # Awaited itself, its cancellation could not be told from that of whoever waits here.
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()
