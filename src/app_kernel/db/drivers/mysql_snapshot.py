"""A MySQL database as of one instant: a transaction of InnoDB on a connection of its own.

A statement locks the definition of its table until the transaction ends, and whoever changes the table waits for that,
with everybody else behind; so each read goes back to a savepoint, which lets go of the lock. Then a table may get other
columns in the place of those that the snapshot knew, whose values nobody had written by then; that is looked for while
the lock is held.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from app_kernel.db.dialects.mysql import MySqlDialect
from app_kernel.db.dialects.mysql_marks import mark
from app_kernel.db.drivers.base import Row, Snapshot, SnapshotLost
from app_kernel.db.drivers.mysql_connection import Connection
from app_kernel.db.drivers.mysql_errors import number_of
from app_kernel.db.drivers.mysql_options import MySqlOptions
from app_kernel.db.drivers.mysql_wire import MySqlWire

_SECONDS = 86_400.0
_DEFINITION_CHANGED = 1412
_COLUMNS = (
    "SELECT c.table_name, c.column_name, CONCAT_WS(' ', c.ordinal_position, c.column_type, c.column_comment)"
    " FROM information_schema.columns AS c WHERE c.table_schema = DATABASE()"
)
_UNLIMITED = {
    True: "SET SESSION max_statement_time = 0, SESSION idle_transaction_timeout = 0",
    False: f"SET SESSION max_execution_time = 0, SESSION wait_timeout = {_SECONDS:.0f}",
}
"""By whether it is MariaDB."""


class MySqlSnapshot(Snapshot):
    """An open one; made by `open_snapshot`."""

    def __init__(
        self, connection: Connection, wire: MySqlWire, dialect: MySqlDialect, columns: set[tuple[str, str, str]]
    ) -> None:
        self.dialect = dialect
        self._columns = columns
        self._connection = connection
        self._wire = wire
        self._turn = asyncio.Lock()

    async def fetch(self, sql: str, params: Sequence[Any] = (), *, table: str | None = None) -> list[Row]:
        async with self._turn:
            try:
                rows: list[Row] = await self._connection.fetch(sql, *params, timeout=_SECONDS)
                if table is not None:
                    now = await _look(self._connection, f"{_COLUMNS} AND c.table_name = {mark(1)}", table)
                    if {each for each in self._columns if each[0] == table} - now:
                        raise SnapshotLost
                await self._connection.execute("ROLLBACK TO SAVEPOINT kernel_read")
            except self._wire.foreign as exc:
                if number_of(exc) == _DEFINITION_CHANGED:
                    raise SnapshotLost from exc
                raise self._wire.to_ours(exc) from exc
        return rows


async def _look(connection: Connection, sql: str, *params: Any) -> set[tuple[str, str, str]]:
    rows = await connection.fetch(sql, *params, timeout=_SECONDS)
    return {(str(row[0]), str(row[1]), str(row[2])) for row in rows}


@asynccontextmanager
async def open_snapshot(options: MySqlOptions, dialect: MySqlDialect) -> AsyncIterator[MySqlSnapshot]:
    """The snapshot of this moment; raises the store's errors."""
    wire = MySqlWire(replace(options, statement_timeout=_SECONDS), dialect)
    connection = await wire.connect()
    try:
        try:
            # First the columns: those that are others by the time of the snapshot are noticed at the first read.
            columns = await _look(connection, _COLUMNS)
            await connection.execute(
                f"{_UNLIMITED[dialect.is_mariadb]}; SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY;"
                " START TRANSACTION WITH CONSISTENT SNAPSHOT; SAVEPOINT kernel_read"
            )
        except wire.foreign as exc:
            raise wire.to_ours(exc) from exc
        yield MySqlSnapshot(connection, wire, dialect, columns)
    finally:
        # What a cancelled task had asked for would go on in the server, and keep the snapshot.
        if connection.is_closed():
            await asyncio.shield(asyncio.create_task(wire.stop(connection)))
        connection.terminate()
