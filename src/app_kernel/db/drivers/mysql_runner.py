"""What runs on MySQL alone: statements that are sent together, and the fields of a key that refused a value."""

from collections.abc import Sequence
from typing import Any, TypeVar

from app_kernel.core.errors import UniqueViolation
from app_kernel.db.dialects.mysql_catalog import ALIVE
from app_kernel.db.dialects.mysql_marks import LARGE, THEN, mark
from app_kernel.db.drivers.base import Unit
from app_kernel.db.drivers.constraint_errors import unique_violation
from app_kernel.db.drivers.mysql_connection import Connection as MySqlConnection
from app_kernel.db.drivers.mysql_errors import key_of
from app_kernel.db.drivers.mysql_statements import check_sendable
from app_kernel.db.drivers.mysql_text import render
from app_kernel.db.drivers.mysql_wire import MySqlWire
from app_kernel.db.drivers.pool import Pool
from app_kernel.db.drivers.runner import Attempt, Runner
from app_kernel.db.drivers.units import Rows, run_unit
from app_kernel.db.drivers.wire import Connection

T = TypeVar("T")

BEGIN = "START TRANSACTION"
_FIELDS = (
    "SELECT GROUP_CONCAT(s.column_name ORDER BY s.seq_in_index) FROM information_schema.statistics AS s"  # noqa: S608 - marks only
    f" WHERE s.table_schema = DATABASE() AND s.index_name = {mark(1)} AND s.column_name <> '{ALIVE}'"
    " AND s.non_unique = 0 GROUP BY s.table_name"
)


class MySqlRunner(Runner):
    """Runs single statements and units on the connections of a pool."""

    wire: MySqlWire

    def __init__(self, pool: Pool, wire: MySqlWire) -> None:
        super().__init__(pool, wire, BEGIN)

    def check(self, sql: str) -> None:
        check_sendable(sql)

    def wraps(self, sql: str, *, isolated: bool) -> bool:
        return THEN in sql

    async def _single_wrapped(self, connection: Connection, sql: str, params: Sequence[Any]) -> list[Any]:
        # What fails in the middle leaves the transaction open, and the connection is given back with a ROLLBACK.
        return await connection.fetch(THEN.join((BEGIN, sql, "COMMIT")), *params)

    def attempt(self, connection: Any, after_begin: str) -> Attempt:
        return _Attempt(self, connection, after_begin)

    async def with_fields(self, exc: UniqueViolation) -> UniqueViolation:
        """The same error with the names of the fields, which MySQL does not say."""
        key = key_of(exc.__cause__) if exc.__cause__ is not None else None
        if exc.field is not None or key is None:
            return exc
        rows = await self.single(_FIELDS, (key,), reads=True)
        fields = {row[0] for row in rows}
        return unique_violation(", ".join(fields.pop().split(",")) if len(fields) == 1 else None)


async def fields_on(connection: Connection, exc: UniqueViolation) -> UniqueViolation:
    """As `with_fields`, asked inside an open transaction."""
    key = key_of(exc.__cause__) if exc.__cause__ is not None else None
    if exc.field is not None or key is None:
        return exc
    rows: Sequence[Any] = await connection.fetch(_FIELDS, key)
    fields = {row[0] for row in rows}
    return unique_violation(", ".join(fields.pop().split(",")) if len(fields) == 1 else None)


class _Attempt(Attempt):
    """Whatever needs no answer waits for the next statement, and goes to the server in the same round trip."""

    connection: MySqlConnection
    runner: MySqlRunner

    async def run(self, unit: Unit[T]) -> T:
        self._waiting = [self.runner.begin + self.after_begin]
        self._begins = True
        return await run_unit(unit, self._fetch, self.runner.check, send=self._send)

    async def commit(self) -> None:
        await self.runner.wire.commit(self.connection, "".join(f"{text}; " for text in self._waiting))

    async def _send(self, sql: str, *params: Any) -> Rows:
        await self._add(render(sql, params))
        return Rows((), ())

    async def _fetch(self, sql: str, *params: Any) -> Rows:
        await self._add(render(sql, params))
        return await self._flush()

    async def _add(self, text: str) -> None:
        if self._waiting and len(text) + sum(map(len, self._waiting)) > LARGE:
            await self._flush()
        self._waiting.append(text)

    async def _flush(self) -> Rows:
        text, self._waiting = "; ".join(self._waiting), []
        begins, self._begins = self._begins, False
        try:
            return await self.connection.execute(text)
        except self.runner.wire.foreign as exc:
            if begins and self.runner.wire.is_other_generation(exc):
                # A trigger of the application's may fail with the same error: the guard alone tells.
                await self.connection.execute("ROLLBACK")
                await self.runner.start(self.connection, self.after_begin)
            raise
