"""A service whose values are kept in memory or in a real Redis."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from app_kernel import ServiceConfig, create_service
from app_kernel.cache.service import ServiceCache
from app_kernel.core.clock import new_id
from app_kernel.testing import KernelClient, kernel_client
from tests.small_service import SECRET


@asynccontextmanager
async def serving(
    redis_url: str | None = None, *, name: str | None = None, database: str = "sqlite://:memory:", **options: Any
) -> AsyncIterator[KernelClient]:
    """A running service of a name of its own, whose keys are gone from Redis afterwards."""
    frozen_at, routers = options.pop("frozen_at", None), options.pop("routers", ())
    config = ServiceConfig(
        jwt_secret=SECRET, database_name="sqlite://:memory:", redis_url=redis_url, rate_limit_enabled=False, **options
    )
    app = create_service(name or f"cache-{new_id()}", routers=routers, config=config)
    async with kernel_client(app, redis_url=redis_url, frozen_at=frozen_at, database=database) as client:
        yield client
        if redis_url is not None and name is None and not internals(client)._shared.is_away:  # type: ignore[union-attr]
            await forget(client)


def internals(client: KernelClient) -> ServiceCache:
    return client.kernel.port(ServiceCache)


async def forget(client: KernelClient) -> None:
    """Deletes everything of the service's cache from Redis."""
    redis = client.kernel.redis
    keys = [key async for key in redis.scan_iter(match=f"{client.kernel.name}:cache:*", count=1000)]
    if keys:
        await redis.unlink(*keys)


def counted(client: KernelClient, operation: str, outcome: str, backend: str) -> int:
    """How often that was, since it was last told to the metrics."""
    return internals(client)._counts[operation, outcome, backend]


async def swept(client: KernelClient) -> None:
    """Returns when Redis has looked through its keys for all patterns; until then what fits one is not kept."""
    async with asyncio.timeout(30):
        while len(internals(client)._owed):  # noqa: ASYNC110 - Redis decides
            await asyncio.sleep(0.001)


async def until(condition: Callable[[], object]) -> None:
    """Returns when something that others do has come true."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - as it says
            await asyncio.sleep(0.001)
