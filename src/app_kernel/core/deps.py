"""How routes and scripts get the database."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

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
