"""The three places that keep jobs, each fresh for every case; a new one is a line here."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fastapi import APIRouter

from app_kernel import JobRegistry, ServiceConfig, create_service
from app_kernel.db import create_database
from app_kernel.jobs import JobClient, get_job_client
from app_kernel.jobs.queues.backend import Backend
from app_kernel.jobs.queues.database import DatabaseBackend, ensure_tables
from app_kernel.jobs.queues.redis import RedisBackend
from app_kernel.redis_wire import create_redis
from app_kernel.testing import KernelClient, kernel_client
from tests.conformance.mysql_place import empty_database
from tests.conformance.postgres_place import empty_schema
from tools.services import services

SECRET = "secret-of-the-service-with-jobs-0123456789abcdef"


@dataclass
class JobPlace:
    """One fresh app database, and where its jobs are kept; it may be opened several times, as by other processes."""

    name: str
    database_url: str
    redis_url: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Further settings of the services made here."""

    @asynccontextmanager
    async def backend(self) -> AsyncIterator[Backend]:
        """The bare backend, as another process would open it."""
        database = create_database(self.database_url)
        await database.open()
        redis = create_redis(self.redis_url, "test") if self.redis_url is not None else None
        try:
            kept: Backend = DatabaseBackend(database.statements)
            if redis is not None:
                await ensure_tables(database.statements)
                kept = RedisBackend(redis, await database.statements.database_id())
            await kept.open()
            try:
                yield kept
            finally:
                await kept.close()
        finally:
            if redis is not None:
                await redis.aclose()
            await database.close()

    def config(self, **settings: Any) -> ServiceConfig:
        """The settings of a service on this place; it runs its jobs itself unless they say otherwise."""
        given = {
            "jwt_secret": SECRET,
            "database_name": self.database_url,
            "redis_url": self.redis_url,
            "embedded_worker": True,
            "rate_limit_requests": 1_000_000,
            "rate_limit_auth_requests": 1_000_000,
            **self.settings,
            **settings,
        }
        return ServiceConfig(**{name: value for name, value in given.items() if value is not None})

    @asynccontextmanager
    async def service(
        self,
        tasks: JobRegistry | Mapping[str, Callable[..., Any]] | None,
        *routers: APIRouter,
        jobs: str = "manual",
        frozen_at: Any = None,
        **settings: Any,
    ) -> AsyncIterator[KernelClient]:
        """A running service on this place: `jobs` as in `kernel_client`."""
        app = create_service("jobs_test", routers=routers, tasks=tasks, config=self.config(**settings))
        async with kernel_client(app, database=None, jobs=jobs, frozen_at=frozen_at) as client:  # type: ignore[arg-type]
            yield client

    @asynccontextmanager
    async def working(self, tasks: Any, **settings: Any) -> AsyncIterator[JobClient]:
        """The client of a service that runs its jobs by itself."""
        async with self.service(tasks, jobs="worker", **settings):
            yield get_job_client()


@asynccontextmanager
async def sqlite() -> AsyncIterator[JobPlace]:
    """Jobs in a SQLite file."""
    with TemporaryDirectory(prefix="jobs-") as directory:
        yield JobPlace("sqlite", f"sqlite:///{Path(directory) / 'app.db'}", settings={"database_synchronous": "NORMAL"})


@asynccontextmanager
async def postgres() -> AsyncIterator[JobPlace]:
    """Jobs in PostgreSQL."""
    async with empty_schema() as url:
        yield JobPlace("postgres", url)


@asynccontextmanager
async def redis() -> AsyncIterator[JobPlace]:
    """Jobs in Redis, the app database in a SQLite file; the keys begin with that database's own id."""
    with services("redis") as urls:
        async with sqlite() as place:
            yield JobPlace("redis", place.database_url, _patient(urls["TEST_REDIS_URL"]), settings=place.settings)


@asynccontextmanager
async def mysql() -> AsyncIterator[JobPlace]:
    """Jobs in Redis, the app database in MySQL or MariaDB, which keeps no jobs itself."""
    with services("redis") as urls:
        async with empty_database() as url:
            yield JobPlace("mysql", url, _patient(urls["TEST_REDIS_URL"]))


def _patient(url: str) -> str:
    """Where many connect at once beside other tests, two seconds may pass before a processor is free for it."""
    return f"{url}{'&' if '?' in url else '?'}socket_connect_timeout=30&timeout=30"


PLACES: dict[str, Callable[[], AbstractAsyncContextManager[JobPlace]]] = {
    "sqlite": sqlite,
    "postgres": postgres,
    "redis": redis,
}
ALL_PLACES = {**PLACES, "mysql": mysql}
"""Those too of which the app database makes a difference for jobs on their way to Redis alone."""
