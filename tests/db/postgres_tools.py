"""Drivers over a schema of their own on the shared server, and what a second look at the server tells of them."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import asyncpg

from app_kernel.db.drivers.postgres import PostgresDriver
from tests.db.server_tools import ServerPlace, until, with_options


class Place(ServerPlace):
    """A schema of its own, and an onlooker: a connection beside the driver's."""

    backend = "postgres"

    def __init__(self, url: str, schema: str, onlooker: asyncpg.Connection) -> None:
        super().__init__(url, schema)
        self.schema = schema
        self.onlooker = onlooker

    def url(self, **options: Any) -> str:
        return with_options(self.plain_url, schema=self.schema, application_name=self.schema, **options)

    async def look(self, sql: str, *params: Any) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await self.onlooker.fetch(sql, *params)]

    async def backends(self) -> list[tuple[int, str]]:
        return await self.look(
            "SELECT pid, coalesce(state, '') FROM pg_stat_activity WHERE application_name = $1 ORDER BY 1", self.schema
        )

    async def terminate(self) -> int:
        return len(
            await self.look(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1", self.schema
            )
        )

    async def columns(self, table: str) -> dict[str, str]:
        return dict(
            await self.look(
                "SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute"
                " WHERE attrelid = to_regclass(quote_ident($1)) AND attnum > 0 AND NOT attisdropped",
                table,
            )
        )

    def same(self, one: str, other: str) -> str:
        return f"({one} IS NOT DISTINCT FROM {other})"

    async def remove(self) -> None:
        await self.onlooker.execute(f'DROP SCHEMA IF EXISTS "{self.schema}" CASCADE')
        await self.onlooker.close()


@asynccontextmanager
async def place_on(url: str) -> AsyncIterator[Place]:
    """A fresh place on a server."""
    onlooker = await asyncpg.connect(url)
    schema = f"t_{secrets.token_hex(6)}"
    await onlooker.execute(f"SET search_path = {schema}")
    place = Place(url, schema, onlooker)
    try:
        yield place
    finally:
        await place.close()


@asynccontextmanager
async def looking_at(url: str) -> AsyncIterator[Place]:
    """The database of a URL, which stays as it is."""
    onlooker = await asyncpg.connect(url)
    try:
        yield Place(url, "public", onlooker)
    finally:
        await onlooker.close()


@asynccontextmanager
async def database_with(url: str, setting: str, value: str) -> AsyncIterator[str]:
    """The URL of a database of its own with another default of a setting."""
    connection, name = await asyncpg.connect(url), f"t_{secrets.token_hex(6)}"
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.execute(f"ALTER DATABASE {name} SET {setting} = '{value}'")
    try:
        yield urlsplit(url)._replace(path=f"/{name}").geturl()
    finally:
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await connection.close()


async def run_behind_a_definition(place: Place, driver: PostgresDriver) -> list[Any]:
    """The rows of one statement that writes to `notes` at a generation which a definition ends while it waits."""
    await place.onlooker.execute("BEGIN ISOLATION LEVEL READ COMMITTED; ALTER TABLE notes ADD COLUMN late text")
    await place.onlooker.execute("UPDATE kernel_meta SET value = value + 1 WHERE key = 'generation'")
    insert = (
        "INSERT INTO notes (id) SELECT 'late' FROM kernel_meta WHERE key = 'generation' AND value = $1 RETURNING id"
    )
    writing = asyncio.create_task(driver.run(insert, (driver.generation,)))

    async def waits() -> bool:
        return await place.look("SELECT 1 FROM pg_locks WHERE relation = 'notes'::regclass AND NOT granted") != []

    await until(waits)
    await place.onlooker.execute("COMMIT")
    return await writing
