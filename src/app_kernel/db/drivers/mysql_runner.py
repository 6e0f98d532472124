"""What runs on MySQL alone: statements that are sent together, and the fields of a key that refused a value."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias, TypeVar

from app_kernel.core.errors import UniqueViolation, UnsupportedValue
from app_kernel.db.dialects.mysql_catalog import ALIVE
from app_kernel.db.dialects.mysql_marks import LARGE, THEN, mark
from app_kernel.db.drivers.base import Unit
from app_kernel.db.drivers.constraint_errors import unique_violation
from app_kernel.db.drivers.mysql_connection import Connection as MySqlConnection
from app_kernel.db.drivers.mysql_errors import key_of, long_field
from app_kernel.db.drivers.mysql_statements import check_sendable
from app_kernel.db.drivers.mysql_text import render
from app_kernel.db.drivers.mysql_wire import MySqlWire
from app_kernel.db.drivers.pool import Pool
from app_kernel.db.drivers.runner import Attempt, Runner
from app_kernel.db.drivers.units import Rows, run_unit
from app_kernel.db.drivers.wire import Connection

T = TypeVar("T")
Told: TypeAlias = UniqueViolation | UnsupportedValue
"""Errors of which MySQL says less than is to be said."""

BEGIN = "START TRANSACTION"
_FIELDS = (
    "SELECT GROUP_CONCAT(s.column_name ORDER BY s.seq_in_index) FROM information_schema.statistics AS s"  # noqa: S608 - marks only
    f" WHERE s.table_schema = DATABASE() AND s.index_name = {mark(1)} AND s.column_name <> '{ALIVE}'"
    " AND s.non_unique = 0 GROUP BY s.table_name"
)
_LENGTH = (
    "SELECT DISTINCT c.character_maximum_length FROM information_schema.columns AS c"  # noqa: S608 - marks only
    " WHERE c.table_schema = DATABASE()"
    f" AND c.column_name = {mark(1)} AND c.data_type IN ('varchar', 'char', 'varbinary', 'binary')"
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

    async def with_fields(self, exc: Told) -> Told:
        """The same error with what MySQL does not say: the fields of an index, the length of a field."""

        async def ask(sql: str, name: str) -> Sequence[Any]:
            return await self.single(sql, (name,), reads=True)

        return await _told(exc, ask)


async def fields_on(connection: Connection, exc: Told) -> Told:
    """As `with_fields`, asked inside an open transaction."""
    return await _told(exc, connection.fetch)


async def _told(exc: Told, ask: Callable[[str, str], Awaitable[Sequence[Any]]]) -> Told:
    if exc.__cause__ is None or (isinstance(exc, UniqueViolation) and exc.field is not None):
        return exc
    is_unique = isinstance(exc, UniqueViolation)
    name = key_of(exc.__cause__) if is_unique else long_field(exc.__cause__)
    if name is None:
        return exc
    found = {row[0] for row in await ask(_FIELDS if is_unique else _LENGTH, name)}
    if is_unique:
        return unique_violation(", ".join(found.pop().split(",")) if len(found) == 1 else None)
    # Of several tables with such a field nobody says which it was.
    room = f"{found.pop()} characters" if len(found) == 1 else "less"
    return UnsupportedValue(f"[{name}]: the text is too long for its column, which takes {room}.")


class _Attempt(Attempt):
    """Whatever needs no answer waits for the next statement, and goes to the server in the same round trip."""

    connection: MySqlConnection
    runner: MySqlRunner

    async def run(self, unit: Unit[T]) -> T:
        self._waiting = [self.runner.begin + self.after_begin]
        self._begins = True
        return await run_unit(unit, self._fetch, self.runner.check, send=self._send)

    async def commit(self) -> None:
        if self._begins and self.after_begin:
            # Only there a failure of the guard is told from one of the rest.
            await self._flush()
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
