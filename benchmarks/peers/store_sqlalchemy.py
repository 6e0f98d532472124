"""SQLAlchemy Core on aiosqlite and on asyncpg: the same statements through its expression language."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar

import uuid_utils
from sqlalchemy import JSON, Boolean, Column, Float, Integer, MetaData, String, Table, event, func, literal, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.schema import CreateIndex, Index

from benchmarks.peers.store_rows import COLUMNS, FIELDS, HISTORY, POOL, Row, pragmas

DOCUMENT = JSON().with_variant(postgresql.JSONB(), "postgresql")
KINDS: dict[str, Any] = {
    "amount": Integer, "ratio": Float, "active": Boolean, "settings": DOCUMENT, "_version": Integer,
}  # fmt: skip
WRITTEN = [*FIELDS, "updated_at", "updated_by"]
metadata = MetaData()
bench = Table("bench", metadata, *(Column(name, KINDS.get(name, String), primary_key=name == "id") for name in COLUMNS))
history = Table(
    "bench_history",
    metadata,
    *(Column(name, KINDS.get(name, String), primary_key=name in {"id", "_version"}) for name in (*COLUMNS, *HISTORY)),
)


class SqlalchemyStore:
    """An engine with its default pool."""

    sync: ClassVar[bool] = False
    insert: ClassVar[Any] = staticmethod(sqlite.insert)

    async def open(self, place: str, synchronous: str) -> None:
        self.engine = create_async_engine(f"sqlite+aiosqlite:///{place}")

        @event.listens_for(self.engine.sync_engine, "connect")
        def set_pragmas(connection: Any, _: object) -> None:
            cursor = connection.cursor()
            for pragma in pragmas(synchronous):
                cursor.execute(pragma)
            cursor.close()

        async with self.engine.begin() as connection:
            await connection.run_sync(metadata.create_all)

    async def index(self) -> None:
        async with self.engine.begin() as connection:
            await connection.execute(CreateIndex(Index("ix", bench.c.workspace_id)))

    async def close(self) -> None:
        await self.engine.dispose()

    async def save(self, row: Row) -> Row:
        now = datetime.now(UTC).isoformat(timespec="microseconds")
        key = row.get("id") or str(uuid_utils.uuid7())
        new = self.insert(bench).values({**row, "id": key, "created_at": now, "updated_at": now})
        changes = {name: new.excluded[name] for name in WRITTEN}
        upsert = new.on_conflict_do_update(index_elements=["id"], set_=changes).returning(*bench.c)
        version = select(func.coalesce(func.max(history.c["_version"]), 0) + 1).where(history.c.id == key)
        extra = (version.scalar_subquery(), literal("save"), literal(now), literal(None), literal(None))
        copy = self.insert(history).from_select([*COLUMNS, *HISTORY], select(*bench.c, *extra).where(bench.c.id == key))
        async with self.engine.begin() as connection:
            saved = (await connection.execute(upsert)).mappings().one()
            await connection.execute(copy)
        return dict(saved)

    async def get(self, key: str) -> Row | None:
        query = select(bench).where(bench.c.id == key, bench.c.deleted_at.is_(None))
        async with self.engine.connect() as connection:
            found = (await connection.execute(query)).mappings().first()
        return None if found is None else dict(found)

    async def find(self, workspace_id: str) -> list[Row]:
        query = select(bench).where(bench.c.workspace_id == workspace_id, bench.c.deleted_at.is_(None))
        async with self.engine.connect() as connection:
            return [dict(row) for row in (await connection.execute(query)).mappings()]


class PostgresSqlalchemyStore(SqlalchemyStore):
    """On asyncpg, with as many connections as the others have."""

    insert: ClassVar[Any] = staticmethod(postgresql.insert)

    async def open(self, place: str, synchronous: str) -> None:
        address = f"postgresql+asyncpg://{place.partition('://')[2]}"
        self.engine = create_async_engine(address, pool_size=POOL, max_overflow=0)
        async with self.engine.begin() as connection:
            await connection.run_sync(metadata.create_all)
