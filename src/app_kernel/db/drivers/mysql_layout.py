"""The kernel's own tables in a MySQL database, made where they are missing."""

import re

from app_kernel.core.errors import Unavailable
from app_kernel.db.dialects.mysql import MySqlDialect
from app_kernel.db.dialects.mysql_catalog import GENERATION
from app_kernel.db.dialects.mysql_marks import Values, mark
from app_kernel.db.dialects.mysql_storage import text_type
from app_kernel.db.drivers.base import FORMAT
from app_kernel.db.drivers.mysql_connection import Connection
from app_kernel.db.drivers.mysql_statements import SCHEMA_LOCK_SECONDS, schema_lock

_MADE = re.compile(r'IF NOT EXISTS "(\w+)"')
_COUNT = (
    "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE()"  # noqa: S608 - marks only
    f" AND table_name IN ({mark(1)})"
)
_FIRST_META = (
    f"""INSERT INTO "kernel_meta" ("key", "value") VALUES ('format', {FORMAT}), ('generation', 1)"""  # noqa: S608 - a number
    ' ON DUPLICATE KEY UPDATE "value" = "kernel_meta"."value"'
)


def _own_tables(*, is_mariadb: bool) -> list[str]:
    name = f"{text_type('VARCHAR(191)', is_mariadb=is_mariadb)} NOT NULL"
    tables = (
        f'"kernel_meta" ("key" {name} PRIMARY KEY, "value" BIGINT NOT NULL)',
        f'"kernel_catalog" ("entity" {name}, "field" {name}, "kind" {name}, "adopted" INTEGER NOT NULL,'
        ' PRIMARY KEY ("entity", "field"))',
        f'"kernel_leases" ("name" {name} PRIMARY KEY, "holder" {name}, "expires_at" DATETIME(6) NOT NULL)',
        f'"kernel_signals" ("channel" {name} PRIMARY KEY, "number" BIGINT NOT NULL)',
        '"kernel_locks" ("slot" INTEGER NOT NULL PRIMARY KEY)',
    )
    return [f"CREATE TABLE IF NOT EXISTS {table} ENGINE = InnoDB" for table in tables]


async def create_database(connection: Connection, name: str) -> None:
    """Makes the database where it is missing; raises what asyncmy raises."""
    quoted = name.replace('"', '""')
    await connection.execute(f'CREATE DATABASE IF NOT EXISTS "{quoted}" CHARACTER SET utf8mb4')


async def create_layout(connection: Connection, dialect: MySqlDialect, database: str) -> int:
    """Makes what is missing and returns the schema's generation; several processes may do so at once.

    Raises Unavailable for a database that a newer version of app_kernel made, and what asyncmy raises.
    """
    statements = [*_own_tables(is_mariadb=dialect.is_mariadb), *dialect.create_outbox()]
    names = Values(found[1] for statement in statements if (found := _MADE.search(statement)))
    # Looked at first, because a user who may only read and write could not make what is there already.
    if (await connection.fetch(_COUNT, names))[0][0] != len(names):
        lock = schema_lock(database)
        if (await connection.fetch(f"SELECT GET_LOCK({mark(1)}, {SCHEMA_LOCK_SECONDS})", lock))[0][0] != 1:
            raise Unavailable("Another process has been making the tables of this database for too long; try again.")
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.fetch(f"SELECT RELEASE_LOCK({mark(1)})", lock)
    # Also where the tables are there: a start that was killed may have come so far.
    await connection.execute(_FIRST_META)
    laid_out = (await connection.fetch("""SELECT "value" FROM "kernel_meta" WHERE "key" = 'format'"""))[0][0]
    if laid_out > FORMAT:
        raise Unavailable("This database was made by a newer version of app_kernel; use that version to open it.")
    generation: int = (await connection.fetch(GENERATION))[0][0]
    return generation
