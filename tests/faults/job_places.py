"""Where jobs are kept while everybody is killed: on disk, as in production, and gone at the end."""

import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from app_kernel.db import create_database
from app_kernel.jobs import JobClient, open_client
from app_kernel.redis_wire import create_redis
from tests.faults.durable_redis import DurableRedis, durable_redis
from tests.faults.outbox_places import execute

QUEUES = ["sqlite", "postgres", "redis"]
"""Where jobs are kept; for `redis` the app database is a SQLite file."""
PAIRS = [*QUEUES, "postgres+redis"]
"""App database and queue."""


@dataclass(frozen=True)
class FaultPlace:
    """An app database and, unless that keeps the jobs, a Redis."""

    name: str
    database_url: str
    redis: DurableRedis | None = None

    @property
    def redis_url(self) -> str | None:
        """Its address, where there is one."""
        return self.redis.url if self.redis is not None else None

    @asynccontextmanager
    async def client(self) -> AsyncIterator[JobClient]:
        """Enqueues, and looks at jobs, without running any."""
        async with AsyncExitStack() as stack:
            database = create_database(self.database_url)
            await database.open()
            stack.push_async_callback(database.close)
            redis = None
            if self.redis_url is not None:
                redis = create_redis(self.redis_url, "test")
                stack.push_async_callback(redis.aclose)
            yield await stack.enter_async_context(open_client(database.statements, redis))


@asynccontextmanager
async def fault_place(name: str, folder: Path, server: str | None) -> AsyncIterator[FaultPlace]:
    """A fresh place of `PAIRS`; `server` is the PostgreSQL server's URL, where it needs one."""
    schema = f"t_jobs_{secrets.token_hex(6)}"
    url = f"sqlite:///{folder / 'app.db'}"
    if name.startswith("postgres"):
        url = f"{server}?schema={schema}&application_name={schema}&pool_size=5"
    try:
        if name.endswith("redis"):
            with durable_redis(folder / "redis", "always") as redis:
                yield FaultPlace(name, url, redis)
        else:
            yield FaultPlace(name, url)
    finally:
        if server is not None and name.startswith("postgres"):
            await execute(server, f"DROP SCHEMA IF EXISTS {schema} CASCADE")
