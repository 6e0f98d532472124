"""The right to do something alone, as a row that its holder renews, by the server's clock; poolers do not matter."""

import asyncio
from dataclasses import dataclass
from typing import Any, Self

from app_kernel.core import clock
from app_kernel.core.errors import StoreError
from app_kernel.db.drivers.base import Lease, Row, Unit
from app_kernel.db.drivers.runner import Runner
from app_kernel.db.drivers.units import one_statement
from app_kernel.db.errors import SchemaFact

LEASE_SECONDS = 3.0
"""How long a lease holds without being renewed."""


@dataclass(frozen=True, slots=True)
class LeaseWords:
    """The statements of a lease; parameters: name, holder, seconds, as far as one has them."""

    held: str
    """A row while somebody holds it; parameter: name."""
    take: str
    """A row for the one who takes it; parameters: name, holder, seconds."""
    renew: str
    """A row while it is still held; parameters: name, holder, seconds."""
    release: str
    """Parameters: name, holder."""
    lazily: str = ""
    """What spares a wait for the disk: a renewal that a crash of the server forgets only makes the lease end sooner."""


class TableLease(Lease):
    """A held lease; made by `acquire`."""

    def __init__(self, runner: Runner, words: LeaseWords, name: str, holder: str) -> None:
        self._runner = runner
        self._words = words
        self._name = name
        self._holder = holder
        self._is_released = False

    @classmethod
    async def acquire(cls, runner: Runner, words: LeaseWords, name: str) -> Self | None:
        """The lease; None while somebody else holds it."""
        # Looked at first, because an attempt that fails would lock the row and write too.
        if await runner.single(words.held, (name,), reads=True):
            return None
        lease = cls(runner, words, name, clock.new_id())
        taken = await runner.single(words.take, (name, lease._holder, LEASE_SECONDS), reads=False)
        return lease if taken else None

    async def renew(self) -> bool:
        if self._is_released:
            return False
        try:
            # What takes longer than the lease lasts comes too late.
            async with asyncio.timeout(LEASE_SECONDS):
                return bool(
                    await self._runner.transact(self._words.lazily, self._one(self._words.renew, LEASE_SECONDS))
                )
        except (StoreError, SchemaFact, TimeoutError):
            return False

    async def release(self) -> None:
        if self._is_released:
            return
        self._is_released = True
        try:
            async with asyncio.timeout(LEASE_SECONDS):
                await self._runner.transact(self._words.lazily, self._one(self._words.release))
        except (StoreError, SchemaFact, TimeoutError):
            return  # It ends by itself.

    def _one(self, sql: str, *params: Any) -> Unit[list[Row]]:
        return one_statement(sql, (self._name, self._holder, *params))
