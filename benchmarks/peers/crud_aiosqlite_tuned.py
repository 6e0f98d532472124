"""The same service by someone who counts thread hops: one hop a statement, autocommit, annotated answers."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import aiosqlite
from fastapi import Depends, FastAPI, HTTPException

from benchmarks.peers.crud_aiosqlite import INSERT, PRAGMAS, TABLE, WidgetCreate
from benchmarks.peers.tokens import current_user_on_loop

state: dict[str, aiosqlite.Connection] = {}


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """A writer and a reader; in autocommit a statement is its own transaction, so no lock is needed."""
    for name in ("writer", "reader"):
        state[name] = await aiosqlite.connect(os.environ["DATABASE_PATH"], isolation_level=None)
        state[name].row_factory = aiosqlite.Row
        for statement in (*PRAGMAS, TABLE):
            await state[name].execute(statement)
    yield
    for connection in state.values():
        await connection.close()


app = FastAPI(lifespan=lifespan)


@app.get("/healthz")
async def healthz() -> dict[str, str]:
    """Readiness of the benchmark's server."""
    return {"status": "ok"}


@app.post("/widgets")
async def create_widget(data: WidgetCreate, user: str = Depends(current_user_on_loop)) -> dict[str, Any]:
    """One statement, one transaction."""
    now = datetime.now(UTC).isoformat()
    values = (str(uuid.uuid4()), data.name, data.color, now, now, user, user)
    return next(dict(row) for row in await state["writer"].execute_fetchall(INSERT, values))


@app.get("/widgets")
async def list_widgets(user: str = Depends(current_user_on_loop)) -> list[dict[str, Any]]:
    """One's own."""
    query = "SELECT * FROM widgets WHERE created_by = ? AND deleted_at IS NULL"
    return [dict(row) for row in await state["reader"].execute_fetchall(query, (user,))]


@app.get("/widgets/{id}")
async def get_widget(id: str, user: str = Depends(current_user_on_loop)) -> dict[str, Any]:
    """One by its id."""
    query = "SELECT * FROM widgets WHERE id = ? AND deleted_at IS NULL"
    for row in await state["reader"].execute_fetchall(query, (id,)):
        return dict(row)
    raise HTTPException(404)
