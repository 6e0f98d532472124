"""The kernel's own tables in a PostgreSQL database, made where they are missing."""

import re

from app_kernel.core.errors import Unavailable
from app_kernel.db.dialects.base import Dialect
from app_kernel.db.drivers.base import FORMAT
from app_kernel.db.drivers.postgres_connection import Connection
from app_kernel.db.drivers.postgres_statements import GENERATION, TAKE_SCHEMA_LOCK

_TEXT = 'text COLLATE "C" NOT NULL'
_CATALOG = (
    f"CREATE TABLE IF NOT EXISTS kernel_meta (key {_TEXT} PRIMARY KEY, value bigint NOT NULL)",
    f"CREATE TABLE IF NOT EXISTS kernel_catalog (entity {_TEXT}, field {_TEXT}, kind {_TEXT},"
    " adopted integer NOT NULL, PRIMARY KEY (entity, field))",
    f"CREATE TABLE IF NOT EXISTS kernel_leases (name {_TEXT} PRIMARY KEY, holder {_TEXT},"
    " expires_at timestamptz NOT NULL)",
)
_FIRST_META = "INSERT INTO kernel_meta (key, value) VALUES ('format', $1), ('generation', 1) ON CONFLICT DO NOTHING"
_MADE = re.compile(r'IF NOT EXISTS "?(\w+)"?')


async def create_layout(connection: Connection, dialect: Dialect, schema: str | None, begin: str) -> int:
    """Makes what is missing and returns the schema's generation; several processes may do so at once.

    Raises Unavailable for a database that a newer version of app_kernel made, and what asyncpg raises.
    """
    statements = [*_CATALOG, *dialect.create_outbox()]
    names = sorted({found[1] for statement in statements if (found := _MADE.search(statement))})
    await connection.execute(begin)
    # Looked at first, because a user who may only read and write could not make what is there already.
    if await connection.fetchval(_COUNT, schema, names) != len(names):
        await connection.execute(TAKE_SCHEMA_LOCK.removeprefix("; "))
        if schema is not None:
            await connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
        for statement in statements:
            await connection.execute(statement)
        await connection.execute(_FIRST_META, FORMAT)
    laid_out = await connection.fetchval("SELECT value FROM kernel_meta WHERE key = 'format'")
    generation: int = await connection.fetchval(GENERATION)
    await connection.execute("COMMIT")
    if laid_out > FORMAT:
        raise Unavailable("This database was made by a newer version of app_kernel; use that version to open it.")
    return generation


_COUNT = (
    "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE n.nspname = COALESCE($1, current_schema()) AND c.relname = ANY($2::text[])"
)
