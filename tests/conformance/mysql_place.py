"""MySQL or MariaDB for the suite: a database of its own per case, whose kernel tables the next case uses again."""

import asyncio
import atexit
import itertools
import os
from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import ExitStack, asynccontextmanager
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import asyncmy

from app_kernel.core.database_urls import ADMIN_SUFFIX
from app_kernel.db.drivers.mysql_options import parse_mysql_url
from tests.conformance.aside import Aside
from tools.services import services

_numbers = itertools.count()
_free: list[str] = []
"""Databases whose kernel tables are as in a new one; making these anew for each case would take most of the time."""

_ALL = """
SELECT table_type, table_name FROM information_schema.tables WHERE table_schema = '{name}'
UNION ALL SELECT routine_type, routine_name FROM information_schema.routines WHERE routine_schema = '{name}'
UNION ALL SELECT 'DATABASE', schema_name FROM information_schema.schemata WHERE schema_name = '{name}_admin'
"""


@asynccontextmanager
async def empty_database() -> AsyncIterator[str]:
    """The URL of a database without tables of an application's; what is left in it afterwards goes."""
    cleaner = await _cleaner()
    name = _free.pop() if _free else f"{cleaner.prefix}_{next(_numbers)}"
    await cleaner.make(name)
    yield f"{cleaner.address}/{name}?pool_size=5&sslmode=disable"
    if await cleaner.clear(name):
        _free.append(name)


@asynccontextmanager
async def emptied_database(kept: Collection[str]) -> AsyncIterator[str]:
    """The URL of one database for all that this process asks it for: its tables stay, without rows but in `kept`."""
    cleaner = await _cleaner()
    name = f"{cleaner.prefix}_kept"
    await cleaner.make(name)
    try:
        yield f"{cleaner.address}/{name}?pool_size=5&sslmode=disable"
    finally:
        await cleaner.empty(name, kept)


async def drop_database(url: str) -> None:
    """Makes the database as one that was never opened."""
    await (await _cleaner()).forget(urlsplit(url).path[1:])


async def contents(url: str) -> str:
    """Every row of every table of the database, as text."""
    name = urlsplit(url).path[1:]
    connection = await connect(url)
    try:
        tables = await execute(
            connection, f"SELECT table_name FROM information_schema.tables WHERE table_schema = '{name}'"
        )
        rows = [row for (table,) in tables for row in await execute(connection, f"SELECT * FROM `{name}`.`{table}`")]
        return "\n".join(map(str, rows))
    finally:
        await connection.ensure_closed()


async def execute(connection: Any, sql: str) -> list[tuple[Any, ...]]:
    """Runs one or more statements on a connection of asyncmy's; the rows of the first."""
    cursor = connection.cursor()
    await cursor.execute(sql)
    rows = list(await cursor.fetchall() or ())
    while await cursor.nextset():
        pass
    await cursor.close()
    return rows


async def connect(url: str) -> Any:
    """A connection of asyncmy's that drops and makes what it is told to, and waits for nobody's lock for long."""
    options = parse_mysql_url(url)
    return await asyncmy.connect(
        host=options.host,
        port=options.port,
        user=options.user,
        password=options.password,
        autocommit=True,
        init_command="SET lock_wait_timeout = 20, foreign_key_checks = 0",
    )


class _Cleaner:
    """A connection that clears up after every case, in a loop of its own as each case has another one."""

    def __init__(self, server: str) -> None:
        self.address = server.rpartition("/")[0]
        self.prefix = f"conformance_{os.getpid()}_{os.urandom(4).hex()}"
        self._made: set[str] = set()
        self._aside = Aside("mysql cleaner")
        self._connection = self._aside.run(connect(server))

    async def make(self, name: str) -> None:
        """Makes the database where there is none yet; as an application would, with a language's collation."""
        if name not in self._made:
            self._made.add(name)
            await self._run(f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4")

    async def forget(self, name: str) -> None:
        """Makes the database anew."""
        await self._run(f"DROP DATABASE IF EXISTS `{name}`; CREATE DATABASE `{name}` CHARACTER SET utf8mb4")

    async def clear(self, name: str) -> bool:
        """Whether the database is as a new one now, and the admin's beside it; one that was never opened goes."""
        found = await self._run(_ALL.format(name=name))
        beside = f"{name}{ADMIN_SUFFIX}"
        if ("DATABASE", beside) in found:
            self._made.add(beside)
            await self.clear(beside)
        if ("BASE TABLE", "kernel_meta") not in found:
            self._made.discard(name)
            await self._run(f"DROP DATABASE `{name}`")
            return False
        await self._run("; ".join([f"USE `{name}`", *_clearing(found)]))
        return True

    async def empty(self, name: str, kept: Collection[str]) -> None:
        """Deletes the rows of all tables but those, also of the admin database beside it."""
        found = await self._run(
            "SELECT table_schema, table_name FROM information_schema.tables WHERE table_type = 'BASE TABLE'"
            f" AND table_schema IN ('{name}', '{name}{ADMIN_SUFFIX}')"
        )
        self._made.update(schema for schema, _ in found)
        used = [f"DELETE FROM `{schema}`.`{table}`" for schema, table in found if table not in kept]
        await self._run("; ".join([*used, "SELECT 1"]))

    async def _run(self, sql: str) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = await self._aside.call(execute(self._connection, sql))
        return rows

    def close(self) -> None:
        """Drops every database and ends the thread."""
        for name in self._made:
            drop = f"DROP DATABASE IF EXISTS `{name}`; DROP DATABASE IF EXISTS `{name}{ADMIN_SUFFIX}`"
            self._aside.run(execute(self._connection, drop))
        self._aside.run(self._connection.ensure_closed())
        self._aside.close()


def _clearing(found: Iterable[tuple[str, str]]) -> Iterable[str]:
    for kind, name in found:
        if kind in ("FUNCTION", "PROCEDURE"):
            yield f"DROP {kind} `{name}`"
        elif kind == "VIEW":
            yield f"DROP VIEW `{name}`"
        elif kind == "SEQUENCE":
            yield f"DROP SEQUENCE `{name}`"
        elif kind != "BASE TABLE":
            continue
        elif not name.startswith("kernel_"):
            # Its triggers go with it.
            yield f"DROP TABLE `{name}`"
        elif name != "kernel_meta":
            yield f"DELETE FROM `{name}`"
    yield "UPDATE kernel_meta SET `value` = 1 WHERE `key` = 'generation'"


async def _cleaner() -> _Cleaner:
    # Starting a thread for each case would cost as much as some cases do.
    return _made_cleaner() if _made_cleaner.cache_info().currsize else await asyncio.to_thread(_made_cleaner)


@cache
def _made_cleaner() -> _Cleaner:
    """For the server of the environment, or one that ends with this process."""
    stack = ExitStack()
    atexit.register(stack.close)
    (server,) = stack.enter_context(services("mysql")).values()
    cleaner = _Cleaner(server)
    stack.callback(cleaner.close)
    return cleaner
