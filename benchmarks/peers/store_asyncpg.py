"""The raw driver on PostgreSQL: row and history in one statement, prepared; no reset when a connection comes back."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

import asyncpg
import orjson
import uuid_utils

from benchmarks.peers.store_rows import COLUMNS, FIELDS, POOL, Row

ALL = (*COLUMNS, "_version")
NAMES = ", ".join(ALL)
TYPES = {
    "amount": "bigint", "ratio": "double precision", "active": "boolean", "settings": "jsonb", "_version": "bigint",
}  # fmt: skip
DEFINED = ", ".join(f"{name} {TYPES.get(name, 'text')}" for name in ALL if name != "id")
TABLES = f"""
CREATE TABLE bench (id text PRIMARY KEY, {DEFINED});
CREATE TABLE bench_history (
    id text, {DEFINED}, _action text, _at text, _actor text, _comment text, PRIMARY KEY (id, _version)
)
"""
WRITTEN = ("id", *FIELDS, "created_at", "updated_at", "created_by", "updated_by", "_version")
UPDATED = ", ".join(f"{name} = excluded.{name}" for name in (*FIELDS, "updated_at", "updated_by"))
SAVE = f"""
WITH written AS (
    INSERT INTO bench AS t ({", ".join(WRITTEN)}) VALUES ({", ".join(f"${at + 1}" for at in range(len(WRITTEN)))})
    ON CONFLICT (id) DO UPDATE SET {UPDATED}, _version = t._version + 1 RETURNING {NAMES}
), kept AS (
    INSERT INTO bench_history ({NAMES}, _action, _at, _actor, _comment)
    SELECT {NAMES}, 'save', updated_at, NULL, NULL FROM written
)
SELECT {NAMES} FROM written
"""
GET = f"SELECT {NAMES} FROM bench WHERE id = $1 AND deleted_at IS NULL"
FIND = f"SELECT {NAMES} FROM bench WHERE workspace_id = $1 AND deleted_at IS NULL"


class Unreset(asyncpg.Connection):
    """Leaves nothing behind that the pool would have to reset with a round trip."""

    def get_reset_query(self) -> str:
        return ""


class AsyncpgStore:
    """asyncpg's own pool."""

    sync: ClassVar[bool] = False

    async def open(self, place: str, synchronous: str) -> None:
        self.pool: Any = await asyncpg.create_pool(place, min_size=POOL, max_size=POOL, connection_class=Unreset)
        await self.pool.execute(TABLES)

    async def index(self) -> None:
        await self.pool.execute("CREATE INDEX ix ON bench (workspace_id)")

    async def close(self) -> None:
        await self.pool.close()

    async def save(self, row: Row) -> Row:
        return dict(zip(ALL, (await self.fetch(SAVE, values_of(row)))[0], strict=True))

    async def get(self, key: str) -> Row | None:
        found = await self.fetch(GET, (key,))
        return dict(zip(ALL, found[0], strict=True)) if found else None

    async def find(self, workspace_id: str) -> list[Row]:
        return [dict(zip(ALL, row, strict=True)) for row in await self.fetch(FIND, (workspace_id,))]

    async def fetch(self, sql: str, params: Sequence[Any]) -> list[Any]:
        """The rows of one statement."""
        found: list[Any] = await self.pool.fetch(sql, *params)
        return found


class AsyncpgStackStore(AsyncpgStore):
    """The same by someone who has measured asyncpg's pool: a stack of connections and a semaphore before it."""

    async def open(self, place: str, synchronous: str) -> None:
        await self.connect(place, synchronous)
        await self.idle[0].execute(TABLES)

    async def connect(self, place: str, synchronous: str) -> None:
        """Opens what may have tables already."""
        self.idle = deque([await asyncpg.connect(place) for _ in range(POOL)])
        self.free = asyncio.Semaphore(POOL)

    async def index(self) -> None:
        await self.idle[0].execute("CREATE INDEX ix ON bench (workspace_id)")

    async def close(self) -> None:
        for connection in self.idle:
            await connection.close()

    async def fetch(self, sql: str, params: Sequence[Any]) -> list[Any]:
        async with self.free:
            connection = self.idle.pop()
            try:
                found: list[Any] = await connection.fetch(sql, *params)
                return found
            finally:
                self.idle.append(connection)


def values_of(row: Row) -> Sequence[Any]:
    """The parameters of a save."""
    now = datetime.now(UTC).isoformat(timespec="microseconds")
    values = [row[name] for name in FIELDS]
    values[11] = orjson.dumps(values[11]).decode()
    return (row.get("id") or str(uuid_utils.uuid7()), *values, now, now, None, None, 1)
