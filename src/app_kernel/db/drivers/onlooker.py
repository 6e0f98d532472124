"""A connection that looks at a database and leaves it as it is: nothing is made, nothing is locked for longer than a
statement takes, and the connection refuses to write."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apsw

from app_kernel.core.errors import Unavailable
from app_kernel.db.dialects.base import Dialect
from app_kernel.db.drivers import sqlite_connection
from app_kernel.db.drivers.base import Row
from app_kernel.db.drivers.sqlite_errors import to_ours
from app_kernel.db.drivers.wire import Connection, Wire

BUSY_SECONDS = 10.0


class Onlooker(ABC):
    """One such connection, for one task at a time."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect

    @abstractmethod
    async def open(self) -> None:
        """Connects; raises Unavailable."""

    @abstractmethod
    async def fetch(self, sql: str, params: Sequence[Any] = ()) -> list[Row]:
        """The rows of one statement in the dialect's words; raises StoreError or SchemaFact."""

    @abstractmethod
    async def close(self) -> None:
        """Disconnects."""


class SqliteOnlooker(Onlooker):
    """A connection to a file that is there already; `file` is its path and `synchronous` how services write to it."""

    def __init__(self, dialect: Dialect, path: str, synchronous: str) -> None:
        super().__init__(dialect)
        self.file = Path(path).expanduser().absolute()
        self.synchronous = synchronous
        self._connection: apsw.Connection | None = None

    async def open(self) -> None:
        if not await asyncio.to_thread(self.file.is_file):
            raise Unavailable("There is no such database file.")
        self._connection = await asyncio.to_thread(self._connect)

    async def fetch(self, sql: str, params: Sequence[Any] = ()) -> list[Row]:
        return await asyncio.to_thread(self._fetch, sql, params)

    async def close(self) -> None:
        if self._connection is not None:
            await asyncio.to_thread(self._connection.close)

    def _connect(self) -> apsw.Connection:
        try:
            return sqlite_connection.connect(
                str(self.file), read_only=True, synchronous="FULL", busy_seconds=BUSY_SECONDS
            )
        except apsw.Error as exc:
            raise to_ours(exc) from exc

    def _fetch(self, sql: str, params: Sequence[Any]) -> list[Row]:
        if self._connection is None:
            raise Unavailable("The connection is not open.")
        try:
            rows: list[Row] = self._connection.execute(sql, params).fetchall()
        except apsw.Error as exc:
            raise to_ours(exc) from exc
        return rows


class ServerOnlooker(Onlooker):
    """A connection to a server; `read_only` says so for the whole connection, `begin` and COMMIT stand around each
    statement where a pooler keeps no settings of a connection."""

    def __init__(self, dialect: Dialect, wire: Wire, *, read_only: str, begin: str | None) -> None:
        super().__init__(dialect)
        self._wire = wire
        self._read_only = read_only
        self._begin = begin
        self._connection: Connection | None = None

    async def open(self) -> None:
        self._connection = await self._wire.connect()
        if self._begin is None:
            await self._connection.execute(self._read_only)

    async def fetch(self, sql: str, params: Sequence[Any] = ()) -> list[Row]:
        connection = self._connection
        if connection is None:
            raise Unavailable("The connection is not open.")
        try:
            if self._begin is not None:
                await connection.execute(self._begin)
            rows: list[Row] = await connection.fetch(sql, *params)
            if self._begin is not None:
                await connection.execute("COMMIT")
        except self._wire.foreign as exc:
            if self._begin is not None and not connection.is_closed():
                await connection.execute("ROLLBACK")
            raise self._wire.to_ours(exc) from exc
        return rows

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close(timeout=2)
