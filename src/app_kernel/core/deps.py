"""How routes and scripts get the databases and Redis."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from app_kernel.core.current import current_kernel
from app_kernel.core.ports import EntityStore


async def db_connection() -> EntityStore:
    """The app database, for `Depends(db_connection)` in a route."""
    return current_kernel().db.connection()


@asynccontextmanager
async def get_db_connection() -> AsyncIterator[EntityStore]:
    """The app database, for workers and scripts: `async with get_db_connection() as db`.

    The handle holds no connection between verbs, so it costs nothing to keep and may be nested.
    """
    yield current_kernel().db.connection()


async def admin_db_connection() -> EntityStore:
    """The admin database, for `Depends(admin_db_connection)` in a route.

    Raises Unavailable (503) while it is down, and KernelError in a service that has none.
    """
    return current_kernel().admin_store()


@asynccontextmanager
async def get_admin_db_connection() -> AsyncIterator[EntityStore]:
    """The admin database, for workers and scripts: `async with get_admin_db_connection() as admin_db`."""
    yield current_kernel().admin_store()


async def redis_client() -> Any:
    """The service's `redis.asyncio.Redis`, for `Depends(redis_client)`; None without Redis.

    Its answers are bytes. A command fails within seconds when Redis is down: with an error of `redis.exceptions`.
    """
    return current_kernel().redis
