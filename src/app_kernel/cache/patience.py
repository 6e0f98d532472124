"""How long somebody else is waited for, by an event loop that may be late itself."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

HELD_UP_SECONDS = 0.05
"""A loop that was itself late by this much gets as much time again: it has not waited for anybody."""


@asynccontextmanager
async def patience(seconds: float) -> AsyncIterator[None]:
    """Raises TimeoutError out of its block after so long; later when the event loop was itself held up meanwhile."""
    loop = asyncio.get_running_loop()
    due = loop.time() + seconds

    def look_at_the_clock() -> None:
        late = loop.time() - due
        limit.reschedule(loop.time() + (HELD_UP_SECONDS if late > HELD_UP_SECONDS else 0))

    async with asyncio.timeout(None) as limit:
        timer = loop.call_at(due, look_at_the_clock)
        try:
            yield
        finally:
            timer.cancel()
