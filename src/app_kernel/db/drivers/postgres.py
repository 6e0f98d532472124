"""PostgreSQL over asyncpg: every call is one transaction on a connection of the pool."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

import asyncpg  # type: ignore[import-untyped]  # it brings no types

from app_kernel.core.database_figures import DatabaseFigures, PoolFigures
from app_kernel.core.errors import DatabaseBusy, InvalidQuery, Unavailable
from app_kernel.db.dialects.postgres import PostgresDialect
from app_kernel.db.drivers.base import Driver, Lease, Row, Snapshot, Transaction, Unit
from app_kernel.db.drivers.counted import counted, counted_read
from app_kernel.db.drivers.pool import Pool
from app_kernel.db.drivers.postgres_errors import FOREIGN, to_ours
from app_kernel.db.drivers.postgres_layout import create_layout
from app_kernel.db.drivers.postgres_lease import LEASE_WORDS
from app_kernel.db.drivers.postgres_options import PostgresOptions
from app_kernel.db.drivers.postgres_runner import PostgresRunner
from app_kernel.db.drivers.postgres_signals import PostgresSignals, notification
from app_kernel.db.drivers.postgres_snapshot import open_snapshot
from app_kernel.db.drivers.postgres_statements import (
    GENERATION,
    TAKE_SCHEMA_LOCK,
    RawStatement,
    defining_unit,
    forget_unit,
    guard,
    with_generation,
)
from app_kernel.db.drivers.postgres_transaction import PostgresTransaction
from app_kernel.db.drivers.postgres_wire import PostgresWire
from app_kernel.db.drivers.runner import Tries
from app_kernel.db.drivers.table_lease import TableLease
from app_kernel.db.drivers.units import Answer, answer, writing_values

T = TypeVar("T")


class PostgresDriver(Driver):
    """One database, or one schema of it."""

    dialect: PostgresDialect

    def __init__(self, options: PostgresOptions) -> None:
        # Of this database alone, because the words may name its schema.
        self.dialect = PostgresDialect(options.schema or "public")
        self.figures = DatabaseFigures()
        self._options = options
        self._wire = PostgresWire(options)
        self._pool = Pool(self._wire)
        self._runner = PostgresRunner(self._pool, self._wire, options)
        self._defining = asyncio.Lock()
        connect = None if options.pgbouncer else self._wire.connect
        self._signals = PostgresSignals(self._notify, connect, options.schema or "public")

    async def open(self) -> None:
        self._pool.open()
        try:
            self.generation = await self._lay_out()
        except BaseException:
            # Also when the task was cancelled: nobody else knows of the connections.
            await asyncio.shield(asyncio.create_task(self._pool.close()))
            raise
        self._signals.open()

    async def close(self) -> None:
        # A task of its own, because one that is cancelled midway must not leave connections behind.
        await asyncio.shield(asyncio.create_task(self._close()))

    @counted_read
    async def fetch(self, sql: str, params: Sequence[Any], *, observed: bool = False) -> list[Row]:
        rows = await self._runner.single(sql, params, reads=True)
        if observed:
            seen = rows[0][-1] if rows else (await self._runner.single(GENERATION, (), reads=True))[0][0]
            self.generation = max(self.generation, seen)
        return rows

    @counted("write")
    async def write(self, unit: Unit[T], generation: int, table: str) -> T:
        with writing_values(self._wire):
            return await self._runner.transact(guard(self.dialect.table(table), generation), unit)

    @counted("write")
    async def run(self, sql: str, params: Sequence[Any]) -> list[Row]:
        return await self._runner.single(sql, params, reads=False, isolated=True)

    @counted("define")
    async def define(self, unit: Unit[T]) -> T:
        return await self._define(with_generation(unit))

    @counted("raw")
    async def execute(self, sql: str, params: Sequence[Any]) -> Answer:
        raw = RawStatement(sql)
        if raw.defines:
            try:
                return await self._define(defining_unit(sql, params), leaves_state=raw.leaves_state)
            except InvalidQuery as exc:
                if not isinstance(exc.__cause__, asyncpg.ActiveSQLTransactionError):
                    raise
        # Never as a read, which is repeated when its end was not heard of: a function in it may write.
        rows = await self._runner.single(sql, params, reads=False, leaves_state=raw.leaves_state)
        if raw.defines:
            # It can run outside a transaction only, such as CREATE INDEX CONCURRENTLY.
            await self.define(forget_unit)
        return answer(rows)

    @counted("transaction")
    async def begin(self, seconds: float) -> Transaction:
        tries = Tries(self._wire)
        while True:
            connection = await self._pool.acquire()
            transaction = PostgresTransaction(self, connection, self._pool, self._wire, self._moved_on)
            transaction.figures = self.figures
            try:
                await transaction.start(self._runner.begin, seconds)
            except FOREIGN as exc:
                await self._runner.give_back(connection, exc)
                if not tries.again(exc, undone=True):
                    raise to_ours(exc) from exc
            except BaseException:
                self._pool.discard(connection)
                raise
            else:
                return transaction

    def pool(self) -> PoolFigures:
        return self._pool.figures()

    async def build(self, sql: str) -> None:
        await self._runner.build(sql)

    def snapshot(self) -> AbstractAsyncContextManager[Snapshot]:
        return open_snapshot(self._options, self.dialect)

    async def acquire_lease(self, name: str) -> Lease | None:
        return await TableLease.acquire(self._runner, LEASE_WORDS, name)

    def signal(self, channel: str) -> None:
        self._signals.signal(channel)

    def on_signal(self, channel: str, callback: Callable[[], object]) -> Callable[[], None]:
        return self._signals.on_signal(channel, callback)

    async def _close(self) -> None:
        await self._signals.close()
        await self._pool.close()

    async def _lay_out(self) -> int:
        connection: Any = await self._pool.acquire()
        try:
            return await create_layout(connection, self.dialect, self._options.schema, self._runner.begin)
        except FOREIGN as exc:
            ours = to_ours(exc)
            raise (
                ours if isinstance(ours, Unavailable) else Unavailable(f"The database cannot be used: {ours}")
            ) from exc
        finally:
            # Closed, unless it all went well: a transaction is open in it then.
            self._pool.release(connection)

    async def _define(self, unit: Unit[tuple[T, int]], *, leaves_state: bool = False) -> T:
        # Those of this process wait here, not in the server, where each would keep a connection from everybody else.
        try:
            async with asyncio.timeout(self._options.statement_timeout):
                await self._defining.acquire()
        except TimeoutError as exc:
            raise DatabaseBusy("The schema of the database is being changed all the time; try again.") from exc
        try:
            result, generation = await self._runner.transact(TAKE_SCHEMA_LOCK, unit, leaves_state=leaves_state)
        finally:
            self._defining.release()
        self._moved_on(generation)
        return result

    def _moved_on(self, generation: int) -> None:
        self.generation = max(self.generation, generation)

    async def _notify(self, payloads: list[str]) -> None:
        await self._runner.script(notification(payloads))
