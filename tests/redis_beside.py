"""Redis for the services of tests whose database keeps no jobs, and what takes from it to the admin database."""

import asyncio
import atexit
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from app_kernel.admin_worker import admin_sinks
from app_kernel.core.database_urls import MYSQL_SCHEMES, backend_of
from app_kernel.core.outbox import OutboxFigures
from app_kernel.db.database import Database
from app_kernel.db.outbox.stream_reader import StreamReader
from app_kernel.testing import KernelClient
from tests.redis_server import own_redis
from tools.services import services


def redis_beside(database: str) -> dict[str, str]:
    """The setting `redis_url`, and the argument of `kernel_client`, for a database that needs it; else nothing.

    The keys of every test begin with the id of its database.
    """
    return {"redis_url": _redis_url()} if backend_of(database) in MYSQL_SCHEMES else {}


@asynccontextmanager
async def own_redis_beside(database: str) -> AsyncIterator[dict[str, str]]:
    """As `redis_beside`, with a server of its own: what is on its way to an admin database has one name for all."""
    if not redis_beside(database):
        yield {}
        return
    with TemporaryDirectory(prefix="redis-") as folder:
        async with own_redis(Path(folder)) as server:
            await server.start()
            yield {"redis_url": server.url}


@asynccontextmanager
async def admin_readers(client: KernelClient) -> AsyncIterator[None]:
    """Takes what a service puts into Redis into its admin database, as the admin worker does; nothing without Redis."""
    kernel = client.kernel
    if kernel.redis is None:
        yield
        return
    assert isinstance(kernel.admin_db, Database)
    sinks = admin_sinks(kernel.features)
    readers = [StreamReader(kernel.redis, kernel.admin_db, *each, consumer="test") for each in sinks.items()]
    async with asyncio.TaskGroup() as running:
        for reader in readers:
            running.create_task(reader.run())
        try:
            yield
        finally:
            for reader in readers:
                reader.end()


def is_written(figures: OutboxFigures) -> bool:
    """Whether nothing is on its way any more, also not in Redis."""
    return not figures.unsent and not any((figures.in_streams or {}).values())


@cache
def _redis_url() -> str:
    """The server of the environment, or one that ends with this process."""
    stack = ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(services("redis"))["TEST_REDIS_URL"]
