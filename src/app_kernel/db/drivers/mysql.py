"""MySQL and MariaDB over asyncmy: every call is one transaction on a connection of the pool."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

from app_kernel.core.errors import UniqueViolation, UnsupportedValue
from app_kernel.db.dialects.mysql import MySqlDialect
from app_kernel.db.dialects.mysql_catalog import MARKED_GENERATION
from app_kernel.db.drivers.base import Row, Snapshot, Unit
from app_kernel.db.drivers.counted import counted, counted_read
from app_kernel.db.drivers.mysql_layout import create_database, create_layout
from app_kernel.db.drivers.mysql_lease import LEASE_WORDS
from app_kernel.db.drivers.mysql_options import MySqlOptions
from app_kernel.db.drivers.mysql_runner import MySqlRunner
from app_kernel.db.drivers.mysql_schema import MySqlSchema
from app_kernel.db.drivers.mysql_signals import MySqlSignals
from app_kernel.db.drivers.mysql_snapshot import open_snapshot
from app_kernel.db.drivers.mysql_statements import RawStatement, defining_unit, guard, used_tables
from app_kernel.db.drivers.mysql_transaction import MySqlTransaction
from app_kernel.db.drivers.mysql_wire import MySqlWire
from app_kernel.db.drivers.pool import Pool
from app_kernel.db.drivers.server import ServerDriver
from app_kernel.db.drivers.units import Answer, answer, writing_values

T = TypeVar("T")


class MySqlDriver(ServerDriver):
    """One database of a server."""

    dialect: MySqlDialect
    _wire: MySqlWire
    _runner: MySqlRunner
    _lease_words = LEASE_WORDS

    def __init__(self, options: MySqlOptions) -> None:
        # Of this database alone, because its words depend on the server.
        self.dialect = MySqlDialect()
        wire = MySqlWire(options, self.dialect)
        pool = Pool(wire)
        super().__init__(wire, pool, MySqlRunner(pool, wire))
        self._options = options
        self._schema = MySqlSchema(wire, options, self._moved_on)
        self._signals = MySqlSignals(self._look, self._count, self._schema.mend)

    async def open(self) -> None:
        if self._options.create:
            await self._create()
        await super().open()

    @counted_read
    async def fetch(self, sql: str, params: Sequence[Any], *, observed: bool = False) -> list[Row]:
        rows = await self._runner.single(sql, params, reads=True)
        if observed:
            seen = rows[0][-1] if rows else (await self._runner.single(MARKED_GENERATION, (), reads=True))[0][0]
            if seen != self.generation:
                self._moved_on(await self._schema.settle(seen, used_tables(sql)))
        return rows

    @counted("write")
    async def write(self, unit: Unit[T], generation: int, table: str) -> T:
        try:
            with writing_values(self._wire):
                return await self._runner.transact(guard(table, self.dialect.table(table), generation), unit)
        except (UniqueViolation, UnsupportedValue) as exc:
            raise await self._runner.with_fields(exc) from exc.__cause__

    @counted("write")
    async def run(self, sql: str, params: Sequence[Any]) -> list[Row]:
        try:
            return await self._runner.single(sql, params, reads=False, isolated=True)
        except (UniqueViolation, UnsupportedValue) as exc:
            raise await self._runner.with_fields(exc) from exc.__cause__

    @counted("define")
    async def define(self, unit: Unit[T]) -> T:
        return await self._schema.change(unit)

    @counted("raw")
    async def execute(self, sql: str, params: Sequence[Any]) -> Answer:
        raw = RawStatement(sql)
        try:
            if raw.defines:
                return await self._schema.change(defining_unit(sql, params), repeats=False)
            # Never as a read, which is repeated when its end was not heard of: a function in it may write.
            rows = await self._runner.single(sql, params, reads=False, leaves_state=raw.leaves_state)
        except (UniqueViolation, UnsupportedValue) as exc:
            raise await self._runner.with_fields(exc) from exc.__cause__
        return answer(rows)

    def snapshot(self) -> AbstractAsyncContextManager[Snapshot]:
        return open_snapshot(self._options, self.dialect)

    def _transaction(self, connection: Any) -> MySqlTransaction:
        return MySqlTransaction(self, connection, self._pool, self._wire, self._moved_on, schema=self._schema)

    async def _create_layout(self, connection: Any) -> int:
        return await create_layout(connection, self.dialect, self._options.database)

    async def _close(self) -> None:
        await self._signals.close()
        self._schema.close()
        await self._pool.close()

    async def _create(self) -> None:
        connection = await self._wire.connect_to(database=False)
        try:
            await create_database(connection, self._options.database)
        except self._wire.foreign as exc:
            raise self._as_unavailable(exc) from exc
        finally:
            connection.terminate()

    async def _look(self, sql: str) -> list[Row]:
        return await self._runner.single(sql, (), reads=True)

    async def _count(self, sql: str, params: list[str]) -> None:
        await self._runner.single(sql, params, reads=False)
