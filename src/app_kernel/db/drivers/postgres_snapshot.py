"""A PostgreSQL database as of one instant: a transaction that exports its snapshot, and one that reads page by page.

The one that keeps the snapshot touches no table, and each read is a short transaction of its own that imports it, so
nobody who changes a table waits for longer than one page takes. A table that is rewritten meanwhile looks empty to an
older snapshot, and that is noticed: its file is another one.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from app_kernel.core.errors import DatabaseClosed
from app_kernel.db.dialects.postgres import PostgresDialect
from app_kernel.db.drivers.base import Row, Snapshot, SnapshotLost
from app_kernel.db.drivers.postgres_connection import Connection, connect, local_settings, tls_for
from app_kernel.db.drivers.postgres_errors import FOREIGN, to_ours
from app_kernel.db.drivers.postgres_options import PostgresOptions

CLOSE_SECONDS = 5.0
_SECONDS = 86_400.0
_FILES = (
    "SELECT c.relname::text, pg_relation_filenode(c.oid)::bigint FROM pg_class c"
    " WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r'"
)
_FILE = "SELECT pg_relation_filenode($1::text::regclass)::bigint"


class PostgresSnapshot(Snapshot):
    """An open one; made by `open_snapshot`."""

    def __init__(self, reader: Connection, begin: str, files: dict[str, int], dialect: PostgresDialect) -> None:
        self.dialect = dialect
        self._reader = reader
        self._begin = begin
        self._files = files
        self._turn = asyncio.Lock()

    async def fetch(self, sql: str, params: Sequence[Any] = (), *, table: str | None = None) -> list[Row]:
        async with self._turn:
            try:
                await self._reader.execute(self._begin)
                rows: list[Row] = await self._reader.fetch(sql, *params)
                # Looked at after the read has locked the table, so that it is the file that was read.
                if table in self._files:
                    file = await self._reader.fetchval(_FILE, self.dialect.table(table))
                    if file != self._files[table]:
                        raise SnapshotLost
                await self._reader.execute("COMMIT")
            except FOREIGN as exc:
                if self._reader.is_closed():
                    raise to_ours(exc) from exc
                await self._reader.execute("ROLLBACK")
                raise to_ours(exc) from exc
            except SnapshotLost:
                await self._reader.execute("ROLLBACK")
                raise
        return rows


@asynccontextmanager
async def open_snapshot(options: PostgresOptions, dialect: PostgresDialect) -> AsyncIterator[PostgresSnapshot]:
    """The snapshot of this moment; raises the store's errors."""
    patient = replace(options, statement_timeout=_SECONDS)
    tls = tls_for(options)
    keeper = await connect(patient, tls)
    reader = None
    unlimited = "; SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0"
    isolated = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
    try:
        reader = await connect(patient, tls)
        # First the files: one that is another by the time of the snapshot is then noticed at the first read of it.
        await keeper.execute(f"BEGIN{local_settings(patient)}")
        files = {str(row[0]): int(row[1]) for row in await keeper.fetch(_FILES)}
        await keeper.execute("COMMIT")
        await keeper.execute(f"{isolated}{local_settings(patient)}{unlimited}")
        name = await keeper.fetchval("SELECT pg_export_snapshot()")
        begin = f"{isolated}; SET TRANSACTION SNAPSHOT '{name}'{local_settings(patient)}{unlimited}"
        yield PostgresSnapshot(reader, begin, files, dialect)
        if keeper.is_closed():
            raise DatabaseClosed("The connection that kept the snapshot was lost.")
    except FOREIGN as exc:
        raise to_ours(exc) from exc
    finally:
        await asyncio.shield(asyncio.create_task(_close(keeper, reader)))


async def _close(*connections: Connection | None) -> None:
    for connection in connections:
        if connection is not None:
            try:
                # Waits until the server has ended what a cancelled task had asked for: it would keep the snapshot.
                await connection.close(timeout=CLOSE_SECONDS)
            except (*FOREIGN, TimeoutError):
                connection.terminate()
