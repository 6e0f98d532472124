"""The raw driver on MariaDB: row, history and commit, as whoever uses it writes them."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

import asyncmy

from benchmarks.peers.store_asyncpg import ALL, NAMES, WRITTEN, values_of
from benchmarks.peers.store_rows import FIELDS, POOL, Row

TEXT, SHORT = (f"{declared} COLLATE utf8mb4_nopad_bin" for declared in ("LONGTEXT", "VARCHAR(191)"))
TYPES = {
    "workspace_id": SHORT, "amount": "BIGINT", "ratio": "DOUBLE", "active": "BOOLEAN", "_version": "BIGINT",
}  # fmt: skip
DEFINED = ", ".join(f"{name} {TYPES.get(name, TEXT)}" for name in ALL if name != "id")
KEPT = ", ".join(f"{name} {TEXT}" for name in ("_action", "_at", "_actor", "_comment"))
TABLES = (
    f"CREATE TABLE bench (id {SHORT} PRIMARY KEY, {DEFINED})",
    f"CREATE TABLE bench_history (id {SHORT}, {DEFINED}, {KEPT}, PRIMARY KEY (id, _version))",
)
UPDATED = ", ".join(f"{name} = VALUES({name})" for name in (*FIELDS, "updated_at", "updated_by"))
SAVE = (
    f"INSERT INTO bench ({', '.join(WRITTEN)}) VALUES ({', '.join(['%s'] * len(WRITTEN))})"
    f" ON DUPLICATE KEY UPDATE {UPDATED}, _version = _version + 1 RETURNING {NAMES}"
)
KEEP = (
    f"INSERT INTO bench_history ({NAMES}, _action, _at, _actor, _comment)"
    f" SELECT {NAMES}, 'save', updated_at, NULL, NULL FROM bench WHERE id = %s"
)
GET = f"SELECT {NAMES} FROM bench WHERE id = %s AND deleted_at IS NULL"
FIND = f"SELECT {NAMES} FROM bench WHERE workspace_id = %s AND deleted_at IS NULL"


def address(url: str) -> dict[str, Any]:
    """What asyncmy calls the parts of a URL."""
    parts = urlsplit(url)
    return {
        "host": parts.hostname,
        "port": parts.port or 3306,
        "user": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "database": parts.path[1:],
    }


class AsyncmyStore:
    """asyncmy's own pool, and one statement after the other."""

    sync: ClassVar[bool] = False

    async def open(self, place: str, synchronous: str) -> None:
        self.pool: Any = await asyncmy.create_pool(**address(place), autocommit=True, minsize=POOL, maxsize=POOL)
        for statement in TABLES:
            await self.fetch(statement)

    async def index(self) -> None:
        await self.fetch("CREATE INDEX ix ON bench (workspace_id)")

    async def close(self) -> None:
        self.pool.close()
        await self.pool.wait_closed()

    async def save(self, row: Row) -> Row:
        values = values_of(row)
        async with self.pool.acquire() as connection, connection.cursor() as cursor:
            await connection.begin()
            await cursor.execute(SAVE, values)
            saved = await cursor.fetchall()
            await cursor.execute(KEEP, (values[0],))
            await connection.commit()
        return dict(zip(ALL, saved[0], strict=True))

    async def get(self, key: str) -> Row | None:
        found = await self.fetch(GET, key)
        return dict(zip(ALL, found[0], strict=True)) if found else None

    async def find(self, workspace_id: str) -> list[Row]:
        return [dict(zip(ALL, row, strict=True)) for row in await self.fetch(FIND, workspace_id)]

    async def fetch(self, sql: str, *params: Any) -> Any:
        """The rows of one statement."""
        async with self.pool.acquire() as connection, connection.cursor() as cursor:
            await cursor.execute(sql, params)
            return await cursor.fetchall()


class AsyncmyTextStore(AsyncmyStore):
    """The same by someone who has measured it: a save in one round trip, and a stack of connections."""

    async def open(self, place: str, synchronous: str) -> None:
        self.idle = deque([await asyncmy.connect(**address(place), autocommit=True) for _ in range(POOL)])
        self.free = asyncio.Semaphore(POOL)
        for statement in TABLES:
            await self.fetch(statement)

    async def close(self) -> None:
        for connection in self.idle:
            await connection.ensure_closed()

    async def save(self, row: Row) -> Row:
        values = values_of(row)
        rows = await self.fetch(f"START TRANSACTION; {SAVE}; {KEEP}; COMMIT", *values, values[0])
        return dict(zip(ALL, rows[0], strict=True))

    async def fetch(self, sql: str, *params: Any) -> Any:
        """The rows of one text."""
        async with self.free:
            connection = self.idle.pop()
            try:
                async with connection.cursor() as cursor:
                    await cursor.execute(sql, params)
                    found = list(await cursor.fetchall() or ())
                    while await cursor.nextset():
                        found += await cursor.fetchall() or ()
                    return found
            finally:
                self.idle.append(connection)
