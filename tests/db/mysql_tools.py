"""Drivers over a database of their own on the shared server, and what a second look at the server tells of them."""

import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

from asyncmy import errors

from app_kernel.db.drivers.mysql_text import render
from tests.conformance.mysql_place import connect, execute
from tests.db.server_tools import ServerPlace, with_options

_OTHERS = "p.db = DATABASE() AND p.id <> CONNECTION_ID()"
_IN_TRANSACTION = re.compile(r"^---TRANSACTION [^\n]*, ACTIVE (?:(?!^---).*\n)*?M[^\n]* thread id (\d+)", re.MULTILINE)
"""Numbers of the connections with an open transaction, in what InnoDB tells of itself."""

_MODES = "STRICT_ALL_TABLES,ANSI_QUOTES,NO_BACKSLASH_ESCAPES"


class Place(ServerPlace):
    """A database of its own, and an onlooker: a connection beside the driver's."""

    backend = "mysql"

    def __init__(self, url: str, name: str, onlooker: Any) -> None:
        super().__init__(url, name)
        self.onlooker = onlooker

    def url(self, **options: Any) -> str:
        parts = urlsplit(self.plain_url)
        return with_options(parts._replace(path=f"/{self.name}").geturl(), **{"sslmode": "disable"} | options)

    async def look(self, sql: str, *params: Any) -> list[tuple[Any, ...]]:
        return await execute(self.onlooker, render(sql, params))

    async def backends(self) -> list[tuple[int, str]]:
        # Not from innodb_trx: it answers from a cache that is not made anew while anybody reads it more often than
        # every 0.1 s, so that whoever waits for the end of a transaction may see it open for ever.
        status = await self.look("SHOW ENGINE INNODB STATUS")
        in_transaction = {int(number) for number in _IN_TRANSACTION.findall(status[0][2])}
        found = await self.look(f"SELECT p.id, p.command FROM information_schema.processlist AS p WHERE {_OTHERS}")
        idle = {True: "idle in transaction", False: "idle"}
        return [
            (number, idle[number in in_transaction] if command == "Sleep" else command)
            for number, command in sorted(found)
        ]

    async def terminate(self) -> int:
        numbers = [number for number, _ in await self.backends()]
        for number in numbers:
            # It may have ended by itself meanwhile.
            with suppress(errors.OperationalError):
                await self.look(f"KILL CONNECTION {number}")
        return len(numbers)

    async def columns(self, table: str) -> dict[str, str]:
        return dict(
            await self.look(
                "SELECT c.column_name, CONCAT_WS(' ', c.column_type, c.collation_name, c.column_comment)"
                " FROM information_schema.columns AS c WHERE c.table_schema = DATABASE()"
                f" AND c.table_name = '{table}' AND c.column_name <> '_alive'"
            )
        )

    def same(self, one: str, other: str) -> str:
        return f"({one} <=> {other})"

    async def waiting(self) -> list[str]:
        """The statements that wait for the lock of a table's definition."""
        return [
            row[0]
            for row in await self.look(
                "SELECT p.info FROM information_schema.processlist AS p"
                f" WHERE {_OTHERS} AND p.state LIKE 'Waiting for table metadata lock%'"
            )
        ]

    async def remove(self) -> None:
        await self.look(f'ROLLBACK; DROP DATABASE IF EXISTS "{self.name}"')
        await self.onlooker.ensure_closed()


@asynccontextmanager
async def place_on(url: str) -> AsyncIterator[Place]:
    """A fresh place on a server."""
    place = await _place(url, f"t_{secrets.token_hex(6)}")
    try:
        yield place
    finally:
        await place.close()


@asynccontextmanager
async def looking_at(url: str) -> AsyncIterator[Place]:
    """The database of a URL, which stays as it is."""
    place = await _place(url, urlsplit(url).path[1:])
    try:
        yield place
    finally:
        await place.onlooker.ensure_closed()


async def _place(url: str, name: str) -> Place:
    onlooker = await connect(url)
    make = f'CREATE DATABASE IF NOT EXISTS "{name}" CHARACTER SET utf8mb4'
    await execute(onlooker, f"SET sql_mode = '{_MODES}'; {make}; USE {name}")
    return Place(url, name, onlooker)
