"""Waiting for what another process or task does."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def until(look: Callable[[], Awaitable[T]], seconds: float = 20) -> T:
    """The first true thing that `look` gives; fails after `seconds`."""
    async with asyncio.timeout(seconds):
        while not (found := await look()):  # noqa: ASYNC110 - what is waited for happens elsewhere
            await asyncio.sleep(0.02)
        return found
