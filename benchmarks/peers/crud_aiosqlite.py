"""Widgets on FastAPI and aiosqlite by hand, written as both projects' documentation shows; no history, no audit."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import aiosqlite
from fastapi import Depends, FastAPI, HTTPException
from pydantic import BaseModel

from benchmarks.peers.tokens import current_user_on_loop

TABLE = """
CREATE TABLE IF NOT EXISTS widgets (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, color TEXT NOT NULL, created_at TEXT NOT NULL, updated_at TEXT NOT NULL,
    created_by TEXT, updated_by TEXT, deleted_at TEXT
)
"""
INSERT = """
INSERT INTO widgets (id, name, color, created_at, updated_at, created_by, updated_by) VALUES (?, ?, ?, ?, ?, ?, ?)
RETURNING *
"""
PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA cache_size=-16000",
    "PRAGMA temp_store=MEMORY",
    "PRAGMA foreign_keys=ON",
    "PRAGMA busy_timeout=10000",
)


class WidgetCreate(BaseModel):
    """The body of a create."""

    name: str
    color: str = "blue"


class Connections:
    """One connection that writes, one transaction at a time, and one that reads."""

    writer: aiosqlite.Connection
    reader: aiosqlite.Connection

    def __init__(self) -> None:
        self.write_lock = asyncio.Lock()

    async def open(self, path: str) -> None:
        """Both with the same pragmas."""
        self.writer = await connect(path)
        await self.writer.execute(TABLE)
        await self.writer.commit()
        self.reader = await connect(path)

    async def close(self) -> None:
        """In the reverse order."""
        await self.reader.close()
        await self.writer.close()


async def connect(path: str) -> aiosqlite.Connection:
    """A connection as the kernel's: WAL, synchronous=FULL, 16 MB of cache."""
    connection = await aiosqlite.connect(path)
    connection.row_factory = aiosqlite.Row
    for pragma in PRAGMAS:
        await connection.execute(pragma)
    return connection


connections = Connections()


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """The connections live as long as the app."""
    await connections.open(os.environ["DATABASE_PATH"])
    yield
    await connections.close()


app = FastAPI(lifespan=lifespan)


@app.get("/healthz")
async def healthz() -> dict[str, str]:
    """Readiness of the benchmark's server."""
    return {"status": "ok"}


@app.post("/widgets")
async def create_widget(data: WidgetCreate, user: str = Depends(current_user_on_loop)) -> dict[str, Any]:
    """One transaction a create."""
    now = datetime.now(UTC).isoformat()
    values = (str(uuid.uuid4()), data.name, data.color, now, now, user, user)
    async with connections.write_lock:
        async with connections.writer.execute(INSERT, values) as cursor:
            row = await cursor.fetchone()
        await connections.writer.commit()
    assert row is not None
    return dict(row)


@app.get("/widgets")
async def list_widgets(user: str = Depends(current_user_on_loop)) -> list[dict[str, Any]]:
    """One's own."""
    query = "SELECT * FROM widgets WHERE created_by = ? AND deleted_at IS NULL"
    async with connections.reader.execute(query, (user,)) as cursor:
        return [dict(row) for row in await cursor.fetchall()]


@app.get("/widgets/{id}")
async def get_widget(id: str, user: str = Depends(current_user_on_loop)) -> dict[str, Any]:
    """One by its id."""
    query = "SELECT * FROM widgets WHERE id = ? AND deleted_at IS NULL"
    async with connections.reader.execute(query, (id,)) as cursor:
        row = await cursor.fetchone()
    if row is None:
        raise HTTPException(404)
    return dict(row)
