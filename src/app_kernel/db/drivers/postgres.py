"""PostgreSQL over asyncpg: every call is one transaction on a connection of the pool."""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

import asyncpg  # type: ignore[import-untyped]  # it brings no types

from app_kernel.core.errors import DatabaseBusy, InvalidQuery
from app_kernel.db.dialects.postgres import PostgresDialect
from app_kernel.db.drivers.base import Row, Snapshot, Unit
from app_kernel.db.drivers.counted import counted, counted_read
from app_kernel.db.drivers.pool import Pool
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
from app_kernel.db.drivers.server import ServerDriver
from app_kernel.db.drivers.units import Answer, answer, writing_values

T = TypeVar("T")


class PostgresDriver(ServerDriver):
    """One database, or one schema of it."""

    dialect: PostgresDialect
    _runner: PostgresRunner
    _lease_words = LEASE_WORDS

    def __init__(self, options: PostgresOptions) -> None:
        # Of this database alone, because the words may name its schema.
        self.dialect = PostgresDialect(options.schema or "public")
        wire = PostgresWire(options)
        pool = Pool(wire)
        super().__init__(wire, pool, PostgresRunner(pool, wire, options))
        self._options = options
        self._defining = asyncio.Lock()
        connect = None if options.pgbouncer else wire.connect
        self._signals = PostgresSignals(self._notify, connect, options.schema or "public")

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

    async def build(self, sql: str) -> None:
        await self._runner.build(sql)

    def snapshot(self) -> AbstractAsyncContextManager[Snapshot]:
        return open_snapshot(self._options, self.dialect)

    def _transaction(self, connection: Any) -> PostgresTransaction:
        return PostgresTransaction(self, connection, self._pool, self._wire, self._moved_on)

    async def _create_layout(self, connection: Any) -> int:
        return await create_layout(connection, self.dialect, self._options.schema, self._runner.begin)

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

    async def _notify(self, payloads: list[str]) -> None:
        await self._runner.script(notification(payloads))
