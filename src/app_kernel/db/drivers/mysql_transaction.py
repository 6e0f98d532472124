"""What MySQL alone does in an open transaction: a change of the schema would commit it, and so happens elsewhere.

Until the transaction has written, it can let go of the tables that it has read and begin again. After that, a change
of a table that it has used would wait for itself: that is refused, and other tables are made beside it, for good.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from app_kernel.core.errors import ConnectionLost, DatabaseBusy, UniqueViolation, UnsupportedValue
from app_kernel.db.dialects.mysql_catalog import GENERATION, MARKED_GENERATION
from app_kernel.db.drivers.base import Driver, Row, Unit
from app_kernel.db.drivers.counted import counted
from app_kernel.db.drivers.mysql_connection import Connection
from app_kernel.db.drivers.mysql_runner import BEGIN, fields_on
from app_kernel.db.drivers.mysql_schema import MySqlSchema
from app_kernel.db.drivers.mysql_statements import (
    RawStatement,
    check_sendable,
    defining_unit,
    guard,
    used_tables,
)
from app_kernel.db.drivers.mysql_wire import MySqlWire
from app_kernel.db.drivers.pool import Pool
from app_kernel.db.drivers.server_transaction import DEFINE_BEFORE, SAVE, ServerTransaction, to_the_end
from app_kernel.db.drivers.units import Answer
from app_kernel.db.drivers.wire import MovedOn

T = TypeVar("T")

STOP_SECONDS = 0.1
"""How long a statement may still run whose task was cancelled, before the server is asked to stop it."""
_ENDED = "The statement ended the transaction; what it did before that may be kept."


class MySqlTransaction(ServerTransaction):
    """Made by the driver, which calls `start`."""

    def __init__(
        self,
        driver: Driver,
        connection: Connection,
        pool: Pool,
        wire: MySqlWire,
        moved_on: MovedOn,
        *,
        schema: MySqlSchema,
    ) -> None:
        super().__init__(driver, connection, pool, wire, moved_on)
        self._server = wire
        self._own = connection
        self._stopping: asyncio.Task[None] | None = None
        self._schema = schema
        self._used: set[str] = set()
        self._wrote = False
        """Whether it may have locked or changed a row."""

    @counted("write")
    async def write(self, unit: Unit[T], generation: int, table: str) -> T:
        self._wrote = True
        return await self._write(unit, generation, table)

    @counted("write")
    async def run(self, sql: str, params: Sequence[Any]) -> list[Row]:
        self._wrote = True
        return await self._run(sql, params)

    @counted("raw")
    async def execute(self, sql: str, params: Sequence[Any]) -> Answer:
        raw = RawStatement(sql)
        if raw.defines:
            return await self._define(defining_unit(sql, params), repeats=False)
        self._wrote = True
        result = await self._execute_raw(sql, params, leaves_state=raw.leaves_state)
        if self._end is None and not self._connection.is_in_transaction():
            self._give_up(ConnectionLost(_ENDED))
            raise ConnectionLost(_ENDED)
        return result

    def _limit(self, seconds: float) -> str:
        # The session has one for all of them.
        return ""

    def _check(self, sql: str) -> None:
        check_sendable(sql)

    def _guard(self, table: str, generation: int) -> str:
        return guard(table, self.dialect.table(table), generation)

    async def _read_generation(self) -> int:
        generation: int = (await self._fetch(GENERATION))[0][0]
        return generation

    async def _observe(self, sql: str, rows: list[Row]) -> int:
        seen = rows[0][-1] if rows else (await self._fetch(MARKED_GENERATION))[0][0]
        return await self._schema.settle(seen, used_tables(sql))

    async def _fetch(self, sql: str, *params: Any) -> Any:
        self._used |= used_tables(sql)
        # asyncmy closes a connection whose statement is broken off, and with it the transaction would be gone.
        return await to_the_end(super()._fetch(sql, *params), self._hurry)

    async def _execute(self, sql: str) -> None:
        await to_the_end(super()._execute(sql), self._hurry)

    def _hurry(self, work: "asyncio.Task[Any]") -> None:
        """Has the server stop a statement that nobody waits for any more, unless it is about to end."""

        def stop() -> None:
            if not work.done():
                self._stopping = self._loop.create_task(self._server.stop(self._own))

        self._loop.call_later(STOP_SECONDS, stop)

    async def _define(self, unit: Unit[T], *, repeats: bool = True) -> T:
        async def work() -> T:
            if self._wrote:
                await self._save()
            else:
                await self._begin_again()
            async with asyncio.timeout(self._left()):
                result = await self._schema.change(unit, frozenset(self._used), repeats=repeats)
            self.generation = await self._read_generation()
            return result

        try:
            return await self._call(work)
        except DatabaseBusy as exc:
            raise DatabaseBusy(f"{exc.message} {DEFINE_BEFORE}") from exc

    async def _begin_again(self) -> None:
        """Lets go of what was only read, with every savepoint where it was."""
        nested = "".join(f"; SAVEPOINT kernel_nested_{at + 1}" for at in range(self._depth))
        await self._execute(f"ROLLBACK; {BEGIN}{nested}; {SAVE}")
        self._used.clear()
        self._unsaved = False

    async def _call(self, work: Callable[[], Awaitable[T]]) -> T:
        try:
            return await super()._call(work)
        except (UniqueViolation, UnsupportedValue) as exc:
            if self._end is not None:
                raise
            raise await fields_on(self._connection, exc) from exc.__cause__
