"""Widgets on FastAPI and asyncpg by hand, written as both projects' documentation shows; no history, no audit."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import asyncpg
from fastapi import Depends, FastAPI, HTTPException
from pydantic import BaseModel

from benchmarks.peers.store_rows import POOL
from benchmarks.peers.tokens import current_user_on_loop

TABLE = """
CREATE TABLE IF NOT EXISTS widgets (
    id text PRIMARY KEY, name text NOT NULL, color text NOT NULL, created_at text NOT NULL, updated_at text NOT NULL,
    created_by text, updated_by text, deleted_at text
)
"""
INSERT = """
INSERT INTO widgets (id, name, color, created_at, updated_at, created_by, updated_by)
VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING *
"""


class WidgetCreate(BaseModel):
    """The body of a create."""

    name: str
    color: str = "blue"


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """asyncpg's pool as it comes, with as many connections as the kernel's."""
    async with asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=POOL, max_size=POOL) as pool:
        await pool.execute(TABLE)
        app.state.pool = pool
        yield


app = FastAPI(lifespan=lifespan)


def pool() -> Any:
    """The pool of this app."""
    return app.state.pool


@app.get("/healthz")
async def healthz() -> dict[str, str]:
    """Readiness of the benchmark's server."""
    return {"status": "ok"}


@app.post("/widgets")
async def create_widget(data: WidgetCreate, user: str = Depends(current_user_on_loop)) -> dict[str, Any]:
    """One statement, one transaction."""
    now = datetime.now(UTC).isoformat()
    row = await pool().fetchrow(INSERT, str(uuid.uuid4()), data.name, data.color, now, now, user, user)
    return dict(row)


@app.get("/widgets")
async def list_widgets(user: str = Depends(current_user_on_loop)) -> list[dict[str, Any]]:
    """One's own."""
    rows = await pool().fetch("SELECT * FROM widgets WHERE created_by = $1 AND deleted_at IS NULL", user)
    return [dict(row) for row in rows]


@app.get("/widgets/{id}")
async def get_widget(id: str, user: str = Depends(current_user_on_loop)) -> dict[str, Any]:
    """One by its id."""
    row = await pool().fetchrow("SELECT * FROM widgets WHERE id = $1 AND deleted_at IS NULL", id)
    if row is None:
        raise HTTPException(404)
    return dict(row)
