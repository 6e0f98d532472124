"""A MySQL database as of one instant: a transaction of InnoDB on a connection of its own.

A statement locks the definition of its table until the transaction ends, and whoever changes the table waits for that,
with everybody else behind; so each read goes back to a savepoint, which lets go of the lock. A table whose definition
has changed cannot be read as of before, and the server says so.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from app_kernel.db.dialects.mysql import MySqlDialect
from app_kernel.db.drivers.base import Row, Snapshot, SnapshotLost
from app_kernel.db.drivers.mysql_connection import Connection
from app_kernel.db.drivers.mysql_errors import number_of
from app_kernel.db.drivers.mysql_options import MySqlOptions
from app_kernel.db.drivers.mysql_wire import MySqlWire

_SECONDS = 86_400.0
_DEFINITION_CHANGED = 1412
_UNLIMITED = {
    True: "SET SESSION max_statement_time = 0, SESSION idle_transaction_timeout = 0",
    False: f"SET SESSION max_execution_time = 0, SESSION wait_timeout = {_SECONDS:.0f}",
}
"""By whether it is MariaDB."""


class MySqlSnapshot(Snapshot):
    """An open one; made by `open_snapshot`."""

    def __init__(self, connection: Connection, wire: MySqlWire, dialect: MySqlDialect) -> None:
        self.dialect = dialect
        self._connection = connection
        self._wire = wire
        self._turn = asyncio.Lock()

    async def fetch(self, sql: str, params: Sequence[Any] = (), *, table: str | None = None) -> list[Row]:
        async with self._turn:
            try:
                rows: list[Row] = await self._connection.fetch(sql, *params, timeout=_SECONDS)
                await self._connection.execute("ROLLBACK TO SAVEPOINT kernel_read")
            except self._wire.foreign as exc:
                if number_of(exc) == _DEFINITION_CHANGED:
                    raise SnapshotLost from exc
                raise self._wire.to_ours(exc) from exc
        return rows


@asynccontextmanager
async def open_snapshot(options: MySqlOptions, dialect: MySqlDialect) -> AsyncIterator[MySqlSnapshot]:
    """The snapshot of this moment; raises the store's errors."""
    wire = MySqlWire(replace(options, statement_timeout=_SECONDS), dialect)
    connection = await wire.connect()
    try:
        try:
            await connection.execute(
                f"{_UNLIMITED[dialect.is_mariadb]}; SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY;"
                " START TRANSACTION WITH CONSISTENT SNAPSHOT; SAVEPOINT kernel_read"
            )
        except wire.foreign as exc:
            raise wire.to_ours(exc) from exc
        yield MySqlSnapshot(connection, wire, dialect)
    finally:
        connection.terminate()
