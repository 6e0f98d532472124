"""Attempts to sign in take turns, so that those under way are few and the right passwords among them cost nobody else.

An attempt is noted as a failure before it is tried. Without turns, many right ones at the same time would be taken for
guesses: a whole office behind one address, or a robot that signs in often.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from app_kernel.core.errors import ServerBusy

ACCOUNT_AT_ONCE = 1
NETWORK_AT_ONCE = 8
"""More than the hashing threads can use, and far fewer than the failures that a network may have."""
MOST_WAITING = 100
"""Attempts that may wait for one account or network; beyond them the answer is 503 at once."""


class _Turn:
    __slots__ = ("__weakref__", "semaphore", "waiting")

    def __init__(self, at_once: int) -> None:
        self.semaphore = asyncio.Semaphore(at_once)
        self.waiting = 0


class Turns:
    """The turns of one service, by account and by network; one that nobody waits for is forgotten."""

    def __init__(self) -> None:
        self._turns: WeakValueDictionary[str, _Turn] = WeakValueDictionary()

    @asynccontextmanager
    async def take(self, key: str, at_once: int) -> AsyncIterator[None]:
        """Waits until fewer than `at_once` others have a turn for `key`; raises ServerBusy when too many wait."""
        turn = self._turns.get(key)
        if turn is None:
            turn = self._turns[key] = _Turn(at_once)
        if turn.waiting >= MOST_WAITING:
            raise ServerBusy
        turn.waiting += 1
        try:
            await turn.semaphore.acquire()
        finally:
            turn.waiting -= 1
        try:
            yield
        finally:
            turn.semaphore.release()
