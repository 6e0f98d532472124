"""The right to do something alone, as a row that its holder renews, by the server's clock; poolers do not matter."""

import asyncio
from typing import Any, Self

from app_kernel.core import clock
from app_kernel.core.errors import StoreError
from app_kernel.db.drivers.base import Lease, Row, Unit
from app_kernel.db.drivers.postgres_runner import PostgresRunner
from app_kernel.db.drivers.units import one_statement
from app_kernel.db.errors import SchemaFact

LEASE_SECONDS = 3.0
"""How long a lease holds without being renewed."""

_HELD = "SELECT 1 FROM kernel_leases WHERE name = $1 AND expires_at > clock_timestamp()"
_TAKE = (
    "INSERT INTO kernel_leases (name, holder, expires_at)"
    " VALUES ($1, $2, clock_timestamp() + make_interval(secs => $3))"
    " ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at"
    " WHERE kernel_leases.expires_at <= clock_timestamp() RETURNING 1"
)
_RENEW = (
    "UPDATE kernel_leases SET expires_at = clock_timestamp() + make_interval(secs => $3)"
    " WHERE name = $1 AND holder = $2 RETURNING 1"
)
_RELEASE = "DELETE FROM kernel_leases WHERE name = $1 AND holder = $2"
# A renewal that a crash of the server forgets only makes the lease end sooner.
_LAZILY = "; SET LOCAL synchronous_commit = off"


class PostgresLease(Lease):
    """A held lease; made by `acquire`."""

    def __init__(self, runner: PostgresRunner, name: str, holder: str) -> None:
        self._runner = runner
        self._name = name
        self._holder = holder
        self._is_released = False

    @classmethod
    async def acquire(cls, runner: PostgresRunner, name: str) -> Self | None:
        """The lease; None while somebody else holds it."""
        # Looked at first, because an attempt that fails would lock the row and write too.
        if await runner.single(_HELD, (name,), reads=True):
            return None
        lease = cls(runner, name, clock.new_id())
        return lease if await runner.single(_TAKE, (name, lease._holder, LEASE_SECONDS), reads=False) else None

    async def renew(self) -> bool:
        if self._is_released:
            return False
        try:
            # What takes longer than the lease lasts comes too late.
            async with asyncio.timeout(LEASE_SECONDS):
                return bool(await self._runner.transact(_LAZILY, self._one(_RENEW, LEASE_SECONDS)))
        except (StoreError, SchemaFact, TimeoutError):
            return False

    async def release(self) -> None:
        if self._is_released:
            return
        self._is_released = True
        try:
            async with asyncio.timeout(LEASE_SECONDS):
                await self._runner.transact(_LAZILY, self._one(_RELEASE))
        except (StoreError, SchemaFact, TimeoutError):
            return  # It ends by itself.

    def _one(self, sql: str, *params: Any) -> Unit[list[Row]]:
        return one_statement(sql, (self._name, self._holder, *params))
