"""Drivers over a schema of their own on the shared server, and what a second look at the server tells of them."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import asyncpg

from app_kernel.db.drivers.base import Unit, Work
from app_kernel.db.drivers.postgres import PostgresDriver
from app_kernel.db.url import make_driver


def with_options(url: str, **options: Any) -> str:
    """The URL with these options."""
    return url + "?" + "&".join(f"{name}={value}" for name, value in options.items())


class Place:
    """A schema of its own, and an onlooker: a connection beside the driver's."""

    def __init__(self, url: str, schema: str, onlooker: asyncpg.Connection) -> None:
        self.plain_url = url
        self.schema = schema
        self.onlooker = onlooker
        self._drivers: list[PostgresDriver] = []

    def url(self, **options: Any) -> str:
        """The URL of this place."""
        return with_options(self.plain_url, schema=self.schema, application_name=self.schema, **options)

    async def open(self, **options: Any) -> PostgresDriver:
        """Another driver, as of another process."""
        driver = make_driver(self.url(**options))
        assert isinstance(driver, PostgresDriver)
        await driver.open()
        self._drivers.append(driver)
        return driver

    async def look(self, sql: str, *params: Any) -> list[tuple[Any, ...]]:
        """Rows as somebody else sees them."""
        return [tuple(row) for row in await self.onlooker.fetch(sql, *params)]

    async def backends(self) -> list[tuple[int, str]]:
        """Process id and state of every connection of the drivers of this place."""
        return await self.look(
            "SELECT pid, coalesce(state, '') FROM pg_stat_activity WHERE application_name = $1 ORDER BY 1", self.schema
        )

    async def terminate(self) -> int:
        """Ends every connection of the drivers from the server's side; how many there were."""
        return len(
            await self.look(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1", self.schema
            )
        )

    async def close(self) -> None:
        """Closes the drivers and removes the schema."""
        for driver in self._drivers:
            await driver.close()
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


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 5) -> None:
    """Waits for something that only the server can tell."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - no event comes from the server
            await asyncio.sleep(0.01)


def unit(*statements: tuple[Any, ...]) -> Unit[list[Any]]:
    """A unit of these statements, each SQL and its params; the rows of the last one."""

    def work() -> Work[list[Any]]:
        rows: list[Any] = []
        for sql, *params in statements:
            rows = yield (sql, params)
        return [tuple(row) for row in rows]

    return work


def failing_unit(error: BaseException, *statements: tuple[Any, ...]) -> Unit[None]:
    """A unit that raises after these statements."""

    def work() -> Work[None]:
        for sql, *params in statements:
            yield (sql, params)
        raise error

    return work
