"""Waiting for a receiver that is away: longer each time, never long, and said once."""

import asyncio
import logging
import random
from contextlib import suppress

from app_kernel.core.errors import Unavailable

FIRST_SECONDS = 0.1
LONGEST_SECONDS = 3.0
"""Short, so that what waited arrives soon after its receiver is back."""


class Backoff:
    """The failures in a row of one loop."""

    def __init__(self, log: logging.Logger, topic: str, ending: asyncio.Event) -> None:
        self._log = log
        self._topic = topic
        self._ending = ending
        self._failures = 0

    def succeeded(self) -> None:
        """The receiver is there."""
        if self._failures:
            self._log.info("receiver_back", extra={"topic": self._topic, "failures": self._failures})
        self._failures = 0

    async def wait_after(self, exc: Exception) -> None:
        """Waits for the next try, or until the loop is to end."""
        self._failures += 1
        if self._failures == 1:
            told = {"topic": self._topic, "reason": f"{type(exc).__name__}: {exc}"}
            self._log.warning("receiver_away", extra=told, exc_info=None if isinstance(exc, Unavailable) else exc)
        longest = min(LONGEST_SECONDS, FIRST_SECONDS * 2 ** min(self._failures, 10))
        await pause(self._ending, random.uniform(longest / 2, longest))  # noqa: S311 - spreads waits, hides nothing


async def pause(ending: asyncio.Event, seconds: float) -> None:
    """Sleeps, but not past the end."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await ending.wait()
