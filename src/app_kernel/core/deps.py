"""How routes and scripts get the databases and Redis, and what routes with secrets depend on."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from app_kernel.core.current import current_kernel
from app_kernel.core.exchange import exchange_of
from app_kernel.core.ports import EntityStore


async def db_connection() -> EntityStore:
    """The app database, for `Depends(db_connection)` in a route."""
    return current_kernel().db.connection()


@asynccontextmanager
async def get_db_connection() -> AsyncIterator[EntityStore]:
    """The app database, in a worker, hook or task of a running service: `async with get_db_connection() as db`.

    The handle holds no connection between verbs, so it costs nothing to keep and may be nested. Raises NoRunningKernel
    in a script, for which `app_kernel.db.connect(url)` is.
    """
    yield current_kernel().db.connection()


async def admin_db_connection() -> EntityStore:
    """The admin database, for `Depends(admin_db_connection)` in a route.

    Raises Unavailable (503) while it is down, and KernelError in a service that has none.
    """
    return current_kernel().admin_store()


@asynccontextmanager
async def get_admin_db_connection() -> AsyncIterator[EntityStore]:
    """The admin database, in a worker, hook or task of a running service: `async with get_admin_db_connection() as db`.

    Raises NoRunningKernel in a script, for which `app_kernel.db.connect(url)` is.
    """
    yield current_kernel().admin_store()


async def redis_client() -> Any:
    """The service's `redis.asyncio.Redis`, for `Depends(redis_client)`; None without Redis.

    Its answers are bytes. A command fails within seconds when Redis is down: with an error of `redis.exceptions`.
    """
    return current_kernel().redis


async def forbid_storing(request: Request, response: Response) -> None:
    """Keeps tokens, keys and personal data out of every cache, errors too (RFC 6749, 5.1); a router depends on it."""
    # The first for layers that decide by the answer whether to keep it, the second for answers FastAPI does not make.
    response.headers["Cache-Control"] = "no-store"
    exchange_of(request.scope).extra_headers.append((b"cache-control", b"no-store"))
