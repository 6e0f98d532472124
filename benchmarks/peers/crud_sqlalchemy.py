"""Widgets on FastAPI and SQLAlchemy 2's async ORM (aiosqlite, asyncpg), as both tutorials show; no history or audit."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from fastapi import Depends, FastAPI, HTTPException
from pydantic import BaseModel, ConfigDict
from sqlalchemy import event, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from benchmarks.peers.crud_aiosqlite import PRAGMAS
from benchmarks.peers.store_rows import POOL
from benchmarks.peers.tokens import current_user_on_loop


def make_engine() -> AsyncEngine:
    """On the PostgreSQL of DATABASE_URL with as many connections as the kernel has, else on the file DATABASE_PATH."""
    url = os.environ.get("DATABASE_URL")
    if url is not None:
        return create_async_engine(f"postgresql+asyncpg://{url.partition('://')[2]}", pool_size=POOL, max_overflow=0)
    made = create_async_engine(f"sqlite+aiosqlite:///{os.environ['DATABASE_PATH']}")
    event.listen(made.sync_engine, "connect", set_pragmas)
    return made


def set_pragmas(connection: Any, _: object) -> None:
    """The same durability and cache as on the other side."""
    cursor = connection.cursor()
    for pragma in PRAGMAS:
        cursor.execute(pragma)
    cursor.close()


engine = make_engine()
sessions = async_sessionmaker(engine, expire_on_commit=False)


class Base(DeclarativeBase):
    """The declarative base."""


class Widget(Base):
    """A widget with the columns the kernel keeps."""

    __tablename__ = "widgets"

    id: Mapped[str] = mapped_column(primary_key=True, default=lambda: str(uuid.uuid4()))
    name: Mapped[str]
    color: Mapped[str]
    created_at: Mapped[str]
    updated_at: Mapped[str]
    created_by: Mapped[str | None]
    updated_by: Mapped[str | None]
    deleted_at: Mapped[str | None]


class WidgetCreate(BaseModel):
    """The body of a create."""

    name: str
    color: str = "blue"


class WidgetOut(BaseModel):
    """What is shown of a widget."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    name: str
    color: str
    created_at: str
    updated_at: str
    created_by: str | None
    updated_by: str | None
    deleted_at: str | None


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Tables first."""
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield
    await engine.dispose()


async def session() -> AsyncIterator[AsyncSession]:
    """A session a request."""
    async with sessions() as opened:
        yield opened


app = FastAPI(lifespan=lifespan)


@app.get("/healthz")
async def healthz() -> dict[str, str]:
    """Readiness of the benchmark's server."""
    return {"status": "ok"}


@app.post("/widgets", response_model=WidgetOut)
async def create_widget(
    data: WidgetCreate, user: str = Depends(current_user_on_loop), db: AsyncSession = Depends(session)
) -> Widget:
    """One transaction a create."""
    now = datetime.now(UTC).isoformat()
    widget = Widget(**data.model_dump(), created_at=now, updated_at=now, created_by=user, updated_by=user)
    db.add(widget)
    await db.commit()
    return widget


@app.get("/widgets", response_model=list[WidgetOut])
async def list_widgets(user: str = Depends(current_user_on_loop), db: AsyncSession = Depends(session)) -> list[Widget]:
    """One's own."""
    found = await db.scalars(select(Widget).where(Widget.created_by == user, Widget.deleted_at.is_(None)))
    return list(found)


@app.get("/widgets/{id}", response_model=WidgetOut)
async def get_widget(id: str, user: str = Depends(current_user_on_loop), db: AsyncSession = Depends(session)) -> Widget:
    """One by its id."""
    widget = await db.scalar(select(Widget).where(Widget.id == id, Widget.deleted_at.is_(None)))
    if widget is None:
        raise HTTPException(404)
    return widget
