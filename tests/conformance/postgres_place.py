"""PostgreSQL for the suite: one database with a language's collation per process, and a schema of its own per case."""

import asyncio
import atexit
import itertools
import os
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from functools import cache

import asyncpg

from tests.conformance.aside import Aside
from tools.services import services

_numbers = itertools.count()
_free: list[str] = []
"""Schemas whose kernel tables are as in a new one; making these anew for each case would take most of the time."""

_CLEAR = """
DO $$
DECLARE found record;
BEGIN
    SET LOCAL client_min_messages = error;
    FOR found IN SELECT c.oid::regclass AS name, c.relkind FROM pg_class c
        WHERE c.relnamespace = current_schema()::regnamespace AND c.relname NOT LIKE 'kernel\\_%'
          AND c.relkind IN ('r', 'p', 'v', 'm')
    LOOP
        IF to_regclass(found.name::text) IS NOT NULL THEN
            EXECUTE format('DROP %s %s CASCADE', CASE found.relkind WHEN 'v' THEN 'VIEW'
                WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'TABLE' END, found.name);
        END IF;
    END LOOP;
    FOR found IN SELECT p.oid::regprocedure AS name FROM pg_proc p WHERE pronamespace = current_schema()::regnamespace
    LOOP
        EXECUTE format('DROP FUNCTION %s CASCADE', found.name);
    END LOOP;
    FOR found IN SELECT t.oid::regtype AS name FROM pg_type t
        WHERE t.typnamespace = current_schema()::regnamespace AND t.typtype IN ('e', 'd')
    LOOP
        EXECUTE format('DROP TYPE %s CASCADE', found.name);
    END LOOP;
    FOR found IN SELECT c.relname AS name FROM pg_class c
        WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r' AND c.relname <> 'kernel_meta'
    LOOP
        EXECUTE format('DELETE FROM %I', found.name);
    END LOOP;
    UPDATE kernel_meta SET value = 1 WHERE key = 'generation';
END $$
"""


@asynccontextmanager
async def empty_schema() -> AsyncIterator[str]:
    """The URL of a schema without tables of an application's; what is left in it afterwards goes."""
    cleaner = await _cleaner()
    schema = _free.pop() if _free else f"case_{next(_numbers)}"
    yield f"{cleaner.address}?schema={schema}&pool_size=5&sslmode=disable"
    if await cleaner.clear(schema):
        _free.append(schema)


async def drop_schema(url: str) -> None:
    """Makes the database as one that was never opened."""
    connection = await _connect(url)
    await connection.execute(f"DROP SCHEMA IF EXISTS {_schema(url)} CASCADE")
    await connection.close()


async def _connect(url: str) -> asyncpg.Connection:
    address = url.partition("?")[0]
    return await asyncpg.connect(address, server_settings={"search_path": _schema(url), "client_min_messages": "error"})


def _schema(url: str) -> str:
    return url.partition("?schema=")[2].partition("&")[0]


class _Cleaner:
    """A connection that clears up after every case, in a loop of its own as each case has another one."""

    def __init__(self, server: str, database: str) -> None:
        self.address = f"{server.rpartition('/')[0]}/{database}"
        self._aside = Aside("cleaner")
        self._connection = self._aside.run(
            asyncpg.connect(self.address, server_settings={"client_min_messages": "error"})
        )

    async def clear(self, schema: str) -> bool:
        """Whether the schema is as a new one now; it may not even have been made."""
        cleared: bool = await self._aside.call(self._clear(schema))
        return cleared

    async def _clear(self, schema: str) -> bool:
        await self._connection.execute(f"SET search_path = {schema}")
        made: bool = await self._connection.fetchval("SELECT to_regclass('kernel_meta') IS NOT NULL")
        if made:
            await self._connection.execute(_CLEAR)
        return made

    def close(self) -> None:
        """Closes the connection and ends the thread."""
        self._aside.run(self._connection.close())
        self._aside.close()


async def _cleaner() -> _Cleaner:
    # Starting a thread for each case would cost as much as some cases do.
    return _made_cleaner() if _made_cleaner.cache_info().currsize else await asyncio.to_thread(_made_cleaner)


@cache
def _made_cleaner() -> _Cleaner:
    """For the server of the environment, or one that ends with this process, and a new database on it."""
    stack = ExitStack()
    atexit.register(stack.close)
    (server,) = stack.enter_context(services("postgres")).values()
    name = f"conformance_{os.getpid()}_{os.urandom(4).hex()}"
    # A collation that is not "C", so that the store's own words decide how text compares and sorts.
    make = f"CREATE DATABASE {name} TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US'"
    # What is shown here does not depend on the disk; crashes have their own tests.
    asyncio.run(_administer(server, make, f"ALTER DATABASE {name} SET synchronous_commit = off"))
    stack.callback(lambda: asyncio.run(_administer(server, f"DROP DATABASE {name} WITH (FORCE)")))
    cleaner = _Cleaner(server, name)
    stack.callback(cleaner.close)
    return cleaner


async def _administer(server: str, *statements: str) -> None:
    connection = await asyncpg.connect(server)
    for statement in statements:
        await connection.execute(statement)
    await connection.close()
