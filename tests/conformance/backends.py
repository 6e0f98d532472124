"""The backends that must pass the suite: a new one is a line here and its words for tables of an application's."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from app_kernel.db import Database, Store, create_database
from tests.conformance.mysql_place import drop_database, empty_database
from tests.conformance.postgres_place import drop_schema, empty_schema
from tests.faults.figures import SOAK


@dataclass
class Place:
    """One fresh database, which may be opened several times: as by a restart, or by another process."""

    backend: str
    url: str
    words: Mapping[str, str]
    """What an application writes on this backend, by the placeholder of the cases; `objects` lists all there is.

    `text` may be unique and have a default, `part` follows a text field of the store's in a raw index, `any_case` is
    text of which upper and lower case are equal, `taken` makes an object that has NAME, which an index of `things`
    would have, and `endless` is a query without an end.
    """
    file: Path | None = None
    """The database file, where there is one."""
    forget: Callable[[str], Awaitable[None]] | None = None
    """Makes the database as one that was never opened, where it is not that already."""
    takes_schema_back: bool = True
    """Whether a transaction that fails takes tables and fields back that it made, and may make some late."""
    _open: list[Database] = field(default_factory=list)

    async def open(self) -> Store:
        """A handle of its own, with what it knows of the schema and nothing shared with the others."""
        database = create_database(self.url)
        await database.open()
        self._open.append(database)
        return database.connection()

    async def start_anew(self) -> None:
        """Makes sure that the next one who opens the database is the first."""
        if self.forget is not None:
            await self.forget(self.url)

    async def close(self) -> None:
        """Closes every handle."""
        while self._open:
            await self._open.pop().close()


ENDLESS = "WITH RECURSIVE c([n]) AS (SELECT 1 UNION ALL SELECT [n] + 1 FROM c) SELECT MAX([n]) FROM c"

SQLITE_WORDS = {
    "key": "TEXT PRIMARY KEY",
    "serial": "INTEGER PRIMARY KEY",
    "text": "TEXT",
    "int": "INTEGER",
    "float": "REAL",
    "bool": "INTEGER",
    "decimal": "TEXT",
    "json": "TEXT",
    "datetime": "TEXT",
    "bytes": "BLOB",
    "objects": "SELECT type, name, sql FROM sqlite_master ORDER BY 1, 2, 3",
    "part": "",
    "any_case": "TEXT COLLATE NOCASE",
    "taken": "CREATE TABLE [NAME] ([x] INTEGER)",
    "analyze": "ANALYZE",
    "endless": ENDLESS,
}


@asynccontextmanager
async def sqlite() -> AsyncIterator[Place]:
    """A file in a directory of its own."""
    with TemporaryDirectory(prefix="conformance-") as directory:
        file = Path(directory) / "app.db"
        # What is shown here does not depend on the disk; power cuts have their own tests.
        place = Place("sqlite", f"sqlite:///{file}?synchronous=NORMAL", SQLITE_WORDS, file)
        try:
            yield place
        finally:
            await place.close()


POSTGRES_WORDS = {
    "key": "TEXT PRIMARY KEY",
    "serial": "BIGSERIAL PRIMARY KEY",
    "text": "TEXT",
    "int": "INTEGER",
    "float": "DOUBLE PRECISION",
    "bool": "INTEGER",
    "decimal": "TEXT",
    "json": "TEXT",
    "datetime": "TEXT",
    "bytes": "BYTEA",
    "objects": (
        "SELECT c.relkind::text, c.relname::text, string_agg(concat_ws(' ', a.attname, format_type(a.atttypid,"
        " a.atttypmod), a.attnotnull::text, pg_get_expr(d.adbin, d.adrelid)), ', ' ORDER BY a.attnum)"
        " FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
        " LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum"
        " WHERE c.relnamespace = current_schema()::regnamespace GROUP BY 1, 2 ORDER BY 1, 2"
    ),
    "part": "",
    "any_case": "TEXT COLLATE any_case",
    "taken": "CREATE TABLE [NAME] ([x] INTEGER)",
    "analyze": "ANALYZE",
    "endless": ENDLESS,
}


@asynccontextmanager
async def postgres() -> AsyncIterator[Place]:
    """A schema of its own on a real server."""
    async with empty_schema() as url:
        place = Place("postgres", url, POSTGRES_WORDS, forget=drop_schema)
        try:
            yield place
        finally:
            await place.close()


MYSQL_WORDS = {
    "key": "VARCHAR(191) PRIMARY KEY",
    "serial": "BIGINT AUTO_INCREMENT PRIMARY KEY",
    # MySQL asks for a length where text has a default, is unique or a key's other end.
    "text": "VARCHAR(191)",
    "int": "INTEGER",
    "float": "DOUBLE",
    "bool": "BOOLEAN",
    "decimal": "LONGTEXT",
    "json": "LONGTEXT",
    "datetime": "LONGTEXT",
    "bytes": "LONGBLOB",
    "objects": (
        "SELECT table_name, column_name, CONCAT_WS(' ', ordinal_position, column_type, is_nullable, column_default)"
        " FROM information_schema.columns WHERE table_schema = DATABASE() UNION ALL"
        " SELECT table_name, index_name, CONCAT_WS(' ', seq_in_index, column_name, non_unique)"
        " FROM information_schema.statistics WHERE table_schema = DATABASE() ORDER BY 1, 2, 3"
    ),
    "part": "(64)",
    "any_case": "VARCHAR(191) COLLATE utf8mb4_general_ci",
    # Indexes of other tables may be called the same, and so may tables.
    "taken": "CREATE INDEX [NAME] ON [things] ([n])",
    "analyze": "ANALYZE TABLE",
    # It counts to a thousand only in a query that calls itself.
    "endless": "SELECT 1 FROM (SELECT 1 AS [n]) AS [one] WHERE SLEEP(60) = [n]",
}


@asynccontextmanager
async def mysql() -> AsyncIterator[Place]:
    """A database of its own on a real server."""
    async with empty_database() as url:
        place = Place("mysql", url, MYSQL_WORDS, forget=drop_database, takes_schema_back=False)
        try:
            yield place
        finally:
            await place.close()


BACKENDS: dict[str, Callable[[], AbstractAsyncContextManager[Place]]] = {
    "sqlite": sqlite,
    "postgres": postgres,
    "mysql": mysql,
}

SERVICE_BACKENDS = [
    name for name in BACKENDS if name != "mysql" or SOAK or "APP_KERNEL_SERVICES_ON_MYSQL" in os.environ
]
"""Where the suites of whole services run: on MySQL in the long run only, because a service has many tables there too.
What makes a difference to a service is in `tests/flows`, on each of them in every run."""
