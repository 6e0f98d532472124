"""What the drivers of all database servers do alike: open and close, hand out transactions, leases and signals."""

import asyncio
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

from app_kernel.core.database_figures import DatabaseFigures, PoolFigures
from app_kernel.core.errors import Unavailable
from app_kernel.db.drivers.base import Driver, Lease, Transaction
from app_kernel.db.drivers.counted import counted
from app_kernel.db.drivers.pool import Pool
from app_kernel.db.drivers.runner import Runner, Tries
from app_kernel.db.drivers.server_transaction import ServerTransaction
from app_kernel.db.drivers.signal_hub import SignalHub
from app_kernel.db.drivers.table_lease import LeaseWords, TableLease
from app_kernel.db.drivers.wire import Wire


class ServerDriver(Driver):
    """One database of a server, over a pool of connections; a driver says what its server is told."""

    _lease_words: LeaseWords
    _signals: SignalHub

    def __init__(self, wire: Wire, pool: Pool, runner: Runner) -> None:
        self.figures = DatabaseFigures()
        self._wire = wire
        self._pool = pool
        self._runner = runner

    async def open(self) -> None:
        self._pool.open()
        try:
            self.generation = await self._lay_out()
        except BaseException:
            # Also when the task was cancelled: nobody else knows of the connections.
            await asyncio.shield(asyncio.create_task(self._close()))
            raise
        self._signals.open()

    async def close(self) -> None:
        # A task of its own, because one that is cancelled midway must not leave connections behind.
        await asyncio.shield(asyncio.create_task(self._close()))

    @counted("transaction")
    async def begin(self, seconds: float) -> Transaction:
        tries = Tries(self._wire)
        while True:
            connection: Any = await self._pool.acquire()
            transaction = self._transaction(connection)
            transaction.figures = self.figures
            try:
                await transaction.start(self._runner.begin, seconds)
            except self._wire.foreign as exc:
                await self._runner.give_back(connection, exc)
                if not tries.again(exc, undone=True):
                    raise self._wire.to_ours(exc) from exc
            except BaseException:
                self._pool.discard(connection)
                raise
            else:
                return transaction

    def pool(self) -> PoolFigures:
        return self._pool.figures()

    async def acquire_lease(self, name: str) -> Lease | None:
        return await TableLease.acquire(self._runner, self._lease_words, name)

    def signal(self, channel: str) -> None:
        self._signals.signal(channel)

    def on_signal(self, channel: str, callback: Callable[[], object]) -> Callable[[], None]:
        return self._signals.on_signal(channel, callback)

    @abstractmethod
    def _transaction(self, connection: Any) -> ServerTransaction:
        """An open transaction on a connection, which is not begun yet."""

    @abstractmethod
    async def _create_layout(self, connection: Any) -> int:
        """Makes the kernel's own tables where they are missing; the schema's generation."""

    async def _lay_out(self) -> int:
        connection: Any = await self._pool.acquire()
        try:
            return await self._create_layout(connection)
        except self._wire.foreign as exc:
            raise self._as_unavailable(exc) from exc
        finally:
            # Closed, unless it all went well: a transaction may be open in it then.
            self._pool.release(connection)

    async def _close(self) -> None:
        await self._signals.close()
        await self._pool.close()

    def _as_unavailable(self, exc: BaseException) -> Unavailable:
        ours = self._wire.to_ours(exc)
        return ours if isinstance(ours, Unavailable) else Unavailable(f"The database cannot be used: {ours}")

    def _moved_on(self, generation: int) -> None:
        self.generation = max(self.generation, generation)
