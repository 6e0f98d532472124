"""What PostgreSQL alone does in an open transaction: the schema changes inside of it."""

from collections.abc import Sequence
from typing import Any, TypeVar

from app_kernel.core.errors import DatabaseBusy
from app_kernel.db.drivers.base import Unit
from app_kernel.db.drivers.counted import counted
from app_kernel.db.drivers.postgres_statements import (
    GENERATION,
    KEEP_LOCK_TIMEOUT,
    RESTORE_LOCK_TIMEOUT,
    TAKE_SCHEMA_LOCK,
    RawStatement,
    defining_unit,
    guard,
    with_generation,
)
from app_kernel.db.drivers.server_transaction import DEFINE_BEFORE, ServerTransaction
from app_kernel.db.drivers.units import Answer, check_text, run_unit

T = TypeVar("T")


class PostgresTransaction(ServerTransaction):
    """Made by the driver, which calls `start`."""

    @counted("raw")
    async def execute(self, sql: str, params: Sequence[Any]) -> Answer:
        raw = RawStatement(sql)
        if raw.defines:
            self._leaves_state |= raw.leaves_state
            return await self._change_schema(defining_unit(sql, params))
        return await self._execute_raw(sql, params, leaves_state=raw.leaves_state)

    def _limit(self, seconds: float) -> str:
        return f"; SET LOCAL idle_in_transaction_session_timeout = {round(seconds * 1000) + 1000}"

    def _check(self, sql: str) -> None:
        check_text(sql)

    def _guard(self, table: str, generation: int) -> str:
        return guard(self.dialect.table(table), generation)

    async def _read_generation(self) -> int:
        generation: int = (await self._fetch(GENERATION))[0][0]
        return generation

    async def _define(self, unit: Unit[T]) -> T:
        return await self._change_schema(with_generation(unit))

    async def _change_schema(self, unit: Unit[tuple[T, int]]) -> T:
        async def work() -> T:
            self._defined = True
            await self._save(KEEP_LOCK_TIMEOUT + TAKE_SCHEMA_LOCK)
            result, generation = await run_unit(unit, self._fetch, check_text)
            await self._execute(RESTORE_LOCK_TIMEOUT)
            self.generation = generation
            self._unsaved = True
            return result

        try:
            return await self._call(work)
        except DatabaseBusy as exc:
            # Others wait for what this transaction wrote before; that is not given up before its end.
            raise DatabaseBusy(f"{exc.message} {DEFINE_BEFORE}") from exc
