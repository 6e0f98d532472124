"""A SQLite file as of one instant: a reading transaction on a connection of its own, in a thread of its own.

Writers go on beside it. What they write stays in the log (`-wal`) until the snapshot ends, so that grows by as much.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from typing import Any

import apsw

from app_kernel.core.errors import Unavailable
from app_kernel.db.dialects.sqlite import SqliteDialect
from app_kernel.db.drivers.base import Row, Snapshot
from app_kernel.db.drivers.sqlite_connection import read_generation
from app_kernel.db.drivers.sqlite_errors import to_ours


class SqliteSnapshot(Snapshot):
    """An open one; made by `open_snapshot`."""

    def __init__(self, connection: apsw.Connection, thread: ThreadPoolExecutor, dialect: SqliteDialect) -> None:
        self.dialect = dialect
        self._connection = connection
        self._thread = thread

    async def fetch(self, sql: str, params: Sequence[Any] = (), *, table: str | None = None) -> list[Row]:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._read, sql, params)
        except apsw.Error as exc:
            raise to_ours(exc) from exc

    def _read(self, sql: str, params: Sequence[Any]) -> list[Row]:
        rows: list[Row] = self._connection.execute(sql, params).fetchall()
        return rows


@asynccontextmanager
async def open_snapshot(
    open_connection: Callable[[], apsw.Connection], dialect: SqliteDialect
) -> AsyncIterator[SqliteSnapshot]:
    """The snapshot of this moment; raises the store's errors."""
    thread = ThreadPoolExecutor(1, thread_name_prefix="sqlite-snapshot")
    opened: list[apsw.Connection] = []

    def begin() -> None:
        connection = open_connection()
        opened.append(connection)
        connection.execute("BEGIN")
        # The first statement fixes what is seen.
        read_generation(connection)

    def end() -> None:
        for connection in opened:
            connection.close()

    loop = asyncio.get_running_loop()
    try:
        try:
            await loop.run_in_executor(thread, begin)
        except apsw.Error as exc:
            raise to_ours(exc) from exc
        yield SqliteSnapshot(opened[0], thread, dialect)
    finally:
        for connection in opened:
            # A read under way, of a task that was cancelled, would delay the end.
            connection.interrupt()
        await asyncio.shield(loop.run_in_executor(thread, end))
        thread.shutdown(wait=False)


async def copy_file(open_connection: Callable[[], apsw.Connection], path: str) -> None:
    """Makes `path` a copy of the database as of this instant; raises the store's errors, Unavailable for a bad copy.

    All pages are read in one transaction: writers go on beside it, and what they write is not in the copy.
    """

    def copy() -> None:
        with closing(open_connection()) as source, closing(apsw.Connection(path)) as target:
            with target.backup("main", source, "main") as pages:
                pages.step(-1)
            found = target.execute("PRAGMA integrity_check").fetchall()
            if found != [("ok",)]:
                raise Unavailable(f"The database is damaged, and so is its copy: {found[0][0]}.")
            # One file instead of three, until somebody opens it.
            target.execute("PRAGMA journal_mode = DELETE")

    try:
        await asyncio.to_thread(copy)
    except apsw.Error as exc:
        raise to_ours(exc) from exc
